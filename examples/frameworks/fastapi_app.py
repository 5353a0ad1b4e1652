"""A shop on FastAPI: the visitor is a parameter, ``CurrentVisitor``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.middleware.sessions import SessionMiddleware

from usercom_asgi import Event, UserComConfig, UserComMiddleware
from usercom_asgi.fastapi import CurrentVisitor

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

SECRET = os.environ.get("SESSION_SECRET", "for development only: 32 letters")
PAGE = "<html><body><form method=post action=/buy><button>Buy</button></form></body></html>"


def who(connection: HTTPConnection) -> dict[str, str] | None:
    """Return the logged-in user. The middleware detects login and logout."""
    user = connection.session.get("user")
    return {"user_id": user} if user else None


# The pages of the documentation are HTML, so they would get the widget.
app = FastAPI(docs_url=None, redoc_url=None)
config = UserComConfig.from_env(secret_keys=(SECRET,))
app.add_middleware(UserComMiddleware, config=config, identify=who)
# Add it last, so that it is outside and the hook can read the session.
app.add_middleware(SessionMiddleware, secret_key=SECRET)


@app.get("/", response_class=HTMLResponse)
async def home() -> str:
    return PAGE  # the middleware adds the widget


@app.post("/buy")
async def buy(visitor: CurrentVisitor) -> RedirectResponse:
    await visitor.product_event("teapot", "purchase", price=19.90)
    visitor.browser.open()  # the chat opens on the page that the redirect leads to
    return RedirectResponse("/", 303)


@app.post("/login/{user}")
async def login(user: str, request: Request, visitor: CurrentVisitor) -> RedirectResponse:
    # Write the session before the visitor is used, which calls the hook.
    request.session["user"] = user
    await visitor.page_hit(event=Event("login"))
    return RedirectResponse("/", 303)


@app.post("/logout")
async def logout(request: Request) -> RedirectResponse:
    request.session.clear()
    return RedirectResponse("/", 303)


@app.get("/stock")
def stock(visitor: CurrentVisitor) -> dict[str, int]:
    """Return JSON. A plain function runs in a thread and uses ``visitor.sync``."""
    visitor.sync.event("stock_checked")
    return {"teapots": 3}


@app.websocket("/live")
async def live(websocket: WebSocket, visitor: CurrentVisitor) -> None:
    await websocket.accept()
    await visitor.event("asked", question=await websocket.receive_text())
    await websocket.send_text("3 teapots")
    await websocket.close()
