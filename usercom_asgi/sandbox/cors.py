"""Cross-origin responses, because the widget calls User.com from pages of any site."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from usercom_asgi.sandbox.security import is_public

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    # The last two name the visitor and the conversation that the chat reads.
    "Access-Control-Allow-Headers": "Content-Type, X-Requested-With, clientuser-key, convo-id",
    "Access-Control-Max-Age": "600",
}
# Browsers let a page of a public host call a sandbox on loopback only with this header
# (Private Network Access, later named Local Network Access).
_LOCAL_NETWORK = ("Private", "Local")


class CorsMiddleware:
    """Middleware that lets pages of any origin call the API with credentials.

    The page and its endpoints are excluded. Otherwise any site that the developer
    visits could read the sandbox.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer preflights and add the origin to every other response.

        Errors have the headers as well. Otherwise the page could not read the status.
        """
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        origin = headers.get("origin")
        if origin is None or not is_public(scope["path"]):
            await self.app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS":
            await Response(status_code=200, headers=_preflight(headers, origin))(
                scope, receive, send
            )
            return

        async def send_with_origin(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_origin_headers(origin))
            await send(message)

        await self.app(scope, receive, send_with_origin)


def _origin_headers(origin: str) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Vary": "Origin",
    }


def _preflight(headers: Headers, origin: str) -> dict[str, str]:
    answer = {**_origin_headers(origin), **_PREFLIGHT}
    for name in _LOCAL_NETWORK:
        if f"access-control-request-{name.lower()}-network" in headers:
            answer[f"Access-Control-Allow-{name}-Network"] = "true"
    return answer
