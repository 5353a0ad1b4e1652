"""``make demo``: the shop and a sandbox of User.com for it."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import socket
import sys
from typing import TYPE_CHECKING

import uvicorn

from examples.settings import SANDBOX_API_KEY
from examples.starlette_shop import create_app
from usercom_asgi import UserComConfig
from usercom_asgi.sandbox import RunningSandbox, Sandbox, serve

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOST = "127.0.0.1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C or SIGTERM."""
    options = _options(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    # The servers have no log configuration, so all warnings are logged here.
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with contextlib.ExitStack() as stack:
        sandbox = _start_sandbox(stack, options.sandbox_port)
        listener = stack.enter_context(_listen(options.shop_port))
        config = UserComConfig(base_url=sandbox.url, api_key=SANDBOX_API_KEY)
        settings = uvicorn.Config(
            create_app(config), log_config=None, access_log=False, timeout_graceful_shutdown=3
        )
        # The sandbox stops with the stack, so the shop can still deliver when it stops.
        _AnnouncedServer(settings, sandbox.url).run([listener])
    return 0


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
    sandbox = Sandbox(api_key=SANDBOX_API_KEY)
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


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo", description="The shop and a sandbox of User.com for it."
    )
    ports = range(65536)
    parser.add_argument(
        "--shop-port",
        type=int,
        choices=ports,
        default=8000,
        metavar="PORT",
        help="0 selects a free one",
    )
    parser.add_argument(
        "--sandbox-port",
        type=int,
        choices=ports,
        default=8900,
        metavar="PORT",
        help="0 selects a free one",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
