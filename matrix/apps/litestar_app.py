"""Litestar."""

from __future__ import annotations

from typing import Any, NoReturn

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.response import Stream
from litestar.static_files import create_static_files_router

from examples.frameworks import litestar_app as example
from matrix.apps.shared import FAILED, NOT_FOUND, STATIC, ShopError, chunks
from usercom_asgi import UserComMiddleware, get_visitor


@get("/stream")
async def stream() -> Stream:
    return Stream(chunks(), media_type=MediaType.HTML)


@post("/reset")
async def reset(request: Request[Any, Any, Any]) -> str:
    await get_visitor(request).reset_auth()
    return "reset"


@get("/fail")
async def fail() -> NoReturn:
    raise ShopError


@get("/burst")
async def burst(request: Request[Any, Any, Any], n: int) -> dict[str, int]:
    await get_visitor(request).event("burst", n=n)
    return {}


def not_found(_request: Request[Any, Any, Any], _error: Exception) -> Response[str]:
    return Response(NOT_FOUND, status_code=404, media_type=MediaType.HTML)


def failed(_request: Request[Any, Any, Any], _error: Exception) -> Response[str]:
    return Response(FAILED, status_code=500, media_type=MediaType.HTML)


shop = Litestar(
    [
        *(example.home, example.buy, example.login, example.logout, example.stock, example.live),
        *(stream, reset, fail, burst),
        create_static_files_router("/static", [STATIC]),
    ],
    middleware=[example.sessions.middleware],
    exception_handlers={404: not_found, 500: failed},
)
app = UserComMiddleware(shop, example.config, identify=example.who)
