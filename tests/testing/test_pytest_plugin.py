"""The fixtures of the pytest plugin, and what the plugin costs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from testing.test_examples import ROOT, run_pytest

SHOP = """
from starlette.testclient import TestClient
from testing.shop import make_shop
app = make_shop()
"""


def test_plugin_import_loads_nothing_of_the_package() -> None:
    code = "import sys, pytest_usercom\nprint([m for m in sys.modules if m.startswith('usercom_asgi')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_plugin_is_an_entry_point_and_in_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [module] = project["project"]["entry-points"]["pytest11"].values()
    assert f"{module}.py" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert (ROOT / f"{module}.py").exists()


@pytest.mark.slow
def test_fixture_usercom_captures_each_test_and_failures_show_what_was_recorded(
    tmp_path: Path,
) -> None:
    test = tmp_path / "test_shop.py"
    test.write_text(
        SHOP + "def test_one(usercom):\n"
        "    TestClient(app).post('/buy')\n"
        "    usercom.assert_event('purchase')\n"
        "def test_two(usercom):\n"
        "    usercom.assert_nothing()\n"
        "def test_three(usercom):\n"
        "    TestClient(app).post('/buy')\n"
        "    usercom.assert_event('purchased')\n"
    )
    output = run_pytest(str(test))
    assert "1 failed, 2 passed" in output, output
    assert ">   usercom.assert_event('purchased')" in output.replace(">       ", ">   ")
    assert "did you mean 'purchase'?" in output
    assert "event 'purchase' {'product': 'cup', 'total': 19.9}" in output
    assert "assertions.py" not in output


@pytest.mark.slow
@pytest.mark.skipif(find_spec("uvicorn") is None, reason="needs the extra sandbox")
def test_fixture_usercom_sandbox_is_empty_for_each_test_and_leaves_the_environment(
    tmp_path: Path,
) -> None:
    test = tmp_path / "test_shop.py"
    each = (
        "    assert not usercom_sandbox.store.events\n"
        "    app = make_shop(usercom_sandbox.config())\n"
        "    TestClient(app, cookies={'__ca__chat': usercom_sandbox.new_key()}).post('/buy')\n"
        "    assert len(usercom_sandbox.store.events) == 1\n"
        "    assert not [name for name in os.environ if name.startswith('USERCOM')]\n"
    )
    test.write_text(
        f"import os\n{SHOP}def test_one(usercom_sandbox):\n{each}    usercom_sandbox.faults.status(500)\n"
        f"def test_two(usercom_sandbox):\n{each}"
    )
    output = run_pytest(str(test))
    assert "2 passed" in output, output


@pytest.mark.slow
def test_fixture_usercom_sandbox_without_the_extra_names_it(tmp_path: Path) -> None:
    test = tmp_path / "test_shop.py"
    test.write_text(
        "import sys\nsys.modules['uvicorn'] = None\ndef test_one(usercom_sandbox):\n    pass\n"
    )
    output = run_pytest(str(test))
    assert "1 error" in output
    assert "install the extra sandbox" in output
