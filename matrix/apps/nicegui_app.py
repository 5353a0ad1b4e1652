"""NiceGUI within FastAPI, whose routes have to stand before the pages of NiceGUI."""

from __future__ import annotations

from fastapi import WebSocket
from fastapi.responses import HTMLResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from examples.frameworks.nicegui_app import app
from matrix.apps.fastapi_routes import routes
from matrix.apps.shared import FAILED, STATIC
from usercom_asgi.fastapi import CurrentVisitor

pages = app.router.routes.pop()  # NiceGUI's mount at "/", which takes all that is left


app.include_router(routes)


@app.websocket("/live")
async def live(websocket: WebSocket, visitor: CurrentVisitor) -> None:
    await websocket.accept()
    await visitor.event("asked", question=await websocket.receive_text())
    await websocket.send_text("3 teapots")
    await websocket.close()


@app.exception_handler(500)
async def failed(_request: object, _error: Exception) -> HTMLResponse:
    return HTMLResponse(FAILED, 500)


app.router.routes += [Mount("/static", StaticFiles(directory=STATIC)), pages]
