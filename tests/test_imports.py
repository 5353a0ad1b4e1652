"""What is public, how long modules are, and what an import costs. The layers are contracts of import-linter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest

import usercom_asgi

PACKAGE = Path(usercom_asgi.__file__).parent
TESTS = Path(__file__).parent
#: Cost of our import, as a multiple of that of starlette and httpx together. Instructions are the
#: same in every run; CPU time was measured between 1.08 and 1.13 with httpx2.
MAX_INSTRUCTIONS_RATIO = 1.15
MAX_CPU_RATIO = 1.35
#: Modules without a test file of their own, and the file that guards each.
GUARDED_ELSEWHERE = {
    # Words of the library that other units use.
    "core/envelope.py": "core/test_serialization.py",
    "core/exceptions.py": "core/test_config.py",
    "core/exit_codes.py": "test_cli.py",
    "core/origins.py": "core/test_config.py",
    "core/telemetry.py": "integrations/test_opentelemetry.py",
    "core/user_key.py": "visitor/test_cookies.py",
    "core/widget.py": "core/test_config.py",
    # The demo, which is tested as a program.
    "demo/catalog.py": "examples/test_demo.py",
    "demo/command.py": "examples/test_demo.py",
    "demo/pages.py": "examples/test_demo.py",
    "demo/people.py": "examples/test_demo.py",
    "demo/running.py": "examples/test_demo.py",
    "demo/shop.py": "examples/test_alone.py",
    # Parts of the delivery service, which is tested as a whole.
    "delivery/outbox.py": "delivery/test_service.py",
    "delivery/queue.py": "delivery/test_service.py",
    "delivery/retry.py": "delivery/test_service.py",
    "delivery/stats.py": "delivery/test_circuit_breaker.py",
    "delivery/worker.py": "delivery/test_service.py",
    # Seen through the command line.
    "delivery/sqlite/admin.py": "test_cli.py",
    # Parts of an outbox, which is tested as a whole.
    "delivery/sqlite/buffer.py": "delivery/sqlite/test_store.py",
    "delivery/sqlite/schema.py": "delivery/sqlite/test_outbox.py",
    "integrations/taskiq/publisher.py": "integrations/taskiq/test_outbox.py",
    "integrations/taskiq/store.py": "integrations/taskiq/test_outbox.py",
    "integrations/taskiq/worker.py": "integrations/taskiq/test_outbox.py",
    # Seen through the responses of the middleware.
    "middleware/browser_commands.py": "visitor/test_browser.py",
    "middleware/site.py": "middleware/test_usercom.py",
    "visitor/placement.py": "middleware/test_placement.py",
    "visitor/signing.py": "visitor/test_signed_cookies.py",
    # Tables and states of the tokenizer.
    "page/foreign.py": "page/test_tokenizer.py",
    "page/syntax.py": "page/test_tokenizer.py",
    # Parts of each resource of the REST client.
    "rest/fields.py": "rest/test_users.py",
    "rest/resource.py": "rest/test_companies.py",
    # Parts of a capture, which is tested as a whole.
    "testing/captured.py": "testing/test_capture.py",
    "testing/delivery.py": "testing/test_capture.py",
    "testing/records.py": "testing/test_capture.py",
    "testing/replacements.py": "testing/test_capture.py",
    "testing/sandbox.py": "testing/test_pytest_plugin.py",
    "testing/session.py": "testing/test_capture.py",
}


def run(code: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program without coverage, which imports modules of its own."""
    environ = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=check, env=environ)


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts), path


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_module_has_at_most_400_lines(name: str, path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400, "this module holds two things"


def test_module_has_its_test_file() -> None:
    """`page/csp.py` is guarded by `page/test_csp.py` or `page/test_csp_<aspect>.py`."""
    missing = []
    for _, path in modules():
        module = path.relative_to(PACKAGE)
        if module.parts[0] == "sandbox" or module.stem.startswith("__"):
            continue  # tests/sandbox/ sees the sandbox from outside
        folder, stem = TESTS / module.parent, f"test_{module.stem}"
        if not (folder / f"{stem}.py").exists() and not list(folder.glob(f"{stem}_*.py")):
            missing.append(module.as_posix())
    assert missing == sorted(GUARDED_ELSEWHERE)
    assert not [each for each in GUARDED_ELSEWHERE.values() if not (TESTS / each).exists()]


def test_package_all_lists_exactly_the_public_names_sorted() -> None:
    public = {
        name
        for name in dir(usercom_asgi)
        for value in [getattr(usercom_asgi, name)]
        if not name.startswith("_")
        and getattr(value, "__module__", "usercom_asgi").startswith("usercom_asgi.")
    }
    modules_of_ours = {
        name for name in public if type(getattr(usercom_asgi, name)).__name__ == "module"
    }
    assert public - modules_of_ours | {"Command"} == set(usercom_asgi.__all__)
    names = usercom_asgi.__all__
    assert sorted(names, key=lambda name: (not name.isupper(), name)) == names


@pytest.mark.slow
def test_integrations_are_loaded_only_by_an_explicit_import() -> None:
    pytest.importorskip("taskiq", reason="needs the extra taskiq")
    code = (
        "import sys\n"
        "from usercom_asgi import *\n"
        "assert 'taskiq' not in sys.modules and 'usercom_asgi.integrations.taskiq' not in sys.modules\n"
        "from usercom_asgi.integrations.taskiq import TaskiqOutbox\n"
        "assert 'taskiq' in sys.modules and 'taskiq_redis' not in sys.modules\n"
    )
    run(code)


def test_taskiq_integration_without_the_extra_raises_with_the_install_command() -> None:
    code = "import sys\nsys.modules['taskiq'] = None\nfrom usercom_asgi.integrations.taskiq import TaskiqOutbox\n"
    done = run(code, check=False)
    last = done.stderr.splitlines()[-1]
    assert (
        last
        == "ImportError: TaskiqOutbox needs taskiq: install the extra taskiq, e.g. pip install '.[taskiq]' in a clone"
    )


def test_package_import_starts_no_thread_and_loads_no_http_client() -> None:
    code = (
        "import sys, threading, anyio, starlette.applications\n"
        "known = {*sys.modules}\n"  # an older anyio loads all its modules
        "import usercom_asgi\n"
        "usercom_asgi.UserComMiddleware(None, usercom_asgi.UserComConfig(app='acme', api_key='ABC123'))\n"
        "assert threading.active_count() == 1\n"
        "assert 'usercom_asgi.testing' not in sys.modules\n"
        "heavy = ('httpx', 'httpx2', 'trio', 'decimal', 'difflib', 'zipfile', 'anyio.from_thread')\n"
        "print([each for each in heavy if each in sys.modules and each not in known])\n"
    )
    # httpx2 alone would bring zipfile, and it is not loaded.
    assert run(code).stdout == "[]\n"


def test_middleware_compiles_the_patterns_of_pages_before_a_request() -> None:
    code = (
        "import usercom_asgi\n"
        "from usercom_asgi.page.fast_path import patterns\n"
        "assert patterns.cache_info().currsize == 0\n"
        "usercom_asgi.UserComMiddleware(None, usercom_asgi.UserComConfig(app='acme', api_key='ABC123'))\n"
        "assert patterns.cache_info().currsize == 1\n"
    )
    run(code)


def programs() -> dict[str, str]:
    """Return what is measured: our import, that of starlette and httpx, and the interpreter's start alone."""
    http_client = "httpx2" if find_spec("httpx2") else "httpx"
    # Every server imports asyncio. On Python 3.13, Starlette and httpx do not.
    theirs = "asyncio, starlette.applications, starlette.middleware, starlette.requests, starlette.responses, starlette.routing"
    return {
        "nothing": "pass",
        "ours": "import usercom_asgi",
        "theirs": f"import {theirs}, {http_client}",
    }


def environ_with_bytecode(cache: Path) -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**environ, "PYTHONPYCACHEPREFIX": str(cache), "PYTHONHASHSEED": "0"}


