"""The examples of users' tests, run by a pytest of their own as users run theirs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.documents import blocks_of, write_files

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples/testing"
#: Seconds of CPU that a unit test may take, and seconds that any may take, waiting included.
CPU_BOUND, CLOCK_BOUND = 0.1, 1.0
#: Runs of which the shortest time of each test counts.
RUNS = 3
# What the first test of a process imports is not that test's time, so it is a plugin.
IMPORTED = ["itsdangerous", "starlette.testclient", "usercom_asgi.api.widget_api"]
OPTIONS = "-p no:cacheprovider -c /dev/null -W error -p anyio -p pytest_usercom"


def run_pytest(*args: str, **environ: str) -> str:
    """Run a pytest that has the plugins of these options alone; return what it prints."""
    inherited = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS.split(), *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            **inherited,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
            **environ,
        },
    )
    return done.stdout + done.stderr


def examples() -> list[str]:
    files = sorted(EXAMPLES.glob("test_*.py"))
    missing = {
        "test_pytest_asyncio.py": find_spec("pytest_asyncio") is None,
        "test_delivery.py": find_spec("uvicorn") is None,
        "test_fastapi.py": find_spec("fastapi") is None,
    }
    return [str(each) for each in files if not missing.get(each.name)]


def options() -> list[str]:
    imported = [option for name in IMPORTED for option in ("-p", name)]
    if find_spec("pytest_asyncio") is None:
        return imported
    scope = ["-o", "asyncio_default_fixture_loop_scope=function"]
    return [*imported, "-p", "pytest_asyncio.plugin", *scope]


@pytest.mark.slow
def test_examples_pass_and_each_unit_test_takes_less_than_100_ms() -> None:
    shortest: dict[str, tuple[float, float]] = {}
    for _ in range(RUNS):
        output = run_pytest("-p", "testing.cpu_times", *options(), *examples())
        assert re.search(r"\d+ passed in ", output), output
        assert "failed" not in output, output
        for cpu, clock, test in re.findall(r"^took ([\d.]+) ([\d.]+) (\S+)", output, re.MULTILINE):
            before = shortest.get(test, (60.0, 60.0))
            shortest[test] = min(float(cpu), before[0]), min(float(clock), before[1])
        if not too_long(shortest):
            break
    assert len(shortest) > 15
    assert too_long(shortest) == {}


def too_long(shortest: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    return {
        test: (cpu, clock)
        for test, (cpu, clock) in shortest.items()
        # A delivery over a socket is no unit test, and the sandbox's thread takes CPU too.
        if clock >= CLOCK_BOUND or (cpu >= CPU_BOUND and "test_delivery" not in test)
    }


@pytest.mark.slow
def test_examples_are_not_switched_off_by_the_environment() -> None:
    """CI may set USERCOM_ENABLED=0; an application with a config of its own does not read it."""
    output = run_pytest(str(EXAMPLES / "test_starlette.py"), USERCOM_ENABLED="0")
    assert "7 passed" in output, output


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/tutorial/purchase.md"])
def test_unit_test_of_a_page_passes_beside_its_application(tmp_path: Path, name: str) -> None:
    pytest.importorskip("fastapi")
    write_files(blocks_of(ROOT / name), tmp_path)
    output = run_pytest(str(tmp_path))
    assert "1 passed" in output, output


def test_guide_shows_only_code_of_the_examples() -> None:
    text = (ROOT / "docs/guides/testing.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    sources = [each.read_text() for each in EXAMPLES.glob("*.py")]
    assert len(blocks) > 5
    for block in blocks:
        # Parts of one file are separated by two empty lines.
        parts = [each.strip() for each in block.split("\n\n\n")]
        assert any(all(part in source for part in parts) for source in sources), block


def test_guide_names_every_public_name_of_the_kit() -> None:
    from usercom_asgi import testing

    text = (ROOT / "docs/guides/testing.md").read_text()
    for name in testing.__all__:
        if not name.startswith("Captured"):
            assert name in text, name
