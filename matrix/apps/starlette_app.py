"""Starlette; the middleware is around it, so that the page of a 500 has the widget."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import anyio
from starlette.applications import Starlette
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from examples.frameworks import starlette_app as example
from matrix.apps.shared import CHUNKS, FAILED, NOT_FOUND, PAUSE, STATIC, ShopError
from usercom_asgi import UserComMiddleware, get_visitor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request


async def chunks() -> AsyncGenerator[str, None]:
    for n, chunk in enumerate(CHUNKS):
        if n:
            await anyio.sleep(PAUSE)  # hypercorn runs it on trio as well
        yield chunk


async def stream(_request: Request) -> Response:
    return StreamingResponse(chunks(), media_type="text/html")


async def reset(request: Request) -> Response:
    await get_visitor(request).reset_auth()
    return Response("reset")


async def fail(_request: Request) -> NoReturn:
    raise ShopError


async def burst(request: Request) -> Response:
    await get_visitor(request).event("burst", n=int(request.query_params["n"]))
    return JSONResponse({})


async def not_found(_request: Request, _error: Exception) -> Response:
    return HTMLResponse(NOT_FOUND, 404)


async def failed(_request: Request, _error: Exception) -> Response:
    return HTMLResponse(FAILED, 500)


shop = Starlette(
    routes=[
        *example.app.routes,
        Route("/stream", stream),
        Route("/reset", reset, methods=["POST"]),
        Route("/fail", fail),
        Route("/burst", burst),
        Mount("/static", StaticFiles(directory=STATIC)),
    ],
    exception_handlers={404: not_found, 500: failed},
)
app = SessionMiddleware(
    UserComMiddleware(shop, example.config, identify=example.who), secret_key=example.SECRET
)
