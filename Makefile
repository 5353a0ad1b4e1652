# `make demo` and `make test` need make and Python 3.11 or newer; all else goes into .venv by itself.
#
#   make demo                     the shop beside a local User.com: two addresses to open
#   make check                    before a commit: lint, types and the fast tests, in a minute and a half
#   make test                     every check: lint, types, every test; COVER=1 measures branch coverage as well, as CI does
#   make nightly                  further variants of the long tests: some eight minutes
#   make test-versions            the tests at the lowest declared and at the newest versions, with each extra alone and with none;
#                                 SHORT=1 for the lowest, and no extra, as CI does
#   make dist-check               wheel and sdist: what is in them, twine, and the tests of test-versions from the wheel
#   make voice                    the words of comments and docstrings that CONTRIBUTING.md counts, by room
#   make docs                     builds the documentation site into site/, and fails for a link that leads nowhere
#   make docs-serve               serves it at http://127.0.0.1:8765, and builds again at each change
#   make pictures                 takes the pictures of the tutorial anew, with Chromium
#   make diagrams                 draws the diagrams of the documentation that have changed, with Chromium
#   make docs-links               whether the addresses of other sites in it answer: needs a network
#   make bench                    what a request, a page and a delivery cost, beside others; writes docs/measurements.md
#   make faults                   what becomes of events when User.com misbehaves, beside others: a quarter of an hour
#   make model STORIES=750        stories of many browsers: whether anything of one person reaches another
#   make judge                    50,000 random documents, judged by Chromium: COUNT=50000 SEED=13
#   make matrix                   each server and each framework, checked from outside; writes docs/matrix.md; ONLY=django
#   make soak                     an hour of traffic in two minutes, and whether memory stays flat
#   make demo PYTHON=python3.13   which Python to make .venv with

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --quiet --disable-pip-version-check
# For what only developers need: it installs in a fifth of the time. It does not read the settings of pip, so
# pip is asked where uv finds no package index.
UV := $(VENV)/bin/uv pip --quiet
# What is there of it: the benchmarks may be missing.
CODE := $(wildcard usercom_asgi pytest_usercom.py tests examples bench matrix .ci/versions.py)
# The oldest Python and pip that will do: pip knows dependency groups since 25.1.
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PIP_WANTED := pip>=25.1

.DELETE_ON_ERROR:
COUNT := 50000
SEED := 13
STORIES := 750
# Workers of pytest-xdist, by default two for each core; JOBS=0 runs all tests in one process.
JOBS ?= auto
PYTEST = $(RUN) -m pytest -n $(JOBS)

ONLY :=

.PHONY: demo check fast test nightly test-versions dist-check lint docs docs-serve docs-links pictures diagrams voice bench faults matrix model judge soak clean

demo: $(VENV)/examples.installed
	@$(RUN) -m usercom_asgi.cli demo

check:
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint fast

# Folders without a fast test are not collected.
fast: $(VENV)/dev.installed
	$(PYTEST) -q --dist worksteal -m "not browser and not servers and not broker and not slow and not waits and not nightly" $(addprefix --ignore=tests/,browser servers examples integrations/taskiq)

# CI gives COVER=1, with which the suite takes half as long again. It also gives SHORT=1 and two jobs: the versions are
# tested beside lint, before the suite.
# The second run is without httpx2, of all that makes calls in the tests' own process. With SHORT=1, the lowest
# versions, which have no httpx2 either, run those of the client.
test: lint docs $(if $(SHORT),test-versions)
	$(PYTEST) $(if $(COVER),--cov --cov-report=term:skip-covered) -m "not nightly"
	TEST_HTTPX=httpx $(PYTEST) -q $(if $(SHORT),,tests/api tests/test_client.py) tests/rest/test_client*.py tests/rest/test_se*.py tests/delivery/test_service.py tests/visitor/test_session_identification.py

nightly: $(VENV)/matrix.installed
	$(PYTEST) -m nightly

