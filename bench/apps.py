"""Applications to compare: one Starlette application inside different middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from usercom_asgi import UserComConfig, UserComMiddleware

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PARAGRAPH = "<p>A paragraph of text, as pages have many of them, with <a href='/x'>a link</a> and <b>an accent</b>.</p>\n"


def html_page(size: int) -> str:
    """Return a page of about this many bytes."""
    head = "<!doctype html>\n<html><head><title>Bench</title></head>\n<body>\n"
    tail = "</body></html>\n"
    return head + PARAGRAPH * ((size - len(head) - len(tail)) // len(PARAGRAPH)) + tail


PAGE = html_page(10_240)


async def json_answer(request: Request) -> Response:
    return JSONResponse({"ok": True})


async def page_answer(request: Request) -> Response:
    return HTMLResponse(PAGE)


class NoOp:
    """Middleware that only calls the application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class WrapsSend:
    """Middleware that only wraps ``send``."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def wrapped(message: Message) -> None:
            await send(message)

        await self.app(scope, receive, wrapped)


class NaiveBase(BaseHTTPMiddleware):
    """Middleware on ``BaseHTTPMiddleware``, as written at a first try."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


VARIANTS: dict[str, list[Middleware]] = {
    "bare": [],
    "no-op": [Middleware(NoOp)],
    "wraps send": [Middleware(WrapsSend)],
    "usercom_asgi": [
        Middleware(UserComMiddleware, config=UserComConfig(app="acme", api_key="ABC123"))
    ],
    "BaseHTTPMiddleware": [Middleware(NaiveBase)],
}


class Case(NamedTuple):
    """A request to measure."""

    title: str
    path: str
    has_lifespan: bool = True


CASES = {
    "json": Case("JSON", "/json"),
    "inline": Case("JSON without a lifespan", "/json", has_lifespan=False),
    "page": Case("page of 10 KB", "/page"),
}


def make_app(variant: str) -> ASGIApp:
    return Starlette(
        routes=[Route("/json", json_answer), Route("/page", page_answer)],
        middleware=VARIANTS[variant],
    )
