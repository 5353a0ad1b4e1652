"""A shop that reports logins by the `identify` hook alone, and never calls `reset_auth`."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.fake_usercom import FakeUserCom
from helpers.serving import serve_app
from helpers.waiting import until_sync
from playwright.sync_api import Browser
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from usercom_asgi import UserComConfig, UserComMiddleware

from .shop import PEOPLE


def who(connection: HTTPConnection) -> dict[str, Any] | None:
    return PEOPLE.get(connection.session.get("user", ""))


async def home(request: Request) -> Response:
    forms = "".join(
        f'<form method="post" action="{to}"><button id="{to[1:]}">x</button></form>'
        for to in ("/alice", "/bob", "/logout")
    )
    return HTMLResponse(
        f"<!doctype html><html><body><h1>{request.session.get('user', 'nobody')}</h1>{forms}</body></html>"
    )


async def login(request: Request) -> Response:
    request.session["user"] = request.url.path[1:]
    return RedirectResponse("/", 303)


async def logout(request: Request) -> Response:
    request.session.clear()
    return JSONResponse({}) if "json" in request.url.path else RedirectResponse("/bye.html", 303)


async def bye(request: Request) -> Response:
    """What stands on the disk: nothing of it is made for this visitor."""
    return Response("<html><body>bye</body></html>", media_type="text/plain")


async def mail(request: Request) -> Response:
    return HTMLResponse(
        f"<html><body><a id=link href={request.query_params['to']}>x</a></body></html>"
    )


def shop(config: UserComConfig, **session: Any) -> Starlette:
    posts = [Route(path, login, methods=["POST"]) for path in ("/alice", "/bob")]
    outs = [Route(path, logout, methods=["POST"]) for path in ("/logout", "/logout.json")]
    return Starlette(
        routes=[Route("/", home), Route("/bye.html", bye), *posts, *outs],
        middleware=[
            Middleware(SessionMiddleware, secret_key="not much of a secret", **session),
            Middleware(UserComMiddleware, config=config, identify=who),
        ],
    )


@pytest.mark.parametrize("way", ["a redirect to a static file", "an answer in JSON"])
@pytest.mark.parametrize("rotate", [False, True])
def test_login_of_the_next_person_shows_no_data_of_the_last_one(
    browser: Browser, usercom: FakeUserCom, way: str, rotate: bool
) -> None:
    config = usercom.config(
        secret_keys=("sixteen characters or more",), reset_timeout=5, rotate_on_login=rotate
    )
    with serve_app(shop(config)) as port:
        context = browser.new_context()
        page = context.new_page()

        def key() -> str:
            [found] = [str(c["value"]) for c in context.cookies() if c["name"] == "__ca__chat"]
            return found

        def ready() -> None:
            page.wait_for_function("window.UE && UE.isReady", timeout=30_000)

        page.goto(f"http://127.0.0.1:{port}/")
        ready()
        anonymous = key()
        page.click("#alice")
        ready()
        until_sync(lambda: usercom.store.users[key()].attributes.get("user_id") == "id-alice")
        old = key()
        assert (old != anonymous) is rotate  # what was there before the login is kept, or is not
        page.evaluate("userengage('widget.open')")
        page.fill("#__ue_widget_mount input", "where is my order?")
        page.press("#__ue_widget_mount input", "Enter")
        until_sync(lambda: usercom.store.users[old].conversation)

        users = len(usercom.store.users)
        if way == "an answer in JSON":
            page.evaluate("fetch('/logout.json', {method: 'POST'})")
        else:
            page.click("#logout")
            page.wait_for_url("**/bye.html")
        until_sync(lambda: key() != old)
        page.goto(f"http://127.0.0.1:{port}/")
        ready()
        assert len(usercom.store.users) == users + 1
        page.click("#bob")
        ready()
        until_sync(lambda: usercom.store.users[key()].attributes.get("user_id") == "id-bob")
        page.evaluate("userengage('widget.open')")
        seen = page.content() + page.inner_text("#__ue_widget_mount section")
        for of_alice in (old, "id-alice", "alice@example.com", "Alice", "where is my order?"):
            assert of_alice not in seen
        assert usercom.store.users[old].attributes["user_id"] == "id-alice"
        context.close()


def test_login_with_a_strict_session_outlives_a_click_on_another_site(
    browser: Browser, usercom: FakeUserCom
) -> None:
    """The link of a mail brings our cookies, which are Lax, and not the session."""
    config = usercom.config(secret_keys=("sixteen characters or more",), reset_timeout=5)
    other = Starlette(routes=[Route("/", mail)])
    with serve_app(shop(config, same_site="strict")) as port, serve_app(other) as elsewhere:
        context = browser.new_context()
        page, url = context.new_page(), f"http://127.0.0.1:{port}/"
        page.goto(url)
        page.click("#alice")
        page.wait_for_function("window.UE && UE.isReady", timeout=30_000)
        for _ in range(2):
            page.goto(f"http://localhost:{elsewhere}/?to={url}")
            page.click("#link")
            page.wait_for_selector("h1 >> text=nobody")
            page.wait_for_function("window.UE && UE.isReady", timeout=30_000)
            page.goto(url)
            page.wait_for_selector("h1 >> text=alice")
            page.wait_for_function("window.UE && UE.isReady", timeout=30_000)
        [key] = [str(c["value"]) for c in context.cookies() if c["name"] == "__ca__chat"]
        assert list(usercom.store.users) == [key]
        page.click("#logout")
        page.wait_for_url("**/bye.html")
        until_sync(lambda: len(usercom.store.users) == 2)
        context.close()
