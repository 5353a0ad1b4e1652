"""A Starlette application, whose tests are beside it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from usercom_asgi import UserComConfig, UserComMiddleware, get_visitor

SECRET_KEYS = ("sixteen-characters-or-more",)


def current_user(connection: HTTPConnection) -> Mapping[str, object] | None:
    user_id = connection.cookies.get("session")  # your own session, in your application
    return {"user_id": user_id} if user_id else None


async def home(request: Request) -> Response:
    return HTMLResponse("<html><body>Welcome</body></html>")


async def buy(request: Request) -> Response:
    await get_visitor(request).event("purchase", product="cup", total=19.90)
    return RedirectResponse("/", 303)


async def login(request: Request) -> Response:
    response = RedirectResponse("/", 303)
    response.set_cookie("session", "7")
    return response


async def logout(request: Request) -> Response:
    await get_visitor(request).reset_auth()
    response = RedirectResponse("/", 303)
    response.delete_cookie("session")
    return response


async def chat(websocket: WebSocket) -> None:
    await websocket.accept()
    await get_visitor(websocket).event("chat opened")
    await websocket.send_text("Hello")
    await websocket.close()


def make_app(config: UserComConfig) -> Starlette:
    return Starlette(
        routes=[
            Route("/", home),
            Route("/buy", buy, methods=["POST"]),
            Route("/login", login, methods=["POST"]),
            Route("/logout", logout, methods=["POST"]),
            WebSocketRoute("/chat", chat),
        ],
        middleware=[Middleware(UserComMiddleware, config=config, identify=current_user)],
    )


app = make_app(UserComConfig(app="acme", api_key="ABC123", secret_keys=SECRET_KEYS))
