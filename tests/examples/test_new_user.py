"""The path of a new user, by the lines of docs/guides/sandbox.md: from an empty folder to something that arrives."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from helpers.serving import free_port
from helpers.waiting import until_sync

Launch: TypeAlias = Callable[..., Any]

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
#: What uv prints where there is no package index.
NO_INDEX = re.compile(r"error sending request|client error|dns error|Failed to fetch|offline")
#: Variables of the test run itself, which a new user does not have.
OURS = ("PYTHON", "PYTEST", "COV", "USERCOM", "VIRTUAL_ENV", "UV_PYTHON", "UV_PROJECT")


def documented_blocks() -> list[tuple[str, str]]:
    """The code of the section, as pairs of language and text."""
    page = (ROOT / "docs/guides/sandbox.md").read_text("utf-8")
    section = page.partition("## From nothing to something that arrives\n")[2].partition("\n## ")[0]
    return re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)


class NewUser:
    """Follows the page in an empty folder, with ports that are free."""

    def __init__(self, folder: Path, environ: dict[str, str], launch: Launch) -> None:
        self.folder = folder
        self.environ = environ
        self.fetched: list[str] = []
        self.output = ""
        self._launch = launch
        self._ports = {"8000": str(free_port()), "8900": str(free_port())}

    @property
    def sandbox(self) -> str:
        return f"http://127.0.0.1:{self._ports['8900']}"

    def follow(self, language: str, block: str) -> None:
        for documented, free in self._ports.items():
            block = block.replace(documented, free)
        if language == "python":
            [name] = re.findall(r"\A# (\w+\.py)\n", block)
            (self.folder / name).write_text(block)
        elif block.startswith(("usercom-asgi sandbox", "uvicorn")):
            server = self._launch(shlex.split(block), self.folder, self.environ)
            server.wait_for(r"http://127\.0\.0\.1:[0-9]+")
        elif block.startswith("curl"):
            for line in block.splitlines():
                self._fetch(line.removeprefix("curl "))
        else:
            done = run(["bash", "-ec", block], self.folder, self.environ)
            self.output = done.stdout

    def _fetch(self, url: str) -> None:
        # A person takes a second to look, which is longer than the delivery.
        until_sync(lambda: url.endswith("/") or "lamp viewed" in httpx.get(url).text)
        self.fetched.append(httpx.get(url).text)


def run(
    command: list[str], folder: Path, environ: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=300
    )
    if done.returncode and NO_INDEX.search(done.stderr):
        pytest.skip(f"there is no package index: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture
def new_user(tmp_path: Path, launch: Launch) -> NewUser:
    """Has uv, and the wheel in a folder: as README and page describe for a package that no index has."""
    if not UV.exists():
        pytest.skip("needs uv, of the dependency group versions")
    for name in ("bin", "dist", "shop"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "uv").symlink_to(UV)
    (tmp_path / "bin" / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    environ = {
        **kept,
        "PATH": f"{tmp_path}/shop/.venv/bin:{tmp_path}/bin:/usr/bin:/bin",
        "UV_PYTHON_PREFERENCE": "only-system",
        "UV_FIND_LINKS": str(tmp_path / "dist"),
        "UV_NO_PROGRESS": "1",
    }
    run([str(UV), "build", "--wheel", "--out-dir", str(tmp_path / "dist")], ROOT, environ)
    return NewUser(tmp_path / "shop", environ, launch)


def assert_demo_runs(new_user: NewUser, launch: Launch) -> None:
    """Without a checkout: its pictures and styles are in the wheel."""
    command = ["usercom-asgi", "demo", "--port", "0", "--sandbox-port", "0"]
    demo = launch(command, new_user.folder, new_user.environ)
    shop = demo.wait_for(r"The shop +(http\S+)\n")[1]
    assert "</svg>" in httpx.get(f"{shop}/products/cup").text
    assert httpx.get(f"{shop}/static/shop.css").status_code == 200
    assert demo.stop(signal.SIGINT) == 0
    assert "Traceback" not in demo.output


@pytest.mark.slow
def test_new_user_by_the_documented_lines_sees_an_event_arrive_and_has_a_unit_test(
    new_user: NewUser, launch: Launch
) -> None:
    blocks = documented_blocks()
    assert [language for language, _ in blocks] == [
        "sh",
        "sh",
        "python",
        "sh",
        "sh",
        "python",
        "sh",
    ]
    for language, block in blocks:
        new_user.follow(language, block)

    page, entries = new_user.fetched
    assert f'src="{new_user.sandbox}/widget.js"' in page
    assert '"first_name":"Ada"' in page
    assert "lamp viewed" in entries
    rows = httpx.get(f"{new_user.sandbox}/sandbox/entries?kind=event").json()["rows"]
    assert [row["what"] for row in rows] == ["lamp viewed"]
    [visitor] = httpx.get(f"{new_user.sandbox}/sandbox/visitors").json()["rows"]
    assert (visitor["user_id"], visitor["events"]) == ("7", 1)
    assert "1 passed" in new_user.output
    assert_demo_runs(new_user, launch)
    # A wheel of this tree has answered: neither the tree itself nor a wheel that uv has kept.
    [module] = new_user.folder.glob(".venv/lib/python*/site-packages/usercom_asgi/cli.py")
    assert module.read_bytes() == (ROOT / "usercom_asgi/cli.py").read_bytes()
