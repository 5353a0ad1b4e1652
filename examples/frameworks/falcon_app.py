"""A shop on Falcon, which has no sessions: those of Starlette are around it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import falcon.asgi
from starlette.middleware.sessions import SessionMiddleware

from usercom_asgi import Event, UserComConfig, UserComMiddleware, get_visitor

if TYPE_CHECKING:
    from falcon.asgi import Request, Response, WebSocket
    from starlette.requests import HTTPConnection

SECRET = os.environ.get("SESSION_SECRET", "for development only: 32 letters")
PAGE = "<html><body><form method=post action=/buy><button>Buy</button></form></body></html>"


def who(connection: HTTPConnection) -> dict[str, str] | None:
    """Return the logged-in user. The middleware detects login and logout."""
    user = connection.session.get("user")
    return {"user_id": user} if user else None


class Home:
    async def on_get(self, _req: Request, resp: Response) -> None:
        resp.content_type = falcon.MEDIA_HTML
        resp.text = PAGE  # the middleware adds the widget


class Purchase:
    async def on_post(self, req: Request, resp: Response) -> None:
        visitor = get_visitor(req)
        await visitor.product_event("teapot", "purchase", price=19.90)
        visitor.browser.open()  # the chat opens on the page that the redirect leads to
        raise falcon.HTTPSeeOther("/")


class Login:
    async def on_post(self, req: Request, resp: Response, user: str) -> None:
        # Write the session before the visitor is used, which calls the hook.
        req.scope["session"]["user"] = user
        await get_visitor(req).page_hit(event=Event("login"))
        raise falcon.HTTPSeeOther("/")


class Logout:
    async def on_post(self, req: Request, resp: Response) -> None:
        req.scope["session"].clear()
        raise falcon.HTTPSeeOther("/")


class Stock:
    async def on_get(self, req: Request, resp: Response) -> None:
        await get_visitor(req).event("stock_checked")
        resp.media = {"teapots": 3}


class Live:
    async def on_websocket(self, req: Request, ws: WebSocket) -> None:
        await ws.accept()
        question = await ws.receive_text()
        await get_visitor(req).event("asked", question=question)
        await ws.send_text("3 teapots")
        await ws.close()


shop = falcon.asgi.App()
shop.add_route("/", Home())
shop.add_route("/buy", Purchase())
shop.add_route("/login/{user}", Login())
shop.add_route("/logout", Logout())
shop.add_route("/stock", Stock())
shop.add_route("/live", Live())

config = UserComConfig.from_env(secret_keys=(SECRET,))
app = SessionMiddleware(UserComMiddleware(shop, config, identify=who), secret_key=SECRET)
