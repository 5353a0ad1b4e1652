"""A shop on Litestar: the middleware is around it, so that it sees the lifespan."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from litestar import Litestar, MediaType, Request, WebSocket, get, post, websocket
from litestar.middleware.session.client_side import CookieBackendConfig
from litestar.response import Redirect

from usercom_asgi import UNKNOWN, Event, UserComConfig, UserComMiddleware, get_visitor

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

SECRET = os.environ.get("SESSION_SECRET", "for development only: 32 letters")
PAGE = "<html><body><form method=post action=/buy><button>Buy</button></form></body></html>"


def who(connection: HTTPConnection) -> Any:
    """Return the logged-in user. The middleware detects login and logout."""
    if "session" not in connection.scope:  # Litestar loads none for a page of status 404
        return UNKNOWN
    user = connection.session.get("user")
    return {"user_id": user} if user else None


@get("/", media_type=MediaType.HTML)
async def home() -> str:
    return PAGE  # the middleware adds the widget


@post("/buy")
async def buy(request: Request[Any, Any, Any]) -> Redirect:
    visitor = get_visitor(request)
    await visitor.product_event("teapot", "purchase", price=19.90)
    visitor.browser.open()  # the chat opens on the page that the redirect leads to
    return Redirect("/", status_code=303)


@post("/login/{user:str}")
async def login(user: str, request: Request[Any, Any, Any]) -> Redirect:
    # Write the session before the visitor is used, which calls the hook.
    request.session["user"] = user
    await get_visitor(request).page_hit(event=Event("login"))
    return Redirect("/", status_code=303)


@post("/logout")
async def logout(request: Request[Any, Any, Any]) -> Redirect:
    request.session.clear()  # not clear_session(), after which the hook finds no mapping
    return Redirect("/", status_code=303)


@get("/stock", sync_to_thread=True)
def stock(request: Request[Any, Any, Any]) -> dict[str, int]:
    """Return JSON. A plain function runs in a thread and uses ``visitor.sync``."""
    get_visitor(request).sync.event("stock_checked")
    return {"teapots": 3}


@websocket("/live")
async def live(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    question = await socket.receive_text()
    await get_visitor(socket).event("asked", question=question)
    await socket.send_text("3 teapots")
    await socket.close()


sessions = CookieBackendConfig(secret=SECRET.encode())
config = UserComConfig.from_env(secret_keys=(SECRET,))
shop = Litestar([home, buy, login, logout, stock, live], middleware=[sessions.middleware])
# In `middleware=` it would not see the lifespan, and deliver after each response.
app = UserComMiddleware(shop, config, identify=who)
