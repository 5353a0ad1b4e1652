"""A shop for the browser tests that identifies its visitors as the README recommends."""

from __future__ import annotations

from html import escape

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from usercom_asgi import Event, UserComConfig, UserComMiddleware, get_visitor

PEOPLE = {
    "alice": {"user_id": "id-alice", "email": "alice@example.com", "first_name": "Alice"},
    "bob": {
        "user_id": "id-bob",
        "email": "bob@example.com",
        "first_name": "Bob</script><script>alert(1)</script>",
    },
}
END = "<footer>the end of the page</footer>"


async def home(request: Request) -> Response:
    person = PEOPLE.get(request.session.get("user", ""))
    if person:
        get_visitor(request).identify(**person)
    buttons = "".join(
        f'<form method="post" action="{path}"><button id="{name}">{name}</button></form>'
        for name, path in (
            ("alice", "/login/alice"),
            ("bob", "/login/bob"),
            ("buy", "/buy"),
            ("logout", "/logout"),
        )
    )
    hello = (
        f"<h1>Hello, {escape(str(person['first_name']))}</h1>"
        if person
        else "<h1>Hello, stranger</h1>"
    )
    return HTMLResponse(
        f"<!doctype html><html><head><title>Shop</title></head><body>{hello}{buttons}{END}</body></html>"
    )


async def login(request: Request) -> Response:
    request.session["user"] = request.path_params["who"]
    return RedirectResponse("/", 303)


async def buy(request: Request) -> Response:
    visitor = get_visitor(request)
    await visitor.page_hit(event=Event("purchase", {"total": 19.9}))
    await visitor.product_event("sku-1", "purchase", price=19.9)
    return RedirectResponse("/", 303)


async def logout(request: Request) -> Response:
    request.session.clear()
    await get_visitor(request).reset_auth()
    return RedirectResponse("/", 303)


async def logout_json(request: Request) -> Response:
    request.session.clear()
    await get_visitor(request).reset_auth()
    return JSONResponse({"ok": True})


def shop(config: UserComConfig) -> Starlette:
    return Starlette(
        routes=[
            Route("/", home),
            Route("/login/{who}", login, methods=["POST"]),
            Route("/buy", buy, methods=["POST"]),
            Route("/logout", logout, methods=["POST"]),
            Route("/logout.json", logout_json, methods=["POST"]),
        ],
        middleware=[
            Middleware(SessionMiddleware, secret_key="not much of a secret"),
            Middleware(UserComMiddleware, config=config),
        ],
    )
