"""The checks of a server for its sockets: the same as for requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usercom_asgi.sandbox.security import guarded

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ADMITTED = "usercom.sandbox.admitted"


class SocketGuard:
    """Application of a server, whose sockets pass the checks of `Guard` too.

    The handshake of a socket is checked as a request to the API, because the socket has
    the app key and a user key as the API has, and pages of any origin open it.
    """

    def __init__(self, app: ASGIApp, **settings: Any) -> None:
        self._app = app
        self._requests = guarded(app, **settings)
        self._handshakes = guarded(_admit, **settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a handshake with the answer of `Guard`, or call on."""
        if scope["type"] != "websocket":
            await self._requests(scope, receive, send)
            return
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        as_request = {**scope, "type": "http", "method": "GET", "path": f"/api{scope['path']}"}
        await self._handshakes(as_request, receive, keep)
        if answer[0]["type"] == _ADMITTED:
            await self._app(scope, receive, send)
        elif "websocket.http.response" in scope.get("extensions", {}):
            for message in answer:
                await send({**message, "type": f"websocket.{message['type']}"})
        else:
            await send({"type": "websocket.close"})


async def _admit(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": _ADMITTED})
