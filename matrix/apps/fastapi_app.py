"""FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.responses import HTMLResponse, StreamingResponse
from starlette.staticfiles import StaticFiles

from examples.frameworks.fastapi_app import app
from matrix.apps.shared import FAILED, NOT_FOUND, STATIC, ShopError, chunks
from usercom_asgi.fastapi import CurrentVisitor

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["app"]


@app.get("/stream")
async def stream() -> StreamingResponse:
    return StreamingResponse(chunks(), media_type="text/html")


@app.post("/reset")
async def reset(visitor: CurrentVisitor) -> str:
    await visitor.reset_auth()
    return "reset"


@app.get("/fail")
async def fail() -> None:
    raise ShopError


@app.get("/burst")
async def burst(n: int, visitor: CurrentVisitor) -> dict[str, int]:
    await visitor.event("burst", n=n)
    return {}


@app.exception_handler(404)
async def not_found(_request: Request, _error: Exception) -> HTMLResponse:
    return HTMLResponse(NOT_FOUND, 404)


@app.exception_handler(500)
async def failed(_request: Request, _error: Exception) -> HTMLResponse:
    return HTMLResponse(FAILED, 500)


app.mount("/static", StaticFiles(directory=STATIC))
