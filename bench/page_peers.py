"""Injectors of pages and their baselines, each around one raw ASGI application.

The peers are in the dependency group `bench`; type checkers see them as `Any`,
installed or not.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The snippet of the peers, about as long as ours.
SNIPPET = b"<script>" + b"x" * 2800 + b"</script>"


def bare(app: ASGIApp) -> ASGIApp:
    return app


def injector(app: ASGIApp) -> ASGIApp:
    """Run the page half alone: eligibility, position and headers."""
    from usercom_asgi.page.eligibility import skip_reason
    from usercom_asgi.page.headers import header_layout, header_list, relevant_headers
    from usercom_asgi.page.response import PageResponse, PageSettings

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        page: PageResponse | None = None

        async def inject(message: Message) -> None:
            nonlocal page
            if page is not None:
                if page.try_pass_through(message):
                    await send(message)
                    return
                for each in page.feed(message):
                    await send(each)
            elif message["type"] == "http.response.start":
                if type(message.get("headers")) is not list:
                    message = {**message, "headers": header_list(message)}
                layout = header_layout(message["headers"])
                if (
                    skip_reason(
                        scope["method"],
                        {},
                        message["status"],
                        relevant_headers(message["headers"], layout),
                    )
                    is None
                ):
                    page = PageResponse(
                        {**message, "headers": message["headers"].copy()},
                        PageSettings(SNIPPET, scope["method"], layout=layout),
                    )
                else:
                    await send(message)
            else:
                await send(message)

        await app(scope, receive, inject)

    return wrapped


def usercom(app: ASGIApp) -> ASGIApp:
    from usercom_asgi import UserComConfig, UserComMiddleware

    return UserComMiddleware(app, UserComConfig(app="acme", api_key="ABC123"))


def logged_in(app: ASGIApp) -> ASGIApp:
    """Run the middleware with a user who was logged in at the last request as well.

    The hook is called, and the page names the user.
    """
    from usercom_asgi import UserComConfig, UserComMiddleware
    from usercom_asgi.visitor.signed_cookies import IdentityCookie

    config = UserComConfig(
        app="acme", api_key="ABC123", secret_keys=("a key of sixteen characters",)
    )
    person = {"user_id": "42", "email": "ann@example.com", "first_name": "Ann", "plan": "pro"}
    middleware = UserComMiddleware(app, config, identify=lambda _: person)
    identity_cookie = IdentityCookie(config.secret_keys, None)
    cookie = identity_cookie.set_cookie(
        identity_cookie.fingerprint(person), secure=False
    ).partition(b";")[0]

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["headers"] = [
                (n, v + b"; " + cookie if n == b"cookie" else v) for n, v in scope["headers"]
            ]
        await middleware(scope, receive, send)

    return wrapped


def newrelic(app: ASGIApp) -> ASGIApp:
    from newrelic.api.asgi_application import ASGIBrowserMiddleware

    class Settings:
        class browser_monitoring:  # noqa: N801  New Relic's name
            content_type = ("text/html",)

    class Transaction:
        enabled, autorum_disabled, rum_header_generated, settings = True, False, False, Settings

        def browser_timing_header(self) -> str:
            return SNIPPET.decode()

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        await ASGIBrowserMiddleware(app, Transaction())(scope, receive, send)

    return wrapped


def shiny(app: ASGIApp) -> ASGIApp:
    os.environ["SHINY_AUTORELOAD_PORT"] = "9"
    from shiny._autoreload import InjectAutoreloadMiddleware

    made: Any = InjectAutoreloadMiddleware(app)
    made.script = SNIPPET + b"</head>"
    wrapped: ASGIApp = made
    return wrapped


def toolbar(app: ASGIApp) -> ASGIApp:
    from debug_toolbar.middleware import DebugToolbarMiddleware
    from fastapi import FastAPI

    site = FastAPI(debug=True)
    site.add_middleware(DebugToolbarMiddleware, DEFAULT_PANELS=[])
    site.add_route("/", _as_endpoint(app))
    return site


def base(app: ASGIApp) -> ASGIApp:
    """Wrap with ``BaseHTTPMiddleware``, as written at a first try."""
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import Response

    class Naive(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            body = b"".join([chunk async for chunk in response.body_iterator])
            body = body.replace(b"</body>", SNIPPET + b"</body>", 1)
            headers = {
                name: value for name, value in response.headers.items() if name != "content-length"
            }
            return Response(body, response.status_code, headers)

    return Naive(app)


def _as_endpoint(app: ASGIApp) -> Any:
    from starlette.responses import StreamingResponse

    async def endpoint(request: Any) -> Any:
        async def chunks() -> Any:
            parts: list[bytes] = []

            async def send(message: Message) -> None:
                parts.append(message.get("body", b""))

            await app(request.scope, request.receive, send)
            for part in parts:
                yield part

        return StreamingResponse(chunks(), media_type="text/html")

    return endpoint


VARIANTS: dict[str, Callable[[ASGIApp], ASGIApp]] = {
    "bare": bare,
    "usercom_asgi, the injector": injector,
    "usercom_asgi, the whole middleware": usercom,
    "usercom_asgi, with a logged-in user": logged_in,
    "New Relic's class": newrelic,
    "py-shiny": shiny,
    "fastapi-debug-toolbar": toolbar,
    "BaseHTTPMiddleware, naive": base,
}
