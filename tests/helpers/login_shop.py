"""A shop with a login of its own, and a browser that visits it."""

from __future__ import annotations

from typing import Any

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from helpers.asgi_client import Recorded, answers, body, html, start
from helpers.browser import FakeBrowser
from helpers.fake_usercom import FakeUserCom
from usercom_asgi import UserComMiddleware, get_visitor
from usercom_asgi.visitor.signed_cookies import IDENTITY_COOKIE

PAGE = b"<html><body>hello</body></html>"
KEYS = ("an old key, sixteen or more", "a new key, sixteen or more")
PEOPLE = {
    "alice": {"user_id": "id-alice", "email": "alice@example.com", "first_name": "Alice"},
    "bob": {"user_id": "id-bob", "email": "bob@example.com", "first_name": "Bob"},
}


def who(connection: HTTPConnection) -> dict[str, str] | None:
    """The application's own session, of the simplest kind."""
    return PEOPLE.get(connection.cookies.get("user", ""))


class Shop:
    """Pages, JSON and a purchase; it reports no login and no logout itself."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        path = scope["path"]
        if path == "/buy":
            await get_visitor(scope).event("purchase")
        if path.startswith("/login/"):
            cookie = {"location": "/", "set-cookie": f"user={path.removeprefix('/login/')}"}
            await answers(start(cookie, 303), body())(scope, receive, send)
        elif path == "/logout":
            await answers(start({"location": "/", "set-cookie": "user=; Max-Age=0"}, 303), body())(
                scope, receive, send
            )
        elif path in ("/json", "/buy"):
            await answers(start({"content-type": "application/json"}), body(b"{}"))(
                scope, receive, send
            )
        else:
            await html(PAGE)(scope, receive, send)


class Visit(FakeBrowser):
    def __init__(self, app: ASGIApp, state: dict[str, Any], **cookies: str) -> None:
        super().__init__(**cookies)
        self.app, self.state = app, state

    async def go(self, path: str = "/", **scope: Any) -> Recorded:
        got = await self.get(self.app, path, state=dict(self.state), **scope)
        for line in got.all("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if name in ("user", IDENTITY_COOKIE):
                self.jar.pop(name, None)
                if value:
                    self.jar[name] = value
        return got


def shop(usercom: FakeUserCom, hook: Any = who, **settings: Any) -> UserComMiddleware:
    return UserComMiddleware(
        Shop(), usercom.config(secret_keys=KEYS, reset_timeout=5, **settings), identify=hook
    )
