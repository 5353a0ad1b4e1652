"""Applications behind the middleware."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from helpers.asgi_client import html
from usercom_asgi import UserComConfig, UserComMiddleware, get_visitor

PAGE = b"<html><body><p>hello</p></body></html>"


def make_app(app: ASGIApp, **settings: Any) -> UserComMiddleware:
    return UserComMiddleware(app, UserComConfig(**{"app": "acme", "api_key": "ABC123", **settings}))


def app_that(*words: str, then: ASGIApp | None = None, **found: Any) -> ASGIApp:
    """Return an application that calls these helpers of its visitor, then responds."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        for word in words:
            found[word] = await getattr(visitor, word)()
        await (then or html(PAGE))(scope, receive, send)

    return app
