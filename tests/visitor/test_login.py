"""Login and logout are noticed by themselves: the `identify` hook, and the identity cookie."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import anyio
import pytest
from helpers.asgi_client import html, lifespan, without_epoch
from helpers.fake_usercom import FakeUserCom
from helpers.login_shop import KEYS, PEOPLE, Shop, Visit, shop, who
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from usercom_asgi import ConfigurationError, UserComConfig, UserComMiddleware, get_visitor
from usercom_asgi.visitor.signed_cookies import IDENTITY_COOKIE, IdentityCookie

PAGE = b"<html><body>hello</body></html>"


async def who_later(connection: HTTPConnection) -> dict[str, str] | None:
    return who(connection)


@pytest.mark.parametrize("hook", [who, who_later])
async def test_from_nobody_to_somebody_the_history_is_kept(hook: Any, usercom: FakeUserCom) -> None:
    key = usercom.new_user()
    app = shop(usercom, hook)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=key)
        assert b"id-alice" not in (await visit.go()).body
        assert IDENTITY_COOKIE not in visit.jar
        await visit.go("/login/alice")
        page = await visit.go()
        assert b'"user_id":"id-alice"' in page.body
        assert page.header("cache-control") == "private"
        assert visit.jar["__ca__chat"] == key
        assert (await visit.go()).set_cookies(IDENTITY_COOKIE) == []
    assert list(usercom.store.users) == [key]
    assert "alice" not in visit.jar[IDENTITY_COOKIE]


@pytest.mark.parametrize("way", [["/logout", "/"], ["/logout", "/json", "/"]])
async def test_a_logout_that_nobody_told_us_of_resets(way: list[str], usercom: FakeUserCom) -> None:
    old = usercom.new_user()
    app = shop(usercom)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=old, user="alice")
        await visit.go()
        for path in way:
            page = await visit.go(path)
        await visit.go()  # and the marker goes
    _, new = usercom.store.users  # exactly one new user
    assert without_epoch(visit.jar) == {"__ca__chat": new}
    for of_alice in (old, "alice", "Alice"):
        assert of_alice not in page.text
    assert usercom.store.users[new].attributes == {}


async def test_the_session_ends_by_itself_and_the_next_person_logs_in(usercom: FakeUserCom) -> None:
    """No logout at all: the next thing that is said belongs to Bob, and to no key of Alice's."""
    old = usercom.new_user()
    app = shop(usercom)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=old, user="alice")
        await visit.go()
        visit.jar["user"] = "bob"
        await visit.go("/buy", method="POST")
        page = await visit.go()
    _, new = usercom.store.users
    assert [(each.name, each.key) for each in usercom.store.events] == [("purchase", new)]
    assert usercom.store.users[new].attributes["user_id"] == "id-bob"
    assert b"id-bob" in page.body
    assert b"alice" not in page.body.lower()
    assert visit.jar["__ca__chat"] == new


async def test_what_the_application_says_itself_is_not_done_twice(usercom: FakeUserCom) -> None:
    class Careful(Shop):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/logout":
                await get_visitor(scope).event("bye")
                await get_visitor(scope).reset_auth()
            await super().__call__(scope, receive, send)

    app = UserComMiddleware(
        Careful(), usercom.config(secret_keys=KEYS, reset_timeout=5), identify=who
    )
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=usercom.new_user(), user="alice")
        await visit.go()
        await visit.go("/logout")
        await visit.go()
    old, new = usercom.store.users
    assert without_epoch(visit.jar) == {"__ca__chat": new}
    assert [(each.name, each.key) for each in usercom.store.events] == [("bye", old)]


async def test_rotate_on_login_ends_a_planted_key(usercom: FakeUserCom) -> None:
    planted = usercom.new_user()
    app = shop(usercom, rotate_on_login=True)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=planted)
        await visit.go("/login/alice")
        await visit.go()
        await visit.go()
    _, new = usercom.store.users
    assert visit.jar["__ca__chat"] == new
    assert usercom.store.users[planted].attributes == {}


async def test_a_person_with_an_older_key_s_fingerprint_is_the_same_person(
    usercom: FakeUserCom,
) -> None:
    key = usercom.new_user()
    before = IdentityCookie(KEYS[:1], None)
    app = shop(usercom)
    async with lifespan(app) as state:
        cookie = (
            before.set_cookie(before.fingerprint(PEOPLE["alice"]), secure=False)
            .decode()
            .split(";")[0]
            .partition("=")[2]
        )
        visit = Visit(app, state, __ca__chat=key, user="alice", **{IDENTITY_COOKIE: cookie})
        await visit.go()
    assert list(usercom.store.users) == [key]


