"""FastHTML."""

from __future__ import annotations

from typing import NoReturn

from fasthtml.common import HTMLResponse, JSONResponse, Request, StreamingResponse
from starlette.staticfiles import StaticFiles

from examples.frameworks.fasthtml_app import app
from matrix.apps.shared import FAILED, NOT_FOUND, STATIC, ShopError, chunks
from usercom_asgi import get_visitor

__all__ = ["app"]


@app.get("/stream")
async def stream() -> StreamingResponse:
    return StreamingResponse(chunks(), media_type="text/html")


@app.post("/reset")
async def reset(req: Request) -> JSONResponse:
    await get_visitor(req).reset_auth()
    return JSONResponse("reset")


@app.get("/fail")
async def fail() -> NoReturn:
    raise ShopError


@app.get("/burst")
async def burst(req: Request, n: int) -> JSONResponse:
    await get_visitor(req).event("burst", n=n)
    return JSONResponse({})


async def not_found(_request: Request, _error: Exception) -> HTMLResponse:
    return HTMLResponse(NOT_FOUND, 404)


async def failed(_request: Request, _error: Exception) -> HTMLResponse:
    return HTMLResponse(FAILED, 500)


app.add_exception_handler(404, not_found)
app.add_exception_handler(500, failed)
app.mount("/static", StaticFiles(directory=STATIC))
