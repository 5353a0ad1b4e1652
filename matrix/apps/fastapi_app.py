"""FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from examples.frameworks.fastapi_app import app
from matrix.apps.fastapi_routes import routes
from matrix.apps.shared import FAILED, NOT_FOUND, STATIC

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["app"]

app.include_router(routes)


@app.exception_handler(404)
async def not_found(_request: Request, _error: Exception) -> HTMLResponse:
    return HTMLResponse(NOT_FOUND, 404)


@app.exception_handler(500)
async def failed(_request: Request, _error: Exception) -> HTMLResponse:
    return HTMLResponse(FAILED, 500)


app.mount("/static", StaticFiles(directory=STATIC))
