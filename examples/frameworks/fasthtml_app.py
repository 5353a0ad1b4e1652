"""A shop on FastHTML, whose sessions are those of Starlette."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fasthtml.common import (
    Button,
    FastHTML,
    Form,
    JSONResponse,
    RedirectResponse,
    Request,
    WebSocket,
)
from starlette.middleware import Middleware

from usercom_asgi import Event, UserComConfig, UserComMiddleware, get_visitor

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

SECRET = os.environ.get("SESSION_SECRET", "for development only: 32 letters")


def who(connection: HTTPConnection) -> dict[str, str] | None:
    """Return the logged-in user. The middleware detects login and logout."""
    user = connection.session.get("user")
    return {"user_id": user} if user else None


config = UserComConfig.from_env(secret_keys=(SECRET,))
app = FastHTML(
    secret_key=SECRET,
    middleware=[Middleware(UserComMiddleware, config=config, identify=who)],
)


@app.get("/")
def home() -> Any:
    # A whole page for a browser, which gets the widget; a part of one for htmx.
    return Form(Button("Buy"), method="post", action="/buy")


@app.post("/buy")
async def buy(req: Request) -> RedirectResponse:
    visitor = get_visitor(req)
    await visitor.product_event("teapot", "purchase", price=19.90)
    visitor.browser.open()  # the chat opens on the page that the redirect leads to
    return RedirectResponse("/", 303)


@app.post("/login/{user}")
async def login(user: str, req: Request) -> RedirectResponse:
    # Write the session before the visitor is used, which calls the hook.
    req.session["user"] = user
    await get_visitor(req).page_hit(event=Event("login"))
    return RedirectResponse("/", 303)


@app.post("/logout")
async def logout(req: Request) -> RedirectResponse:
    req.session.clear()
    return RedirectResponse("/", 303)


@app.get("/stock")
def stock(req: Request) -> JSONResponse:
    """Return JSON. A plain function runs in a thread and uses ``visitor.sync``."""
    get_visitor(req).sync.event("stock_checked")
    return JSONResponse({"teapots": 3})


@app.ws("/live")
async def live(question: str, ws: WebSocket) -> None:
    """Get the field ``question`` of a form with htmx's ``ws-send``."""
    await get_visitor(ws).event("asked", question=question)
    await ws.send_text("3 teapots")
