"""A wrong configuration ends the start of a real server, with the library's message."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.serving import free_port

APP = """
from starlette.applications import Starlette
from starlette.middleware import Middleware
from usercom_asgi import UserComConfig, UserComMiddleware

app = Starlette(middleware=[Middleware(UserComMiddleware{arguments})])
"""
GIVEN = ", config=UserComConfig(app='acme', api_key='ABC123')"


def start_and_wait(command: list[str], folder: Path, environ: dict[str, str]) -> tuple[int, str]:
    """Start a server that is expected to end, and return its code and its output."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("USERCOM_", "PYTEST_"))
    }
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**inherited, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )
    return ended.returncode, ended.stdout


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        ("", {}, "UserComConfig.api_key: must be given; set USERCOM_API_KEY"),
        (
            "",
            {"USERCOM_API_KEY": "ABC123", "USERCOM_APP": "https://acme.user.com"},
            "UserComConfig.app: must be the subdomain alone, such as app='acme'",
        ),
        (
            "",
            {"USERCOM_ENABLED": "maybe"},
            "UserComConfig.enabled: must be 1 or 0; set USERCOM_ENABLED",
        ),
        (
            f"{GIVEN}, identify=lambda connection: None",
            {},
            "UserComConfig.secret_keys: must hold a key for identify to sign with",
        ),
        (f"{GIVEN}, outbox='var/outbox.db'", {}, "outbox: must be an outbox"),
        (
            f"{GIVEN}, identity=None",
            {},
            "UserComMiddleware has no argument 'identity'; did you mean 'identify'?",
        ),
    ],
)
def test_start_with_a_wrong_configuration_ends_with_the_message(
    arguments: str, environ: dict[str, str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(APP.format(arguments=arguments))
    port = free_port()
    code, output = start_and_wait(["uvicorn", "shop:app", "--port", str(port)], tmp_path, environ)
    assert f"usercom-asgi: {message}" in output
    assert code != 0
    assert "unsupported" not in output
    assert "Traceback" not in output
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()


def test_start_of_hypercorn_with_a_wrong_configuration_ends_with_the_message(
    tmp_path: Path,
) -> None:
    pytest.importorskip("hypercorn")
    (tmp_path / "shop.py").write_text(APP.format(arguments=""))
    command = ["hypercorn", "shop:app", "--bind", f"127.0.0.1:{free_port()}"]
    _, output = start_and_wait(command, tmp_path, {})  # Hypercorn ends with 0
    assert "UserComConfig.api_key: must be given; set USERCOM_API_KEY" in output
