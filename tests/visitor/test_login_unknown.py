"""A hook that cannot know who is logged in, or knows it too late: no logout, and nothing for the last person."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from helpers.apps import app_with
from helpers.asgi_client import Recorded, answers, body, call, html, http_scope, lifespan, start
from helpers.fake_usercom import FakeUserCom
from helpers.login_shop import KEYS, PEOPLE, Shop, Visit, shop, who
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from usercom_asgi import UNKNOWN, Event, UserComMiddleware, get_visitor
from usercom_asgi.visitor.signed_cookies import IDENTITY_COOKIE
from usercom_asgi.visitor.visitor import Visitor

Handler = Callable[[Visitor], Awaitable[Any]]


def asserts(connection: HTTPConnection) -> Any:
    return connection.session.get("user")


def looks_up(connection: HTTPConnection) -> Any:
    return connection.scope["session"].get("user")


def asks_user(connection: HTTPConnection) -> Any:
    return connection.user


def unknown(_: HTTPConnection) -> Any:
    return UNKNOWN


@pytest.mark.parametrize("hook", [unknown, asserts, looks_up, asks_user])
async def test_login_hook_that_cannot_know_keeps_the_visitor(
    hook: Any, usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    """The session is loaded further in, and not on a page of status 404 or for a websocket."""

    def knows_at_times(connection: HTTPConnection) -> Any:
        return hook(connection) if connection.cookies.get("user") == "?" else who(connection)

    key = usercom.new_user()
    app = shop(usercom, knows_at_times)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=key, user="alice")
        await visit.go()
        remembered = visit.jar[IDENTITY_COOKIE]
        visit.jar["user"] = "?"
        for path in ("/", "/buy", "/"):
            page = await visit.go(path)
        assert b"widget.js" in page.body
        assert b"alice" not in page.body
        assert visit.jar[IDENTITY_COOKIE] == remembered
        visit.jar["user"] = "alice"
        await visit.go()
    assert list(usercom.store.users) == [key]
    assert [each.key for each in usercom.store.events] == [key]
    warnings = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(warnings) == (hook is not unknown)
    assert all(each.exc_info is None for each in warnings)


async def test_login_hook_that_fails_on_another_key_is_a_bug_of_the_hook(
    caplog: pytest.LogCaptureFixture, usercom: FakeUserCom
) -> None:
    def hook(connection: HTTPConnection) -> Any:
        return connection.cookies["user"]

    await call(UserComMiddleware(Shop(), usercom.config(secret_keys=KEYS), identify=hook))
    assert caplog.messages == ["The identify hook failed, the visitor does not change"]


@pytest.mark.parametrize("hook", [unknown, asserts])
async def test_login_hook_that_cannot_know_on_a_websocket_keeps_the_key(
    hook: Any, usercom: FakeUserCom
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await (await get_visitor(scope).event("message")).delivered(5)
        else:
            await html(b"<html><body></body></html>")(scope, receive, send)

    def knows_pages(connection: HTTPConnection) -> Any:
        return hook(connection) if connection.scope["type"] == "websocket" else PEOPLE["alice"]

    key = usercom.new_user()
    middleware = UserComMiddleware(app, usercom.config(secret_keys=KEYS), identify=knows_pages)
    page = await call(middleware, headers={"cookie": f"__ca__chat={key}"})
    identity = page.set_cookies(IDENTITY_COOKIE)[0].partition(";")[0]
    scope = http_scope(headers={"cookie": f"__ca__chat={key}; {identity}"}, scheme="ws")
    del scope["method"]
    await middleware({**scope, "type": "websocket"}, None, None)  # type: ignore[arg-type]
    assert [each.key for each in usercom.store.events] == [key]


async def test_login_page_of_status_404_around_the_session_is_no_logout(
    usercom: FakeUserCom,
) -> None:
    async def page(request: Request) -> Response:
        if "as" in request.query_params:
            request.session["user"] = request.query_params["as"]
        return HTMLResponse("<html><body>hello</body></html>")

    async def lost(request: Request, _: Exception) -> Response:
        return HTMLResponse("<html><body>not here</body></html>", 404)

    def hook(connection: HTTPConnection) -> Any:
        return PEOPLE.get(connection.session.get("user", ""))

    session = Middleware(SessionMiddleware, secret_key="a secret")
    inner = Starlette(
        routes=[Mount("/shop", routes=[Route("/", page)], middleware=[session])],
        exception_handlers={404: lost},
    )
    app = UserComMiddleware(inner, usercom.config(secret_keys=KEYS), identify=hook)
    key = usercom.new_user()
    jar = {"__ca__chat": key}

    async def go(path: str, query: str = "") -> Recorded:
        cookies = {"cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
        got = await call(app, path, query=query, headers=cookies, state=dict(state))
        for line in got.all("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            jar[name] = value
        return got

    async with lifespan(app) as state:
        await go("/shop/", "as=alice")
        missing = await go("/nowhere")
        assert b"id-alice" in (await go("/shop/")).body
    assert missing.status == 404
    assert b"widget.js" in missing.body
    assert jar["__ca__chat"] == key
    assert list(usercom.store.users) == [key]


@pytest.mark.parametrize(
    ("session", "sent", "users"),
    [
        # The cookie is SameSite=Strict, and stays in the browser.
        ({}, {"sec-fetch-site": "cross-site"}, 1),
        (None, {"sec-fetch-site": "cross-site"}, 1),
        ({}, {"referer": "http://mail.other.test/"}, 1),
        # The browser sent the session cookie, and the session has no user.
        ({"csrf": "x"}, {"sec-fetch-site": "cross-site"}, 2),
        ({"csrf": "x"}, {"referer": "http://mail.other.test/"}, 2),
        ({}, {"sec-fetch-site": "same-origin"}, 2),
        ({}, {"sec-fetch-site": "none"}, 2),
        ({}, {"sec-fetch-site": "same-site", "referer": "http://mail.other.test/"}, 2),
        ({}, {"referer": "http://www.example.com/"}, 2),
        ({}, {"referer": "http://[", "x-forwarded-host": "["}, 2),
        # A proxy has replaced the host.
        ({}, {"referer": "http://site.test/", "x-forwarded-host": "site.test:80, b"}, 2),
        ({}, {"referer": "http://site.test/", "host": "backend:8000"}, 2),
        ({}, {"referer": "http://site.test/", "host": "127.0.0.1:8000"}, 2),
    ],
)
async def test_login_session_that_a_click_on_another_site_does_not_bring_is_no_logout(
    session: Any, sent: dict[str, str], users: int, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    app = shop(usercom)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=key, user="alice")
        await visit.go()
        cookies = {name: value for name, value in visit.jar.items() if name != "user"}
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        more: dict[str, Any] = {} if session is None else {"session": session}
        more["host"] = sent.get("host", "shop.example.com")
        headers |= {name: value for name, value in sent.items() if name != "host"}
        page = await call(app, headers=headers, state=dict(state), **more)
    assert len(usercom.store.users) == users
    assert bool(page.set_cookies("__ca__reset")) is (users == 2)
    assert b"alice" not in page.body


# ---- a login that the hook does not see yet ----


def login_shop(usercom: FakeUserCom, says: Handler, hook: Any = who, **settings: Any) -> ASGIApp:
    """A shop whose hook reads the cookie of the request, and so the person of before."""
    inner = Shop()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/login/"):
            await says(get_visitor(scope))
        await inner(scope, receive, send)

    config = usercom.config(secret_keys=KEYS, reset_timeout=5, **settings)
    return UserComMiddleware(app, config, identify=hook)


def sees_nobody_at_a_login(connection: HTTPConnection) -> Any:
    return None if connection.url.path.startswith("/login") else who(connection)


def cannot_know_at_a_login(connection: HTTPConnection) -> Any:
    return UNKNOWN if connection.url.path.startswith("/login") else who(connection)


@pytest.mark.parametrize("hook", [who, sees_nobody_at_a_login, cannot_know_at_a_login])
@pytest.mark.parametrize("by", ["event", "page_hit"])
async def test_login_event_of_the_next_person_does_not_land_on_the_last_one(
    by: str, hook: Any, usercom: FakeUserCom
) -> None:
    async def log_in(visitor: Visitor) -> None:
        visitor.identify(**PEOPLE["bob"])
        visitor.browser.event("welcome")
        if by == "event":
            await visitor.event("login")
        else:
            await visitor.page_hit(event=Event("login"))

    alice = usercom.new_user()
    app = login_shop(usercom, log_in, hook)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=alice, user="alice")
        await visit.go()
        await visit.go("/login/bob", method="POST")
        page = await visit.go()
        await visit.go()
    [bob] = [each for each in usercom.store.users if each != alice]
    assert [(each.name, each.key) for each in usercom.store.events] == [("login", bob)]
    assert usercom.store.users[bob].attributes["user_id"] == "id-bob"
    assert "id-bob" not in str(usercom.store.users[alice].attributes)
    assert visit.jar["__ca__chat"] == bob
    assert b"id-bob" in page.body
    assert b"alice" not in page.body.lower()
    assert b"event.welcome" in page.body


async def test_login_that_is_named_after_an_event_of_the_last_person_splits_the_two(
    usercom: FakeUserCom,
) -> None:
    async def log_in(visitor: Visitor) -> None:
        await visitor.event("left")
        visitor.identify(**PEOPLE["bob"])
        await visitor.event("login")

    alice = usercom.new_user()
    app = login_shop(usercom, log_in)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=alice, user="alice")
        await visit.go()
        await visit.go("/login/bob", method="POST")
        await visit.go()
    assert len(usercom.store.users) == 2
    assert {each.name: each.key == alice for each in usercom.store.events} == {
        "left": True,
        "login": False,
    }


async def test_login_that_is_named_without_a_command_resets_with_the_response(
    usercom: FakeUserCom,
) -> None:
    async def log_in(visitor: Visitor) -> None:
        visitor.identify(**PEOPLE["bob"])

    app = login_shop(usercom, log_in)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=usercom.new_user(), user="alice")
        await visit.go()
        got = await visit.go("/login/bob", method="POST")
        await visit.go()
    assert got.set_cookies("__ca__reset")
    assert len(usercom.store.users) == 2


@pytest.mark.parametrize(
    "attributes",
    [
        {"user_id": "id-alice", "plan": "gold"},
        {"email": "alice@new.example.com"},  # she has changed it
        {"first_name": "Ally"},
    ],
)
async def test_identify_of_the_logged_in_user_is_no_login(
    attributes: dict[str, Any], usercom: FakeUserCom
) -> None:
    async def change(visitor: Visitor) -> None:
        visitor.identify(**attributes)
        await visitor.event("changed")

    alice = usercom.new_user()
    app = login_shop(usercom, change)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=alice, user="alice")
        await visit.go()
        await visit.go("/login/alice", method="POST")
        await visit.go()
    assert list(usercom.store.users) == [alice]


async def test_identify_of_a_guest_by_a_form_is_no_login(usercom: FakeUserCom) -> None:
    async def subscribe(visitor: Visitor) -> None:
        visitor.identify(email="guest@example.com")
        await visitor.event("subscribed")

    guest = usercom.new_user()
    app = login_shop(usercom, subscribe, hook=lambda _: None)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=guest)
        for path in ("/", "/login/", "/", "/login/", "/"):
            await visit.go(path)
    assert list(usercom.store.users) == [guest]
    assert IDENTITY_COOKIE not in visit.jar


async def test_identify_after_a_reset_is_no_second_one(usercom: FakeUserCom) -> None:
    async def switch(visitor: Visitor) -> None:
        await visitor.reset_auth()
        visitor.identify(**PEOPLE["bob"])
        await visitor.event("login")

    app = login_shop(usercom, switch)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=usercom.new_user(), user="alice")
        await visit.go()
        await visit.go("/login/bob", method="POST")
        await visit.go()
    assert len(usercom.store.users) == 2


async def test_login_named_after_the_response_started_uses_no_key_of_the_last_person(
    usercom: FakeUserCom,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        await answers(start({"content-type": "application/json"}), body(b"{}"))(
            scope, receive, send
        )
        if scope["path"] == "/login":
            get_visitor(scope).identify(**PEOPLE["bob"])
            await get_visitor(scope).event("login")
        else:
            await get_visitor(scope).event("seen")

    middleware = UserComMiddleware(app, usercom.config(secret_keys=KEYS), identify=who)
    alice = usercom.new_user()
    async with lifespan(middleware) as state:
        visit = Visit(middleware, state, __ca__chat=alice, user="alice")
        await visit.go("/login", method="POST")
    assert [each.key == alice for each in usercom.store.events] == [False]


async def test_login_by_reset_auth_with_rotate_on_login_uses_no_planted_key(
    usercom: FakeUserCom,
) -> None:
    async def log_in(visitor: Visitor) -> None:
        await visitor.reset_auth(**PEOPLE["bob"])
        await visitor.page_hit(event=Event("login"))

    planted = usercom.new_user()
    app = login_shop(usercom, log_in, rotate_on_login=True)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=planted)
        await visit.go()
        await visit.go("/login/bob", method="POST")
        await visit.go()
    assert len(usercom.store.users) == 2, "the hook finds Bob at the next page, and it is no login"
    assert [each.key == planted for each in usercom.store.events] == [False]
    assert usercom.store.users[planted].attributes == {}


@pytest.mark.parametrize("invalid", [{"email": "bob"}, {"user_id": "b" * 300}])
async def test_identify_with_an_unusable_identifier_is_ignored_as_a_whole(
    invalid: dict[str, str], usercom: FakeUserCom
) -> None:
    """Else Bob's name and phone number would go to Alice, whom the hook still names."""

    async def handler(visitor: Visitor) -> None:
        visitor.identify(**invalid, first_name="Bob", phone_number="+48111111111")
        await visitor.page_hit()

    key = usercom.new_user()
    app = UserComMiddleware(app_with(handler), usercom.config(secret_keys=KEYS), identify=who)
    async with lifespan(app) as state:
        await Visit(app, state, __ca__chat=key, user="alice").go()
    [hit] = usercom.store.hits
    assert hit.key == key
    attributes = usercom.store.users[key].attributes
    assert (attributes["first_name"], "phone_number" in attributes) == ("Alice", False)


