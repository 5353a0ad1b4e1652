"""Server of a sandbox: in a thread for tests and demos, or in the main thread."""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import socket
import threading
import time
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from usercom_asgi.sandbox.security import Guard, Hosts, check_exposure

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    import uvicorn
    from starlette.types import ASGIApp

    from usercom_asgi.sandbox.app import Sandbox

_START_TIMEOUT = 10.0
_STOP_TIMEOUT = 10.0


@dataclass(frozen=True)
class RunningSandbox:
    """Sandbox that accepts connections."""

    url: str
    sandbox: Sandbox


@contextlib.contextmanager
def serve(
    sandbox: Sandbox,
    host: str = "127.0.0.1",
    port: int = 0,
    ssl_certfile: str | None = None,
    ssl_keyfile: str | None = None,
    *,
    allowed_hosts: Iterable[str] = (),
    access_token: str | None = None,
) -> Generator[RunningSandbox]:
    """Serve from a thread until the block ends; port 0 selects a free one.

    `allowed_hosts` are names that clients may use beside that of this machine. Any
    other address than one of loopback needs an `access_token`.
    """
    check_installed()
    listener = listen(host, port)
    try:
        app = _guard(sandbox, listener, host, allowed_hosts, access_token)
        server = _make_server(sandbox, app, ssl_certfile, ssl_keyfile)
    except BaseException:
        listener.close()
        raise
    thread = threading.Thread(
        target=server.run, args=([listener],), name="usercom-sandbox", daemon=True
    )
    address = url_of(listener, secure=ssl_certfile is not None)
    thread.start()
    try:
        _wait_until_started(server, thread)
        yield RunningSandbox(address, sandbox)
    finally:
        server.should_exit = True
        sandbox.faults.stop()
        thread.join(_STOP_TIMEOUT)
        listener.close()
        sandbox.flush()


def run(
    sandbox: Sandbox,
    listener: socket.socket,
    host: str = "127.0.0.1",
    *,
    allowed_hosts: Iterable[str] = (),
    access_token: str | None = None,
) -> None:
    """Serve in the main thread until Ctrl-C or SIGTERM, then close the sandbox."""
    server = _make_server(sandbox, _guard(sandbox, listener, host, allowed_hosts, access_token))
    # uvicorn stops at SIGTERM and sends it again, which would end the process before
    # the sandbox has written its file.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server.run([listener])
    finally:
        signal.signal(signal.SIGTERM, before)
        sandbox.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket, so that the port is known before the server runs."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    # asyncio disables Nagle's algorithm only on sockets that have a protocol number,
    # and create_server() gives none. Otherwise every response would wait 40 ms for an
    # acknowledgement. Accepted sockets inherit the option.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def port(text: str) -> int:
    """Return the port in an argument of a command.

    Raises:
        ValueError: If it is none.

    """
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError(text)
    return number


def url_of(listener: socket.socket, *, secure: bool = False) -> str:
    """Return the URL of a bound socket for clients on this machine."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        address = ipaddress.ip_address("::1" if address.version == 6 else "127.0.0.1")
    named = f"[{address}]" if address.version == 6 else str(address)
    return f"{'https' if secure else 'http'}://{named}:{port}"


def _guard(
    sandbox: Sandbox,
    listener: socket.socket,
    host: str,
    allowed_hosts: Iterable[str],
    access_token: str | None,
) -> ASGIApp:
    if isinstance(allowed_hosts, str):
        raise TypeError(f"allowed_hosts must be a list of names, such as [{allowed_hosts!r}]")
    address = listener.getsockname()[0]
    check_exposure(address, access_token)
    return Guard(sandbox.app, Hosts(host, address, tuple(allowed_hosts)), access_token)


def _make_server(
    sandbox: Sandbox,
    app: ASGIApp,
    ssl_certfile: str | None = None,
    ssl_keyfile: str | None = None,
) -> uvicorn.Server:
    from usercom_asgi.sandbox.uvicorn_server import make_server

    return make_server(app, ssl_certfile, ssl_keyfile, sandbox.faults.stop)


def check_installed() -> None:
    """Raise ``ModuleNotFoundError`` with a remedy if the extra is missing."""
    try:
        import_module("usercom_asgi.sandbox.uvicorn_server")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"The sandbox is served by uvicorn; {error.name} is missing: install the extra sandbox,"
            " e.g. pip install '.[sandbox]' in a clone",
            name=error.name,
        ) from error


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the sandbox did not start, see its log")
        time.sleep(0.005)
