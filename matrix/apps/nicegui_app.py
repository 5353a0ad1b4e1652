"""NiceGUI within FastAPI, whose routes have to stand before the pages of NiceGUI."""

from __future__ import annotations

from fastapi import WebSocket
from fastapi.responses import HTMLResponse, StreamingResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from examples.frameworks.nicegui_app import app
from matrix.apps.shared import FAILED, STATIC, ShopError, chunks
from usercom_asgi.fastapi import CurrentVisitor

pages = app.router.routes.pop()  # NiceGUI's mount at "/", which takes all that is left


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
