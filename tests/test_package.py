"""Wheel and sdist, built as they are published."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

import usercom_asgi

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

pytestmark = pytest.mark.slow


@dataclass
class Built:
    """The files of a release."""

    sdist: Path
    wheel: Path

    def in_sdist(self) -> set[str]:
        with tarfile.open(self.sdist) as archive:
            return {each.name.partition("/")[2] for each in archive if each.isfile()}

    def in_wheel(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def metadata(self) -> email.message.Message:
        with zipfile.ZipFile(self.wheel) as archive:
            [name] = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
            return email.message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist, and the wheel that is built from it."""
    for name in ("build", "hatchling"):
        if find_spec(name) is None:
            pytest.skip(f"needs {name}")
    folder = tmp_path_factory.mktemp("dist")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        folder,
        ROOT,
    ]
    subprocess.run(command, check=True, capture_output=True)
    [sdist], [wheel] = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


def tracked(*folders: str) -> set[str]:
    """The files of folders in the clone."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


def test_names_hold_the_version(built: Built) -> None:
    version = usercom_asgi.__version__
    assert built.sdist.name == f"usercom_asgi-{version}.tar.gz"
    assert built.wheel.name == f"usercom_asgi-{version}-py3-none-any.whl"


def test_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    files = {each for each in built.in_wheel() if ".dist-info/" not in each}
    assert files == tracked("usercom_asgi") | {"pytest_usercom.py", "usercom_asgi_command.py"}
    assert "usercom_asgi/py.typed" in files
    assert any(each.endswith(".dist-info/licenses/LICENSE") for each in built.in_wheel())


def test_sdist_holds_docs_tests_and_license(built: Built) -> None:
    files = built.in_sdist()
    assert tracked("usercom_asgi", "docs", "tests", "examples") <= files
    assert {"LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "pyproject.toml"} <= files


def test_release_holds_no_file_of_a_machine(built: Built) -> None:
    unwanted = re.compile(r"__pycache__|\.pyc$|\.venv|\.coverage|\.hypothesis|_cache/|\.db$|\.egg")
    assert not [each for each in built.in_sdist() | built.in_wheel() if unwanted.search(each)]


def test_release_is_small(built: Built) -> None:
    """The sandbox's pages and axe-core's kind of files must not slip in."""
    assert built.wheel.stat().st_size < 500_000
    assert built.sdist.stat().st_size < 4_000_000


def test_twine_accepts_both(built: Built) -> None:
    if find_spec("twine") is None:
        pytest.skip("needs twine")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "twine",
        "check",
        "--strict",
        built.sdist,
        built.wheel,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_metadata_names_each_extra_and_python(built: Built) -> None:
    metadata = built.metadata()
    assert metadata.get_all("Provides-Extra") == sorted(PROJECT["optional-dependencies"])
    minors = re.findall(r"Python :: 3\.(\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    [tested] = re.findall(r"python-version: \[(.*)\]", workflow)
    assert [f"3.{minor}" for minor in minors] == re.findall(r"3\.\d+", tested)
    assert PROJECT["requires-python"] == f">=3.{minors[0]}"


def test_readme_has_absolute_links_alone() -> None:
    """The package index shows it without the repository beside it."""
    text = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)", text) + re.findall(r"(?:src|href|srcset)=\"([^\"]+)", text)
    assert not [each for each in links if not each.startswith(("https://", "#"))]


@pytest.mark.nightly
def test_wheel_alone_runs_and_types(built: Built, tmp_path: Path) -> None:
    """In an environment of its own, without the repository: an import, a page, and mypy."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("needs uv")
    folder = tmp_path / "venv"
    python = folder / "bin" / "python"
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = {"check": True, "cwd": tmp_path, "env": environ}
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], **run)  # type: ignore[call-overload]
    subprocess.run([uv, "pip", "install", "-q", "--python", python, built.wheel, "mypy"], **run)  # type: ignore[call-overload]
    code = (
        "import pathlib, usercom_asgi\n"
        "assert pathlib.Path(usercom_asgi.__file__).is_relative_to(pathlib.Path.cwd() / 'venv')\n"
        "from starlette.applications import Starlette\n"
        "config = usercom_asgi.UserComConfig(app='acme', api_key='ABC123')\n"
        "usercom_asgi.UserComMiddleware(Starlette(), config)\n"
    )
    subprocess.run([python, "-I", "-c", code], **run)  # type: ignore[call-overload]
    subprocess.run([folder / "bin" / "usercom-asgi", "--version"], **run)  # type: ignore[call-overload]
    user = ROOT / "tests" / "typing" / "user_code.py"
    (tmp_path / "user_code.py").write_text(user.read_text())
    subprocess.run([python, "-m", "mypy", "--strict", "user_code.py"], **run)  # type: ignore[call-overload]
