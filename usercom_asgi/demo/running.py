"""The servers of the demo, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import sys

import uvicorn

from ..core.config import UserComConfig
from ..sandbox import RunningSandbox, Sandbox, serve
from .shop import create_app

_HOST = "127.0.0.1"
_API_KEY = "ABC123"


def run(shop_port: int, sandbox_port: int) -> None:
    """Serve shop and sandbox; a port that is taken is replaced by a free one."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    # The servers have no log configuration, so all warnings are logged here.
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with contextlib.ExitStack() as stack:
        sandbox = _start_sandbox(stack, sandbox_port)
        listener = stack.enter_context(_listen(shop_port))
        config = UserComConfig(base_url=sandbox.url, api_key=_API_KEY)
        settings = uvicorn.Config(
            create_app(config), log_config=None, access_log=False, timeout_graceful_shutdown=3
        )
        # The sandbox stops with the stack, so the shop can still deliver when it stops.
        _AnnouncedServer(settings, sandbox.url).run([listener])


class _AnnouncedServer(uvicorn.Server):
    """Server that prints the addresses when it has started."""

    def __init__(self, config: uvicorn.Config, sandbox_url: str) -> None:
        super().__init__(config)
        self._sandbox_url = sandbox_url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            _print(
                f"\n  The shop       http://{_HOST}:{sockets[0].getsockname()[1]}"
                f"\n  The dashboard  {self._sandbox_url}\n\n"
                "  Open both side by side. In the shop: log in as Alice, buy something, log out, log in as Bob.\n"
                "  The dashboard shows what User.com receives, and can make it fail. Ctrl-C stops both.\n"
            )


def _start_sandbox(stack: contextlib.ExitStack, port: int) -> RunningSandbox:
    sandbox = Sandbox(api_key=_API_KEY)
    try:
        return stack.enter_context(serve(sandbox, _HOST, port))
    except OSError as error:
        _print_taken(port, error)
        return stack.enter_context(serve(sandbox, _HOST))


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((_HOST, port))
    except OSError as error:
        _print_taken(port, error)
        return socket.create_server((_HOST, 0))


def _stop(*_: object) -> None:
    # uvicorn handles the signals while it serves, and raises them again afterwards. By
    # default that would be a traceback (Ctrl-C), or an exit before the sandbox has
    # stopped (SIGTERM).
    sys.exit(0)


def _print_taken(port: int, error: OSError) -> None:
    _print(f"Port {port} is not available ({error.strerror}), using a free one.")


def _print(text: str) -> None:
    print(text, flush=True)  # without a delay in a pipe
