"""BlackSheep."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from blacksheep import Content, Request, Response, StreamedContent, html, json, text

from examples.frameworks.blacksheep_app import app, shop
from matrix.apps.shared import FAILED, NOT_FOUND, STATIC, ShopError, chunks
from usercom_asgi import get_visitor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["app"]


@shop.router.get("/stream")
async def stream() -> Response:
    async def body() -> AsyncGenerator[bytes, None]:
        async for chunk in chunks():
            yield chunk.encode()

    return Response(200, content=StreamedContent(b"text/html", body))


@shop.router.post("/reset")
async def reset(request: Request) -> Response:
    await get_visitor(request).reset_auth()
    return text("reset")


@shop.router.get("/fail")
async def fail() -> NoReturn:
    raise ShopError


@shop.router.get("/burst")
async def burst(request: Request, n: int) -> Response:
    await get_visitor(request).event("burst", n=n)
    return json({})


@shop.exception_handler(404)
async def not_found(_app: object, _request: Request, _error: Exception) -> Response:
    return html(NOT_FOUND, 404)


@shop.exception_handler(ShopError)
async def failed(_app: object, _request: Request, _error: Exception) -> Response:
    return Response(500, content=Content(b"text/html", FAILED.encode()))


shop.serve_files(STATIC, root_path="static")
