"""Uvicorn server of a sandbox; the only module that imports uvicorn."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from usercom_asgi.sandbox.app import ABORT

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send
    from uvicorn._types import ASGI3Application


class DroppableProtocol(H11Protocol):
    """HTTP/1.1 protocol whose application can close the connection without a response.

    ASGI has no message for that.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the application a function that closes the connection."""
        super().connection_made(transport)
        # A query may name a person. uvicorn's own switch would silence the access log
        # of every other server in this process as well.
        self.access_log = False
        self.app = cast("ASGI3Application", _with_abort(cast("ASGIApp", self.app), transport))


class StoppableServer(uvicorn.Server):
    """Server that ends the streams before it waits for the requests.

    A stream has no end of its own, and uvicorn would log its cancellation as an error.
    """

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then stop."""
        self._on_stop()
        await super().shutdown(sockets)


def make_server(
    app: ASGIApp,
    ssl_certfile: str | None,
    ssl_keyfile: str | None,
    on_stop: Callable[[], None],
) -> uvicorn.Server:
    """Return a server of one process that does not configure logging."""
    config = uvicorn.Config(
        app,
        http=DroppableProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
        timeout_graceful_shutdown=1,
    )
    return StoppableServer(config, on_stop)


def _with_abort(app: ASGIApp, transport: asyncio.Transport) -> ASGIApp:
    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        extensions = {**scope.get("extensions", {}), ABORT: transport.abort}
        await app({**scope, "extensions": extensions}, receive, send)

    return call