async def test_identify_of_a_second_user_after_a_reset_is_ignored(usercom: FakeUserCom) -> None:
    """The key of the reset is that of Bob, and his page must not name a third person."""

    async def handler(visitor: Visitor) -> None:
        visitor.identify(user_id="id-bob", email="bob@example.com")
        await visitor.event("login")
        visitor.identify(user_id="id-carol", email="carol@example.com")
        await visitor.event("second")
        assert visitor.user_id == "id-bob"

    app = UserComMiddleware(app_with(handler), usercom.config(secret_keys=KEYS), identify=who)
    async with lifespan(app) as state:
        got = await Visit(app, state, __ca__chat=usercom.new_user(), user="alice").go()
    assert b"carol" not in got.body
    assert not [user for user in usercom.store.users.values() if user.user_id == "id-carol"]


async def test_login_users_without_a_usable_identifier_are_told_apart(
    usercom: FakeUserCom,
) -> None:
    people = {"anna": {"email": "anna"}, "bob": {"email": "bob"}}

    def hook(connection: HTTPConnection) -> Any:
        return people.get(connection.cookies.get("user", ""))

    resets: list[bool] = []

    async def handler(visitor: Visitor) -> None:
        await visitor.event("seen")
        resets.append(visitor._session.has_reset)

    app = UserComMiddleware(app_with(handler), usercom.config(secret_keys=KEYS), identify=hook)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=usercom.new_user(), user="anna")
        await visit.go()
        visit.jar["user"] = "bob"
        await visit.go()
    assert resets == [False, True]
