"""Routes for the applications of FastAPI and of NiceGUI, which is one of FastAPI."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from matrix.apps.shared import ShopError, chunks
from usercom_asgi.fastapi import CurrentVisitor

routes = APIRouter()


@routes.get("/stream")
async def stream() -> StreamingResponse:
    return StreamingResponse(chunks(), media_type="text/html")


@routes.post("/reset")
async def reset(visitor: CurrentVisitor) -> str:
    await visitor.reset_auth()
    return "reset"


@routes.get("/fail")
async def fail() -> None:
    raise ShopError


@routes.get("/burst")
async def burst(n: int, visitor: CurrentVisitor) -> dict[str, int]:
    await visitor.event("burst", n=n)
    return {}