def cpu_seconds(code: str, cache: Path) -> float:
    """Return the CPU time of a new interpreter that runs the code, with compiled modules."""
    process = os.posix_spawn(
        sys.executable, [sys.executable, "-c", code], environ_with_bytecode(cache)
    )
    _, status, usage = os.wait4(process, 0)
    assert status == 0
    return usage.ru_utime + usage.ru_stime


def instructions(code: str, cache: Path) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run(
        [*command, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environ_with_bytecode(cache),
    )
    return int(re.findall(r"Collected : (\d+)", done.stderr)[-1])


def ratio(costs: Mapping[str, float]) -> float:
    return (costs["ours"] - costs["nothing"]) / (costs["theirs"] - costs["nothing"])


@pytest.mark.slow
def test_package_import_costs_little_more_than_starlette_and_httpx(tmp_path: Path) -> None:
    """Measured without the interpreter's start; `docs/decisions.md` has the figures."""
    for code in programs().values():
        cpu_seconds(code, tmp_path)  # writes the bytecode
    # The minimum of interleaved runs: load of the machine only ever adds.
    rounds = [
        {name: cpu_seconds(code, tmp_path) for name, code in programs().items()} for _ in range(5)
    ]
    best = {name: min(each[name] for each in rounds) for name in programs()}
    print(f"\nratio {ratio(best):.3f}", best)
    assert ratio(best) < MAX_CPU_RATIO


@pytest.mark.nightly
def test_package_import_costs_at_most_1_15_times_the_instructions(tmp_path: Path) -> None:
    """With httpx2. `docs/decisions.md` has the ratio with httpx."""
    pytest.importorskip("httpx2")
    if sys.version_info >= (3, 14):
        pytest.skip("measured on Python 3.11 to 3.13")
    assert which("valgrind"), "needs Debian's valgrind"
    for code in programs().values():
        cpu_seconds(code, tmp_path)  # writes the bytecode
    counts = {name: instructions(code, tmp_path) for name, code in programs().items()}
    print(f"\nratio {ratio(counts):.3f}", counts)
    assert ratio(counts) < MAX_INSTRUCTIONS_RATIO
