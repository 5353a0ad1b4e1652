"""A shop as a user of the library writes it, whose tests the kit is for."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from usercom_asgi import Event, UserComConfig, UserComMiddleware, get_delivery, get_visitor

#: No port listens there: a command that is sent by mistake fails.
NOWHERE = "http://127.0.0.1:9"


async def home(request: Request) -> Response:
    if "user" in request.query_params:
        get_visitor(request).identify(user_id=request.query_params["user"])
    return HTMLResponse("<html><body>shop</body></html>")


async def broken(request: Request) -> Response:
    return HTMLResponse("<html><body><script>never ends")


async def buy(request: Request) -> Response:
    receipt = await get_visitor(request).event("purchase", product="cup", total=19.9)
    return JSONResponse({"status": receipt.status, "is_final": receipt.is_final})


async def cart(request: Request) -> Response:
    await get_visitor(request).product_event("sku-1", "add to cart", price=5)
    return RedirectResponse("/", 303)


async def hit(request: Request) -> Response:
    await get_visitor(request).page_hit(event=Event("login", method="form"), plan="gold")
    return JSONResponse({})


async def profile(request: Request) -> Response:
    await get_visitor(request).update(first_name="Ada")
    return JSONResponse({})


async def logout(request: Request) -> Response:
    await get_visitor(request).reset_auth()
    await get_visitor(request).event("logged out")
    return RedirectResponse("/", 303)


async def chat(request: Request) -> Response:
    get_visitor(request).browser.open()
    return HTMLResponse("<html><body>chat</body></html>")


def renew(request: Request) -> Response:  # in a thread
    get_visitor(request).sync.event("renewed", plan="gold")
    return JSONResponse({})


async def later(request: Request) -> Response:
    return JSONResponse({}, background=BackgroundTask(get_visitor(request).event, "shipped"))


async def counts(request: Request) -> Response:
    delivery = get_delivery(request)
    return JSONResponse(
        {
            "delivered": delivery.stats.delivered,
            "state": delivery.readiness().state,
            "is_flushed": await delivery.flush(),
        }
    )


async def feed(websocket: WebSocket) -> None:
    await websocket.accept()
    await get_visitor(websocket).event("joined")
    await websocket.send_text("joined")
    await websocket.receive_text()


HANDLERS = (home, broken, buy, cart, hit, profile, logout, chat, renew, later, counts)


def make_shop(config: UserComConfig | None = None, **hooks: Any) -> Starlette:
    methods = ["GET", "POST"]
    routes = [Route(f"/{each.__name__}", each, methods=methods) for each in HANDLERS]
    config = config or UserComConfig.sandbox(NOWHERE)
    return Starlette(
        routes=[Route("/", home), *routes, WebSocketRoute("/feed", feed)],
        middleware=[Middleware(UserComMiddleware, config=config, **hooks)],
    )
