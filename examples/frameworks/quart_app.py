"""A shop on Quart: its session is made known to the hook, which runs outside of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from quart import Quart, redirect, request, session, websocket
from quart.globals import request_ctx, websocket_ctx

from usercom_asgi import Event, UserComConfig, UserComMiddleware, get_visitor

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection
    from werkzeug.wrappers import Response

SECRET = os.environ.get("SESSION_SECRET", "for development only: 32 letters")
PAGE = "<html><body><form method=post action=/buy><button>Buy</button></form></body></html>"


def who(connection: HTTPConnection) -> dict[str, str] | None:
    """Return the logged-in user. The middleware detects login and logout."""
    user = connection.session.get("user")
    return {"user_id": user} if user else None


app = Quart(__name__)
app.secret_key = SECRET
config = UserComConfig.from_env(secret_keys=(SECRET,))
app.asgi_app = UserComMiddleware(app.asgi_app, config, identify=who)  # type: ignore[method-assign, assignment]


# `quart.session` works only in handlers, and the hook is called for the response.
@app.before_request
async def share_session() -> None:
    request.scope["session"] = request_ctx.session  # type: ignore[typeddict-unknown-key]


@app.before_websocket
async def share_websocket_session() -> None:
    websocket.scope["session"] = websocket_ctx.session  # type: ignore[typeddict-unknown-key]


@app.get("/")
async def home() -> str:
    return PAGE  # the middleware adds the widget


@app.post("/buy")
async def buy() -> Response:
    visitor = get_visitor(request)
    await visitor.product_event("teapot", "purchase", price=19.90)
    visitor.browser.open()  # the chat opens on the page that the redirect leads to
    return redirect("/", 303)


@app.post("/login/<user>")
async def login(user: str) -> Response:
    # Write the session before the visitor is used, which calls the hook.
    session["user"] = user
    await get_visitor(request).page_hit(event=Event("login"))
    return redirect("/", 303)


@app.post("/logout")
async def logout() -> Response:
    session.clear()
    return redirect("/", 303)


@app.get("/stock")
def stock() -> dict[str, int]:
    """Return JSON. A plain function runs in a thread and uses ``visitor.sync``."""
    get_visitor(request).sync.event("stock_checked")
    return {"teapots": 3}


@app.websocket("/live")
async def live() -> None:
    question = await websocket.receive()
    await get_visitor(websocket).event("asked", question=question)
    await websocket.send("3 teapots")
