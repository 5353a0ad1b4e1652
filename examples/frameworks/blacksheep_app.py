"""A shop on BlackSheep: its session is put into the scope, where the hook reads it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from blacksheep import Application, Request, Response, WebSocket, html, json, status_code

from usercom_asgi import Event, UserComConfig, UserComMiddleware, get_visitor

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

SECRET = os.environ.get("SESSION_SECRET", "for development only: 32 letters")
PAGE = "<html><body><form method=post action=/buy><button>Buy</button></form></body></html>"

shop = Application()
shop.use_sessions(SECRET)


def who(connection: HTTPConnection) -> dict[str, str] | None:
    """Return the logged-in user. The middleware detects login and logout."""
    user = connection.session.get("user")
    return {"user_id": user} if user else None


async def share_session(
    request: Request, handler: Callable[[Request], Awaitable[Response]]
) -> Response:
    request.scope["session"] = request.session
    return await handler(request)


shop.middlewares.append(share_session)


@shop.router.get("/")
async def home() -> Response:
    return html(PAGE)  # the middleware adds the widget


@shop.router.post("/buy")
async def buy(request: Request) -> Response:
    visitor = get_visitor(request)
    await visitor.product_event("teapot", "purchase", price=19.90)
    visitor.browser.open()  # the chat opens on the page that the redirect leads to
    return see_other("/")


@shop.router.post("/login/{user}")
async def login(request: Request, user: str) -> Response:
    # Write the session before the visitor is used, which calls the hook.
    request.session["user"] = user
    await get_visitor(request).page_hit(event=Event("login"))
    return see_other("/")


@shop.router.post("/logout")
async def logout(request: Request) -> Response:
    request.session.clear()
    return see_other("/")


@shop.router.get("/stock")
async def stock(request: Request) -> Response:
    """Return JSON. A plain function would run in the event loop as well."""
    await get_visitor(request).event("stock_checked")
    return json({"teapots": 3})


@shop.router.ws("/live")
async def live(websocket: WebSocket) -> None:
    await websocket.accept()
    question = await websocket.receive_text()
    await get_visitor(websocket).event("asked", question=question)
    await websocket.send_text("3 teapots")
    await websocket.close()


def see_other(path: str) -> Response:
    response = status_code(303)
    response.add_header(b"Location", path.encode())
    return response


config = UserComConfig.from_env(secret_keys=(SECRET,))
app = UserComMiddleware(shop, config, identify=who)