@pytest.mark.parametrize("cookie", ["", "junk", "a.b.c", "eyJ3aG8iOiJ4In0.aaaa.bbbb", "\xff"])
async def test_a_cookie_that_we_did_not_write_says_nothing(
    cookie: str, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    app = shop(usercom)
    async with lifespan(app) as state:
        page = await Visit(
            app, state, __ca__chat=key, user="alice", **{IDENTITY_COOKIE: cookie}
        ).go()
    assert b"id-alice" in page.body
    assert list(usercom.store.users) == [key]


@pytest.mark.parametrize("bad", [{"email": "nobody"}, {"apiKey": "x"}, ZeroDivisionError])
async def test_a_hook_that_fails(
    bad: Any, usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    """If it raises, nobody knows who is there, and nothing changes; if it names somebody broken, the last one is gone."""

    def hook(connection: HTTPConnection) -> Any:
        if connection.cookies.get("user") == "broken":
            if bad is ZeroDivisionError:
                raise ZeroDivisionError
            return bad
        return who(connection)

    key = usercom.new_user()
    app = shop(usercom, hook)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=key, user="alice")
        await visit.go()
        visit.jar["user"] = "broken"
        with caplog.at_level(logging.ERROR):
            page = await visit.go()
    assert b"widget.js" in page.body
    assert (visit.jar["__ca__chat"] == key) is (bad is ZeroDivisionError)
    assert len(usercom.store.users) == (1 if bad is ZeroDivisionError else 2)
    assert "identify hook" in caplog.text


async def test_the_hook_is_asked_once_and_only_if_somebody_needs_to_know(
    usercom: FakeUserCom,
) -> None:
    asked: list[str] = []

    def hook(connection: HTTPConnection) -> None:
        asked.append(connection.url.path)

    class Says(Shop):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/says":
                await get_visitor(scope).event("a")
                await get_visitor(scope).event("b")
            await super().__call__(scope, receive, send)

    app = UserComMiddleware(Says(), usercom.config(secret_keys=KEYS), identify=hook)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=usercom.new_user())
        for path in ("/json", "/", "/says"):
            await visit.go(path)
    assert asked == ["/", "/says"]


def test_without_a_key_to_sign_with_it_says_so_at_once() -> None:
    with pytest.raises(ConfigurationError, match="secret_keys"):
        UserComMiddleware(Shop(), UserComConfig(app="acme", api_key="ABC123"), identify=who)


@given(st.text(max_size=50), st.text(max_size=50))
def test_a_fingerprint_tells_two_people_apart_and_names_neither(one: str, two: str) -> None:
    identity_cookie = IdentityCookie(KEYS, None)
    first = identity_cookie.fingerprint({"user_id": one}) or ""
    assert identity_cookie.matches(first, {"user_id": one, "email": "x@y"})
    assert identity_cookie.matches(first, {"user_id": two}) is (one == two)
    assert not identity_cookie.matches(first, {"email": one})
    assert not identity_cookie.matches(first, {})


async def test_a_hook_may_use_the_visitor_in_tasks_of_its_own_and_others_wait_for_its_answer(
    usercom: FakeUserCom,
) -> None:
    """Nobody waits for somebody who waits for them."""
    asked = anyio.Event()

    async def hook(connection: HTTPConnection) -> dict[str, str]:
        asked.set()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(get_visitor(connection).event, "from a task of the hook's"))
        await anyio.sleep(0.05)
        return PEOPLE["alice"]

    known: list[str | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        visitor = get_visitor(scope)

        async def says() -> None:
            await visitor.event("meanwhile")
            known.append(visitor.user_id)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(visitor.event, "first")
            with anyio.fail_after(5):
                await asked.wait()
            for _ in range(3):
                tasks.start_soon(says)
        await html(PAGE)(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config(secret_keys=KEYS), identify=hook)
    async with lifespan(middleware) as state:
        with anyio.fail_after(20):
            await Visit(middleware, state, __ca__chat=usercom.new_user()).go()
    assert known == ["id-alice"] * 3


def unsigned(person: str, key: str = KEYS[-1]) -> str:
    fingerprint = IdentityCookie((key,), None).fingerprint(PEOPLE[person])
    forged = IdentityCookie(("of somebody else's, sixteen",), None).set_cookie(
        fingerprint, secure=False
    )
    return forged.decode().split(";")[0].partition("=")[2]


async def test_identity_cookie_with_forged_signature_is_ignored(usercom: FakeUserCom) -> None:
    key = usercom.new_user()
    app = shop(usercom)
    async with lifespan(app) as state:
        same = await Visit(
            app, state, __ca__chat=key, user="alice", **{IDENTITY_COOKIE: unsigned("alice")}
        ).go()
        other = await Visit(
            app, state, __ca__chat=key, user="bob", **{IDENTITY_COOKIE: unsigned("alice")}
        ).go()
    assert b"id-alice" in same.body
    assert same.set_cookies(IDENTITY_COOKIE)
    assert b"id-bob" in other.body
    assert other.set_cookies(IDENTITY_COOKIE)
    assert list(usercom.store.users) == [key]
