"""The shop of `make soak` and the browsers that visit it."""

from __future__ import annotations

import itertools
import random
import re
import time
from collections import Counter
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from bench.apps import PAGE
from usercom_asgi import (
    Receipt,
    Status,
    UserComConfig,
    UserComMiddleware,
    get_delivery,
    get_visitor,
)
from usercom_asgi.core.envelope import PendingReset
from usercom_asgi.core.user_key import ResetMarker
from usercom_asgi.delivery.service import MAX_REMEMBERED

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection, Request
    from starlette.types import Message

    from usercom_asgi import Outcome
    from usercom_asgi.delivery.stats import Stats

#: Browsers at a time.
BROWSERS = 1000
#: path -> percentage of the requests
TRAFFIC = {
    "/page": 60,
    "/cart": 18,
    "/buy": 8,
    "/profile": 6,
    "/login": 4,
    "/logout": 3,
    "/leave": 1,
}


async def page(request: Request) -> Response:
    return HTMLResponse(PAGE)


async def cart(request: Request) -> Response:
    await get_visitor(request).event("looked", what="a lamp", how_often=3)
    return JSONResponse({"ok": True})


async def buy(request: Request) -> Response:
    await get_visitor(request).product_event("lamp-1", "purchase", name="A lamp", price=49.9)
    return HTMLResponse(PAGE)


async def profile(request: Request) -> Response:
    await get_visitor(request).update(favourite_colour="green", visits=random.randrange(100))
    return JSONResponse({"ok": True})


async def logout(request: Request) -> Response:
    await get_visitor(request).reset_auth()
    return HTMLResponse(PAGE)


async def who(connection: HTTPConnection) -> dict[str, object] | None:
    user = connection.headers.get("x-session")
    return {"user_id": user, "first_name": "Alice"} if user else None


class Shop:
    """Application and its delivery."""

    def __init__(self, url: str) -> None:
        self.state: dict[str, Any] = {}
        self._delivery: Any = None
        config = UserComConfig(
            base_url=url, api_key="ABC123", secret_keys=("a key of thirty-two characters!!",)
        )
        routes = [
            Route("/page", page), Route("/cart", cart), Route("/buy", buy), Route("/profile", profile),
            Route("/login", page), Route("/logout", logout),
        ]  # fmt: skip
        #: Counts of dead letters by reason.
        self.losses: Counter[str] = Counter()
        self.app = UserComMiddleware(
            Starlette(routes=routes),
            config,
            identify=who,
            on_dropped=self._lose,
            on_dead=self._lose,
        )

    def _lose(self, outcome: Outcome) -> None:
        # Ages and counts are removed from the reason, so that few reasons are kept.
        self.losses[
            f"{type(outcome.command).__name__}: {re.sub('[0-9]+ s', 'N s', outcome.reason)}"
        ] += 1

    @property
    def stats(self) -> Stats:
        stats: Stats = self._delivery.stats
        return stats

    def fill_resets(self) -> None:
        """Let the delivery remember as many resets as it may: some 3 MB.

        Otherwise they would fill this memory during the run, and look like a leak.
        """
        for n in range(MAX_REMEMBERED):
            reset = PendingReset(ResetMarker.new(""), Receipt(Status.SKIPPED))
            self._delivery.remember(f"filled {n}", reset)

    async def ask(self, path: str, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Make one request; return the headers of its response."""
        answered: list[tuple[bytes, bytes]] = []
        scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "https", "path": path,
            "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
            "client": ("192.0.2.1", 50000), "server": ("127.0.0.1", 8000), "state": dict(self.state),
        }  # fmt: skip

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered.extend(message["headers"])

        await self.app(scope, receive, send)
        self._delivery = self._delivery or get_delivery(scope)
        return answered


class Browser:
    """Browser with its cookies and its user."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.user = ""
        # One of three new browsers already has a key.
        self.cookies: dict[str, str] = {} if number % 3 else {"__ca__chat": f"k{number}"}

    async def visit(self, shop: Shop, path: str) -> float:
        """Make one request; return the seconds that it took."""
        if path == "/login":
            self.user = f"user{self.number}"
        elif path == "/logout":
            self.user = ""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = [
            (b"host", b"shop.example.com"),
            (b"user-agent", b"Mozilla/5.0 (X11) Soak/%d" % self.number),
        ]
        headers += [(b"cookie", cookies.encode())] if cookies else []
        headers += [(b"x-session", self.user.encode())] if self.user else []
        began = time.perf_counter()
        answered = await shop.ask(path, headers)
        took = time.perf_counter() - began
        for name, value in answered:
            if name == b"set-cookie":
                self._keep(SimpleCookie(value.decode("latin-1")))
        # The widget in the page gives a new browser a key.
        if path == "/page" and "__ca__chat" not in self.cookies:
            self.cookies["__ca__chat"] = f"w{self.number}x{random.randrange(10**6)}"
        return took

    def _keep(self, cookies: SimpleCookie) -> None:
        for name, morsel in cookies.items():
            if morsel["max-age"] == "0":
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.coded_value


class Browsers:
    """Browsers that come and leave."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._all = [Browser(next(self._numbers)) for _ in range(BROWSERS)]
        self._paths, self._weights = list(TRAFFIC), list(TRAFFIC.values())

    async def visit(self, shop: Shop) -> float:
        """Make one request; return the seconds that it took."""
        which = random.randrange(BROWSERS)
        [path] = random.choices(self._paths, self._weights)
        if path == "/leave":
            self._all[which] = Browser(next(self._numbers))
            path = "/page"
        return await self._all[which].visit(shop, path)
