"""Uvicorn server of a sandbox; the only module that imports uvicorn and wsproto."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from usercom_asgi.sandbox.app import ABORT
from usercom_asgi.sandbox.sockets import MAX_FRAME

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send
    from uvicorn._types import ASGI3Application

_logger = logging.getLogger(__name__)
# Each line of uvicorn about a socket has its address, and so a visitor's key.
_quiet = logging.getLogger(f"{__name__}.quiet")
_quiet.setLevel(logging.CRITICAL)
# Bytes of a message that has not ended: four for each character, and the frames' heads.
_MAX_UNREAD = 4 * MAX_FRAME + 65_536


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


def _socket_protocol() -> type[asyncio.Protocol] | None:
    """Return the protocol of WebSockets, or None without wsproto."""
    if find_spec("wsproto") is None:
        return None
    from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

    class BoundedProtocol(WSProtocol):
        """WebSocket protocol that reads no message without an end into memory.

        Not all versions of uvicorn bound one.
        """

        _unread = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.logger = _quiet
            self.app = cast("ASGI3Application", _with_abort(cast("ASGIApp", self.app), transport))

        def data_received(self, data: bytes) -> None:
            self._unread += len(data)
            if self._unread > _MAX_UNREAD:
                self.transport.abort()
            else:
                super().data_received(data)

        async def receive(self) -> Any:
            # A client that does not read its pongs gets no more of them.
            await self.writable.wait()
            message = await super().receive()
            self._unread = 0
            return message

    return BoundedProtocol


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
    sockets = _socket_protocol()
    if sockets is None:
        _logger.warning(
            "The sandbox serves no WebSocket, because wsproto is missing: the chat works, and"
            " answers of User.com appear at the next page view. Install the extra sandbox"
        )
    config = uvicorn.Config(
        app,
        http=DroppableProtocol,
        ws=sockets or "none",
        ws_per_message_deflate=False,  # a small frame could unpack to a large one
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
