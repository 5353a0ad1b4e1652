"""Running a sandbox: in a thread, behind TLS, and alone."""

from __future__ import annotations

import ast
import datetime
import importlib.abc
import ipaddress
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from usercom_asgi import cli
from usercom_asgi import sandbox as package
from usercom_asgi.sandbox import Sandbox, serve
from usercom_asgi.sandbox.__main__ import main

HERE = Path(package.__file__).parent


def test_serve_two_sandboxes_at_once_keeps_their_users_separate() -> None:
    one, other = Sandbox(api_key="ONE111"), Sandbox(api_key="TWO222")
    with serve(one) as first, serve(other) as second:
        for server, key in ((first, "ONE111"), (second, "TWO222")):
            assert (
                httpx.post(server.url + "/api/v2/user-chatping/", json={"apiKey": key}).status_code
                == 200
            )
    assert (len(one.store.users), len(other.store.users)) == (1, 1)


def test_serve_again_on_the_same_port_answers() -> None:
    sandbox = Sandbox()
    with serve(sandbox) as server:
        port = httpx.URL(server.url).port
    assert port
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)
    with serve(sandbox, port=port) as server:
        assert httpx.get(server.url).status_code == 200


def test_serve_on_every_interface_has_a_loopback_url() -> None:
    with serve(Sandbox(), host="0.0.0.0", access_token="t0ken") as server:
        assert server.url.startswith("http://127.0.0.1:")


def test_serve_with_a_certificate_answers_over_tls(tmp_path: Path) -> None:
    certificate, key = _self_made(tmp_path)
    with serve(Sandbox(), ssl_certfile=certificate, ssl_keyfile=key) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert (
            httpx.get(server.url, verify=ssl.create_default_context(cafile=certificate)).status_code
            == 200
        )


def test_main_with_a_port_in_use_prints_a_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--port", port]) == 1
        assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
        with pytest.raises(OSError, match="in use"), serve(Sandbox(), port=int(port)):
            pass


def test_main_without_uvicorn_prints_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "usercom_asgi.sandbox.uvicorn_server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["--port", "0"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "pip install '.[sandbox]'" in err


def test_main_as_a_module_serves_with_its_options_until_interrupted() -> None:
    command = [
        sys.executable,
        "-m",
        "usercom_asgi.sandbox",
        "--port",
        "0",
        "--api-key",
        "KEY999",
        "--authorize-by-email",
    ]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "User.com sandbox, app key KEY999\n"
            url = process.stdout.readline().split()[1]
            state = httpx.get(url + "sandbox/state").json()
            assert state["settings"] == {
                "unified_identification": False,
                "authorize_by_email": True,
            }
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, -signal.SIGINT)


def test_serve_without_uvicorn_raises_an_error_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NoUvicorn(importlib.abc.MetaPathFinder):
        def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
            if fullname.partition(".")[0] == "uvicorn":
                raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")

    for name in [name for name in sys.modules if name.partition(".")[0] == "uvicorn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "usercom_asgi.sandbox.uvicorn_server", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoUvicorn(), *sys.meta_path])
    with (
        pytest.raises(
            ModuleNotFoundError, match=r"sandbox, e.g. pip install '\.\[sandbox\]' in a clone"
        ),
        serve(Sandbox()),
    ):
        pass


def test_sandbox_modules_import_nothing_else_of_the_package() -> None:
    """The sandbox imports nothing of the package that it judges."""
    for file in HERE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            ours = [name for name in names if name.startswith("usercom_asgi")]
            assert all(name.startswith("usercom_asgi.sandbox") for name in ours), file
            assert not isinstance(node, ast.ImportFrom) or node.level == 0, file


def test_sandbox_all_lists_the_public_names() -> None:
    assert package.__all__ == ["Faults", "RunningSandbox", "Sandbox", "Store", "serve"]


def _self_made(folder: Path) -> tuple[str, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sandbox")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


@pytest.mark.slow
def test_command_stopped_while_a_page_listens_ends_without_an_error() -> None:
    command = [sys.executable, "-m", "usercom_asgi.sandbox", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "dashboard" in line)
        url = line.split()[1]
        with httpx.stream("GET", f"{url}sandbox/stream", timeout=30) as answer:
            assert next(answer.iter_lines()) == "retry: 500"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


def test_allowed_hosts_as_a_text_are_refused() -> None:
    with (
        pytest.raises(TypeError, match="must be a list of names"),
        serve(Sandbox(), allowed_hosts="example.com"),
    ):
        pytest.fail("serves")


@pytest.mark.parametrize("command", ["sandbox", "demo"])
@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_port_out_of_range_is_wrong_usage(
    command: str, port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, f"--port={port}"])
    assert ended.value.code == 2
    assert f"argument --port: invalid port value: {port!r}" in capsys.readouterr().err
