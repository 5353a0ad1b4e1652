"""A shop on Sanic, which has no sessions: those of Starlette are around it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sanic import HTTPResponse, Request, Sanic, Websocket, html, json, redirect
from starlette.middleware.sessions import SessionMiddleware

from usercom_asgi import Event, UserComConfig, UserComMiddleware, get_visitor

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

SECRET = os.environ.get("SESSION_SECRET", "for development only: 32 letters")
PAGE = "<html><body><form method=post action=/buy><button>Buy</button></form></body></html>"

shop = Sanic("shop")


def who(connection: HTTPConnection) -> dict[str, str] | None:
    """Return the logged-in user. The middleware detects login and logout."""
    user = connection.session.get("user")
    return {"user_id": user} if user else None


def session_of(request: Request) -> dict[str, Any]:
    session: dict[str, Any] = request.transport.scope["session"]
    return session


@shop.get("/")
async def home(_request: Request) -> HTTPResponse:
    return html(PAGE)  # the middleware adds the widget


@shop.post("/buy")
async def buy(request: Request) -> HTTPResponse:
    visitor = get_visitor(request)
    await visitor.product_event("teapot", "purchase", price=19.90)
    visitor.browser.open()  # the chat opens on the page that the redirect leads to
    return redirect("/", status=303)


@shop.post("/login/<user:str>")
async def login(request: Request, user: str) -> HTTPResponse:
    # Write the session before the visitor is used, which calls the hook.
    session_of(request)["user"] = user
    await get_visitor(request).page_hit(event=Event("login"))
    return redirect("/", status=303)


@shop.post("/logout")
async def logout(request: Request) -> HTTPResponse:
    session_of(request).clear()
    return redirect("/", status=303)


@shop.get("/stock")
async def stock(request: Request) -> HTTPResponse:
    """Return JSON. A plain function would run in the event loop as well."""
    await get_visitor(request).event("stock_checked")
    return json({"teapots": 3})


@shop.websocket("/live")
async def live(request: Request, websocket: Websocket) -> None:
    question = await websocket.recv()
    await get_visitor(request).event("asked", question=question)
    await websocket.send("3 teapots")


# For an ASGI server; `sanic shop` runs Sanic's own, which has no ASGI middleware.
config = UserComConfig.from_env(secret_keys=(SECRET,))
app = SessionMiddleware(UserComMiddleware(shop, config, identify=who), secret_key=SECRET)
