"""What is public, how long modules are, and what an import costs. The layers are contracts of import-linter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import usercom_asgi

PACKAGE = Path(usercom_asgi.__file__).parent


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts), path


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_modules_hold_one_concern(name: str, path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 430, "this module holds two things"


def test_the_public_names_are_there_and_no_others() -> None:
    public = {
        name
        for name, value in vars(usercom_asgi).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "usercom_asgi").startswith("usercom_asgi.")
    }
    modules_of_ours = {
        name for name in public if type(getattr(usercom_asgi, name)).__name__ == "module"
    }
    assert public - modules_of_ours | {"Command"} == set(usercom_asgi.__all__)
    assert sorted(usercom_asgi.__all__) == usercom_asgi.__all__


@pytest.mark.slow
def test_integrations_are_imported_only_by_name() -> None:
    pytest.importorskip("taskiq", reason="needs the extra taskiq")
    code = (
        "import sys\n"
        "from usercom_asgi import *\n"
        "assert 'taskiq' not in sys.modules and 'usercom_asgi.integrations.taskiq' not in sys.modules\n"
        "from usercom_asgi.integrations.taskiq import TaskiqOutbox\n"
        "assert 'taskiq' in sys.modules and 'taskiq_redis' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_taskiq_integration_without_its_extra_names_what_to_install() -> None:
    code = "import sys\nsys.modules['taskiq'] = None\nfrom usercom_asgi.integrations.taskiq import TaskiqOutbox\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert (
        last
        == "ImportError: TaskiqOutbox needs taskiq: install the extra taskiq, e.g. pip install '.[taskiq]' in a clone"
    )


def test_an_import_starts_nothing_and_does_not_load_the_http_client() -> None:
    code = (
        "import sys, threading, usercom_asgi\n"
        "usercom_asgi.UserComMiddleware(None, usercom_asgi.UserComConfig(app='acme', api_key='ABC123'))\n"
        "assert threading.active_count() == 1\n"
        "print([m for m in ('httpx', 'httpx2', 'asyncio', 'trio', 'itsdangerous', 'sqlite3') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "httpx" not in done.stdout
    assert "trio" not in done.stdout
    assert "sqlite3" not in done.stdout
