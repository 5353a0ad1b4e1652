"""Quart."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from quart import Response, request, send_from_directory

from examples.frameworks.quart_app import app
from matrix.apps.shared import FAILED, NOT_FOUND, STATIC, ShopError, chunks
from usercom_asgi import get_visitor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["app"]


@app.get("/stream")
async def stream() -> AsyncGenerator[str, None]:
    return chunks()


@app.post("/reset")
async def reset() -> str:
    await get_visitor(request).reset_auth()
    return "reset"


@app.get("/fail")
async def fail() -> NoReturn:
    raise ShopError


@app.get("/burst")
async def burst() -> dict[str, int]:
    await get_visitor(request).event("burst", n=int(request.args["n"]))
    return {}


@app.get("/static/<name>")
async def static_file(name: str) -> Response:
    return await send_from_directory(STATIC, name)


@app.errorhandler(404)
async def not_found(_error: Exception) -> tuple[str, int]:
    return NOT_FOUND, 404


@app.errorhandler(500)
async def failed(_error: Exception) -> tuple[str, int]:
    return FAILED, 500