test-versions: $(VENV)/dev.installed
	$(RUN) .ci/versions.py $(if $(SHORT),--short)

dist-check: $(VENV)/dev.installed
	$(PYTEST) -q tests/test_package.py
	$(RUN) .ci/versions.py

lint: $(VENV)/dev.installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/codespell
	$(VENV)/bin/lint-imports --no-cache
	$(RUN) -m mypy $(CODE)
	$(RUN) -m pyright

# Material prints an advertisement of its own, unless NO_MKDOCS_2_WARNING is set.
docs: $(VENV)/dev.installed
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

docs-serve: $(VENV)/dev.installed
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs serve --dev-addr 127.0.0.1:8765 --watch usercom_asgi

pictures: $(VENV)/dev.installed
	PYTHONPATH=tests:. $(RUN) .ci/tutorial_pictures.py

diagrams: $(VENV)/dev.installed
	PYTHONPATH=tests:. $(RUN) .ci/docs_diagrams.py

docs-links: $(VENV)/dev.installed
	$(RUN) tests/helpers/external_links.py README.md docs

voice:
	$(PYTHON) tests/helpers/voice.py --list

bench: $(VENV)/bench.installed
	$(RUN) -m bench --write
	$(RUN) -m bench.pages --write
	$(RUN) -m bench.delivery --write

faults: $(VENV)/bench.installed
	$(RUN) -m bench.faults

matrix: $(VENV)/matrix.installed
	PYTHONPATH=tests $(RUN) -m matrix --only "$(ONLY)"

model: $(VENV)/dev.installed
	PYTHONPATH=tests $(RUN) -m delivery.test_key_ring_model $(STORIES)

judge: $(VENV)/dev.installed
	$(RUN) -m tests.page.judge $(COUNT) $(SEED)

soak: $(VENV)/dev.installed
	$(RUN) -m bench.soak

clean:
	rm -rf $(VENV) build dist site shots .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Both install again when pyproject.toml has changed, and neither takes away what the other brought.
$(VENV)/examples.installed: pyproject.toml $(VENV)/made
	@echo "Installing what the demo needs into $(VENV) ..."
	@$(PIP) install --editable . --group examples
	@touch $@

$(VENV)/dev.installed: pyproject.toml $(VENV)/made
	@echo "Installing what the tests need into $(VENV) ..."
	@$(PIP) install uv
	@$(UV) install --python $(RUN) --editable . --group dev || $(PIP) install --editable . --group dev
	@touch $(VENV)/examples.installed $@  # the group dev holds the other

$(VENV)/bench.installed: $(VENV)/dev.installed
	@echo "Installing what is compared into $(VENV) ..."
	@$(UV) install --python $(RUN) --group bench || $(PIP) install --group bench
	@touch $@

$(VENV)/matrix.installed: $(VENV)/dev.installed
	@echo "Installing servers and frameworks into $(VENV) ..."
	@$(UV) install --python $(RUN) --group matrix || $(PIP) install --group matrix
	@touch $@

# The Python that made .venv may have left the machine since: then it is made anew.
ifneq ($(shell $(RUN) -c 'print("works")' 2>/dev/null),works)
.PHONY: $(VENV)/made
endif

$(VENV)/made:
	@$(RUN) -c 'import pip; $(IS_NEW_ENOUGH)' 2>/dev/null || { \
	  command -v $(PYTHON) >/dev/null || { \
	    echo "No $(PYTHON) here. Install Python 3.11 or newer, or say where it is: make $(MAKECMDGOALS) PYTHON=..." >&2; exit 1; }; \
	  $(PYTHON) -c '$(IS_NEW_ENOUGH)' || { \
	    echo "usercom-asgi needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1)." \
	      "Say which to take: make $(MAKECMDGOALS) PYTHON=python3.13" >&2; exit 1; }; \
	  echo "Making $(VENV) ..."; \
	  $(PYTHON) -m venv --clear $(VENV); }
	@$(PIP) install '$(PIP_WANTED)'
	@touch $@
