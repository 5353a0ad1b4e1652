"""A shop on Starlette: sessions outside, so that the hook can read them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute

from usercom_asgi import Event, UserComConfig, UserComMiddleware, get_visitor

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection, Request
    from starlette.websockets import WebSocket

SECRET = os.environ.get("SESSION_SECRET", "for development only: 32 letters")
PAGE = "<html><body><form method=post action=/buy><button>Buy</button></form></body></html>"


def who(connection: HTTPConnection) -> dict[str, str] | None:
    """Return the logged-in user. The middleware detects login and logout."""
    user = connection.session.get("user")
    return {"user_id": user} if user else None


async def home(_request: Request) -> Response:
    return HTMLResponse(PAGE)  # the middleware adds the widget


async def buy(request: Request) -> Response:
    visitor = get_visitor(request)
    await visitor.product_event("teapot", "purchase", price=19.90)
    visitor.browser.open()  # the chat opens on the page that the redirect leads to
    return RedirectResponse("/", 303)


async def login(request: Request) -> Response:
    # Write the session before the visitor is used, which calls the hook.
    request.session["user"] = request.path_params["user"]
    await get_visitor(request).page_hit(event=Event("login"))
    return RedirectResponse("/", 303)


async def logout(request: Request) -> Response:
    request.session.clear()
    return RedirectResponse("/", 303)


def stock(request: Request) -> Response:
    """Return JSON. A plain function runs in a thread and uses ``visitor.sync``."""
    get_visitor(request).sync.event("stock_checked")
    return JSONResponse({"teapots": 3})


async def live(websocket: WebSocket) -> None:
    await websocket.accept()
    question = await websocket.receive_text()
    await get_visitor(websocket).event("asked", question=question)
    await websocket.send_text("3 teapots")
    await websocket.close()


config = UserComConfig.from_env(secret_keys=(SECRET,))
app = Starlette(
    routes=[
        Route("/", home),
        Route("/buy", buy, methods=["POST"]),
        Route("/login/{user}", login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
        Route("/stock", stock),
        WebSocketRoute("/live", live),
    ],
    middleware=[
        Middleware(SessionMiddleware, secret_key=SECRET),
        Middleware(UserComMiddleware, config=config, identify=who),
    ],
)
