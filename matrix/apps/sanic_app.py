"""Sanic."""

from __future__ import annotations

from typing import NoReturn

from sanic import HTTPResponse, Request, html, json, text
from sanic.exceptions import NotFound

from examples.frameworks.sanic_app import app, shop
from matrix.apps.shared import FAILED, NOT_FOUND, STATIC, ShopError, chunks
from usercom_asgi import get_visitor

__all__ = ["app"]


@shop.get("/stream")
async def stream(request: Request) -> None:
    response = await request.respond(content_type="text/html; charset=utf-8")
    async for chunk in chunks():
        await response.send(chunk)
    await response.eof()


@shop.post("/reset")
async def reset(request: Request) -> HTTPResponse:
    await get_visitor(request).reset_auth()
    return text("reset")


@shop.get("/fail")
async def fail(_request: Request) -> NoReturn:
    raise ShopError


@shop.get("/burst")
async def burst(request: Request) -> HTTPResponse:
    await get_visitor(request).event("burst", n=int(request.args["n"][0]))
    return json({})


@shop.exception(NotFound)
async def not_found(_request: Request, _error: Exception) -> HTTPResponse:
    return html(NOT_FOUND, 404)


@shop.exception(ShopError)
async def failed(_request: Request, _error: Exception) -> HTTPResponse:
    return html(FAILED, 500)


shop.static("/static", STATIC)
