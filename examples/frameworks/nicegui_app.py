"""A shop on NiceGUI in FastAPI: elements use the visitor of their page."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from nicegui import ui
from starlette.middleware.sessions import SessionMiddleware

from usercom_asgi import Event, UserComConfig, UserComMiddleware, get_visitor
from usercom_asgi.fastapi import CurrentVisitor

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

SECRET = os.environ.get("SESSION_SECRET", "for development only: 32 letters")


def who(connection: HTTPConnection) -> dict[str, str] | None:
    """Return the logged-in user. The middleware detects login and logout."""
    user = connection.session.get("user")
    return {"user_id": user} if user else None


app = FastAPI(docs_url=None, redoc_url=None)


@ui.page("/")
async def home() -> None:
    ui.button("Ask", on_click=ask)  # the middleware adds the widget to the page


async def ask() -> None:
    """Handle a click, which comes by a websocket, with the visitor of the page."""
    await get_visitor(ui.context.client.request).event("asked", question="how many?")
    ui.notify("3 teapots")


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


ui.run_with(app)
config = UserComConfig.from_env(secret_keys=(SECRET,))
app.add_middleware(UserComMiddleware, config=config, identify=who)
app.add_middleware(SessionMiddleware, secret_key=SECRET)
