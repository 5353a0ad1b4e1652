"""Applications behind the middleware."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from helpers.asgi_client import html
from usercom_asgi import UserComConfig, UserComMiddleware, get_visitor

PAGE = b"<html><body><p>hello</p></body></html>"


def make_app(
    app: ASGIApp, hooks: dict[str, Any] | None = None, **settings: Any
) -> UserComMiddleware:
    """Return the middleware around an application, for tests that send nothing."""
    config = UserComConfig(**{"app": "acme", "api_key": "ABC123", **settings})
    return UserComMiddleware(app, config, **(hooks or {}))


def app_with(handler: Callable[[Any], Awaitable[object]], then: ASGIApp | None = None) -> ASGIApp:
    """Return an application that passes its visitor to a handler, then responds."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await handler(get_visitor(scope))
        await (then or html(PAGE))(scope, receive, send)

    return app


def app_that(*words: str, then: ASGIApp | None = None, **found: Any) -> ASGIApp:
    """Return an application that calls these helpers of its visitor, then responds."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        for word in words:
            found[word] = await getattr(visitor, word)()
        await (then or html(PAGE))(scope, receive, send)

    return app
