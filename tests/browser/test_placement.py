"""The snippet in a template of Jinja2, under a strict policy: the middleware changes no page."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from helpers.fake_usercom import FakeUserCom
from helpers.serving import serve_app
from helpers.waiting import until_sync
from jinja2 import DictLoader, Environment
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usercom_asgi import UserComConfig, UserComMiddleware, get_visitor, usercom_snippet

LAYOUT = """<!doctype html><html><head><title>{{ "Tom & Jerry" }}</title>
<script nonce="{{ request.state.csp_nonce }}">
window.violations = [];
addEventListener("securitypolicyviolation", function (event) { violations.push(event.blockedURI); });
</script>
{{ usercom_snippet(request, nonce=request.state.csp_nonce) }}</head>
<body>{% for path in ("buy", "login", "logout") %}
<form method="post" action="/{{ path }}"><button id="{{ path }}">{{ path }}</button></form>{% endfor %}
{% block more %}{% endblock %}<footer>the end</footer></body></html>"""
TEMPLATES = {
    "layout.html": LAYOUT,
    "snippet.html": "{{ usercom_snippet(request, nonce=request.state.csp_nonce) }}",
    "twice.html": '{% extends "layout.html" %}{% block more %}{% include "snippet.html" %}{% endblock %}',
}
templates = Jinja2Templates(env=Environment(loader=DictLoader(TEMPLATES), autoescape=True))
templates.env.globals["usercom_snippet"] = usercom_snippet


async def home(request: Request) -> Response:
    return templates.TemplateResponse(request, "layout.html")


async def twice(request: Request) -> Response:
    return templates.TemplateResponse(request, "twice.html")


async def buy(request: Request) -> Response:
    get_visitor(request).browser.event("bought", total=19.9)
    return RedirectResponse("/", 303)


async def login(request: Request) -> Response:
    request.session["user"] = "id-alice"
    return RedirectResponse("/", 303)


async def logout(request: Request) -> Response:
    request.session.clear()
    return RedirectResponse("/", 303)


def who(connection: HTTPConnection) -> dict[str, str] | None:
    user = connection.session.get("user")
    return {"user_id": user} if user else None


class Policy:
    """A strict Content-Security-Policy, whose nonce is in ``request.state``."""

    def __init__(self, app: ASGIApp, origin: str) -> None:
        self.app, self.origin = app, origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        nonce = scope["state"]["csp_nonce"] = secrets.token_urlsafe(12)
        policy = (
            f"script-src 'nonce-{nonce}' {self.origin}; connect-src {self.origin} {self.origin.replace('http', 'ws')}; "
            "style-src 'unsafe-inline'; object-src 'none'"
        )

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                header = (b"content-security-policy", policy.encode())
                message = {**message, "headers": [*message["headers"], header]}
            await send(message)

        await self.app(scope, receive, send_on)


def shop(config: UserComConfig, origin: str) -> Starlette:
    posts = [Route(f"/{each.__name__}", each, methods=["POST"]) for each in (buy, login, logout)]
    return Starlette(
        routes=[Route("/", home), Route("/twice", twice), *posts],
        middleware=[
            Middleware(SessionMiddleware, secret_key="not much of a secret"),
            Middleware(
                UserComMiddleware,
                config=config,
                identify=who,
                should_inject=lambda connection: False,
            ),
            Middleware(Policy, origin=origin),
        ],
    )


@pytest.fixture
def page(browser: Browser, usercom: FakeUserCom) -> Iterator[Page]:
    config = usercom.config(secret_keys=("sixteen characters or more",), reset_timeout=5)
    with serve_app(shop(config, usercom.url)) as port:
        context = browser.new_context(base_url=f"http://127.0.0.1:{port}")
        yield context.new_page()
        context.close()


def key(page: Page) -> str:
    [found] = [str(c["value"]) for c in page.context.cookies() if c["name"] == "__ca__chat"]
    return found


def is_ready(page: Page) -> None:
    until_sync(lambda: page.evaluate("!!(window.UE && UE.isReady)"))
    assert page.evaluate("violations") == []
    assert page.evaluate("document.querySelectorAll('head script[data-cfasync]').length") == 2
    assert page.evaluate("document.querySelectorAll('body script').length") == 0


def test_placed_snippet_runs_commands_and_follows_login_and_logout(
    page: Page, usercom: FakeUserCom
) -> None:
    page.goto("/")
    is_ready(page)
    anonymous = key(page)
    assert len(usercom.store.hits) == 1

    page.click("#buy")
    is_ready(page)
    until_sync(lambda: usercom.store.events)
    [event] = usercom.store.events
    assert (event.name, event.key) == ("bought", anonymous)
    page.reload()
    is_ready(page)

    page.click("#login")
    is_ready(page)
    until_sync(lambda: usercom.store.users[anonymous].attributes.get("user_id") == "id-alice")
    assert key(page) == anonymous

    page.click("#logout")
    is_ready(page)
    until_sync(lambda: key(page) != anonymous)
    assert "id-alice" not in page.content()
    assert set(usercom.store.users) == {anonymous, key(page)}
    assert len(usercom.store.events) == 1


def test_placed_snippet_of_two_templates_starts_one_widget(
    page: Page, usercom: FakeUserCom
) -> None:
    page.goto("/")
    is_ready(page)
    hits = len(usercom.store.hits)
    page.goto("/twice")
    until_sync(lambda: page.evaluate("!!(window.UE && UE.isReady)"))
    assert page.evaluate("violations") == []
    page.evaluate("userengage('event.said')")
    until_sync(lambda: usercom.store.events)
    assert len(usercom.store.events) == 1
    assert len(usercom.store.hits) == hits + 1
    assert page.evaluate("document.querySelectorAll('#__ue_widget_mount').length") == 1
