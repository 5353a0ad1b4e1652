"""A running sandbox, a small web site that carries its widget, and a Chromium to visit it."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from helpers.serving import forget
from helpers.waiting import until_sync

from usercom_asgi.sandbox import RunningSandbox, Sandbox, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Error, Page


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    with serve(Sandbox()) as server:
        yield server


@pytest.fixture
def sandbox(running: RunningSandbox) -> Sandbox:
    """The module's sandbox, as new."""
    sandbox = running.sandbox
    forget(sandbox.faults)
    sandbox.store.clear()
    sandbox.unified_identification = sandbox.authorize_by_email = False
    sandbox.rest_creates_attributes = sandbox.rest_last_page_has_next = False
    return sandbox


@dataclass
class Api:
    """Sends the requests of a server to the sandbox."""

    http: httpx.Client

    def ping(self, **values: Any) -> str:
        """Send a page hit; return the key of the response."""
        answer = self.http.post("/api/v2/user-chatping/", json={"apiKey": "ABC123", **values})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["user"]["key"])

    def event(self, key: str, name: str = "e", data: str = "{}") -> httpx.Response:
        body = {"api_key": "ABC123", "user_key": key, "domain": "d", "event": name, "data": data}
        return self.http.post("/api/event/", json=body)


@pytest.fixture(scope="module")
def http(running: RunningSandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=30) as client:
        yield client


@pytest.fixture
def api(http: httpx.Client, sandbox: Sandbox) -> Api:
    return Api(http)


@dataclass
class Site:
    """A web site: pages by their path."""

    port: int
    pages: dict[str, str] = field(default_factory=dict)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture(scope="module")
def web_site() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            html = served.pages.get(self.path.partition("?")[0], "")
            self.send_response(200 if html else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class calls it so)
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        served = Site(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield served
        server.shutdown()
        thread.join()


@pytest.fixture
def site(web_site: Site) -> Site:
    web_site.pages.clear()
    return web_site


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[Page]:
    with contextlib.closing(
        browser.new_context(viewport={"width": 1280, "height": 720})
    ) as context:
        context.set_default_timeout(30_000)
        yield context.new_page()


@pytest.fixture
def page(window: Page) -> Page:
    """The module's one page, at rest and without a past: a new one for each test would take half a second."""
    window.goto("about:blank")
    window.context.clear_cookies()
    window.set_viewport_size({"width": 1280, "height": 720})
    return window


class Visit:
    """A visitor who opens pages of the site, which carry the sandbox's widget."""

    def __init__(self, page: Page, site: Site, widget: str) -> None:
        self.page = page
        self.site = site
        self.widget = widget
        self.console: list[str] = []
        self.errors: list[str] = []
        page.on("console", self._record_console)
        page.on("pageerror", self._fail)

    def open(
        self,
        civchat: str | None = "{apiKey: 'ABC123'}",
        *,
        path: str = "/",
        host: str = "127.0.0.1",
        before: str = "",
        after: str = "",
        wait: bool = True,
    ) -> None:
        """Open a page with this civchat, and scripts before and after the widget's; wait for its first answer."""
        if civchat is not None:
            before = f"window.civchat = {civchat};{before}"
        self.site.pages[path.partition("?")[0]] = (
            f"<!doctype html><title>Shop</title><h1>Shop</h1><script>{before}</script>"
            f'<script src="{self.widget}"></script><script>{after}</script>'
        )
        self.page.goto(self.site.url(path, host))
        if wait:
            self.ready()

    def leave(self) -> None:
        """Take nothing along."""
        if self.page.url.startswith("http"):
            self.page.evaluate("localStorage.clear(); sessionStorage.clear()")
        self.page.remove_listener("console", self._record_console)
        self.page.remove_listener("pageerror", self._fail)

    def _record_console(self, message: ConsoleMessage) -> None:
        self.console.append(message.text)

    def _fail(self, error: Error) -> None:
        self.errors.append(str(error))

    def ready(self) -> None:
        """Wait for the first answer to the widget."""
        # Not `wait_for_function`: from its second look on, it needs 'unsafe-eval' of the page.
        until_sync(lambda: self.page.evaluate("window.UE && UE.isReady"))

    def settle(self, sandbox: Sandbox, hits: int) -> None:
        """Wait until the widget has the answers to so many pings."""
        until_sync(lambda: len(sandbox.store.hits) >= hits)
        self.page.wait_for_function(
            "key => document.cookie.includes(key)", arg=sandbox.store.hits[-1].key
        )

    def cookies(self) -> dict[str, Any]:
        """The cookies `__ca__chat`: their domains, and values."""
        return {
            str(c.get("domain")): c.get("value")
            for c in self.page.context.cookies()
            if c.get("name") == "__ca__chat"
        }

    def key(self) -> str:
        """The only key."""
        (key,) = self.cookies().values()
        return str(key)


@pytest.fixture
def visit(page: Page, site: Site, running: RunningSandbox, sandbox: Sandbox) -> Iterator[Visit]:
    visit = Visit(page, site, f"{running.url}/widget.js")
    yield visit
    visit.leave()
    assert visit.errors == []
