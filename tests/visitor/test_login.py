"""Login and logout are noticed by themselves: the `identify` hook, and the identity cookie."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import anyio
import pytest
from helpers.apps import app_with
from helpers.asgi_client import call, html, http_scope, lifespan, without_epoch
from helpers.fake_usercom import FakeUserCom
from helpers.login_shop import KEYS, PEOPLE, Shop, Visit, shop, who
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from usercom_asgi import ConfigurationError, Status, UserComConfig, UserComMiddleware, get_visitor
from usercom_asgi.visitor.signed_cookies import IDENTITY_COOKIE, IdentityCookie

PAGE = b"<html><body>hello</body></html>"


async def async_who(connection: HTTPConnection) -> dict[str, str] | None:
    return who(connection)


@pytest.mark.parametrize("hook", [who, async_who])
async def test_login_of_an_anonymous_visitor_keeps_the_history(
    hook: Any, usercom: FakeUserCom
) -> None:
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
async def test_login_logout_without_a_call_resets(way: list[str], usercom: FakeUserCom) -> None:
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


async def test_login_of_the_next_person_after_an_expired_session_resets(
    usercom: FakeUserCom,
) -> None:
    """The session expires without a logout; Bob's next event gets a new key, not Alice's."""
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


async def test_login_calls_of_the_application_are_not_repeated(usercom: FakeUserCom) -> None:
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


async def test_login_with_rotate_on_login_ends_a_planted_key(usercom: FakeUserCom) -> None:
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


async def test_login_fingerprint_of_an_older_secret_key_is_the_same_person(
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
async def test_login_identity_cookie_of_other_software_is_ignored(
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


@pytest.mark.parametrize(
    "bad", [{"email": "nobody"}, {"apiKey": "x"}, {"user_id": "\ud800"}, ZeroDivisionError]
)
async def test_login_hook_that_raises_keeps_the_key_and_an_invalid_person_resets(
    bad: Any, usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    """A hook that raises changes nothing; a hook that returns an invalid person causes a reset."""

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
        with caplog.at_level(logging.WARNING):
            page = await visit.go()
    assert b"widget.js" in page.body
    assert (visit.jar["__ca__chat"] == key) is (bad is ZeroDivisionError)
    assert len(usercom.store.users) == (1 if bad is ZeroDivisionError else 2)
    assert "identify hook" in caplog.text


async def test_login_hook_is_called_once_and_only_where_it_is_needed(
    usercom: FakeUserCom,
) -> None:
    asked: list[str] = []

    def hook(connection: HTTPConnection) -> None:
        asked.append(connection.url.path)

    class EventShop(Shop):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/send_event":
                await get_visitor(scope).event("a")
                await get_visitor(scope).event("b")
            await super().__call__(scope, receive, send)

    app = UserComMiddleware(EventShop(), usercom.config(secret_keys=KEYS), identify=hook)
    async with lifespan(app) as state:
        visit = Visit(app, state, __ca__chat=usercom.new_user())
        for path in ("/json", "/", "/send_event"):
            await visit.go(path)
    assert asked == ["/", "/send_event"]


def test_login_without_secret_keys_raises_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="secret_keys"):
        UserComMiddleware(Shop(), UserComConfig(app="acme", api_key="ABC123"), identify=who)


@given(st.text(max_size=50), st.text(max_size=50))
def test_fingerprint_of_two_people_differs_and_names_neither(one: str, two: str) -> None:
    identity_cookie = IdentityCookie(KEYS, None)
    first = identity_cookie.fingerprint({"user_id": one}) or ""
    assert identity_cookie.matches(first, {"user_id": one, "email": "x@y"})
    assert identity_cookie.matches(first, {"user_id": two}) is (one == two)
    assert not identity_cookie.matches(first, {"email": one})
    assert not identity_cookie.matches(first, {})


async def test_login_hook_may_use_the_visitor_in_its_own_tasks(
    usercom: FakeUserCom,
) -> None:
    """A hook that uses the visitor does not wait for itself."""
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

        async def send_event() -> None:
            await visitor.event("meanwhile")
            known.append(visitor.user_id)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(visitor.event, "first")
            with anyio.fail_after(5):
                await asked.wait()
            for _ in range(3):
                tasks.start_soon(send_event)
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


SECRET = ("sixteen characters or more",)


def headers_with_identity(key: str, who: str) -> dict[str, str]:
    identity_cookie = IdentityCookie(SECRET, None)
    cookie = (
        identity_cookie.set_cookie(identity_cookie.fingerprint({"user_id": who}), secure=False)
        .decode()
        .split(";")[0]
    )
    return {"cookie": f"__ca__chat={key}; {cookie}"}


@pytest.mark.parametrize("now", ["bob", None])
async def test_login_websocket_of_the_next_person_uses_another_key(
    now: str | None, usercom: FakeUserCom
) -> None:
    receipts: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        receipts.append(await get_visitor(scope).event("secret"))
        await receipts[-1].delivered(5)

    alice = usercom.new_user()
    scope = {
        **http_scope(headers=headers_with_identity(alice, "alice"), scheme="ws"),
        "type": "websocket",
    }
    del scope["method"]
    who = {"user_id": now} if now else None
    await UserComMiddleware(
        app, usercom.config(secret_keys=SECRET), identify=lambda connection: who
    )(scope, None, None)  # type: ignore[arg-type]
    assert [
        usercom.store.users[each.key].attributes["user_id"] for each in usercom.store.events
    ] == ([now] if now else [])
    assert receipts[0].status is (Status.DELIVERED if now else Status.SKIPPED)


async def test_login_concurrent_helpers_all_wait_for_the_hook(usercom: FakeUserCom) -> None:
    async def slow(connection: Any) -> dict[str, str]:
        await get_visitor(connection).event("from the hook itself")  # is not for it to wait
        await anyio.sleep(0.05)
        return {"user_id": "bob"}

    async def said(visitor: Any) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(visitor.event, "one")
            tasks.start_soon(visitor.event, "two")

    alice = usercom.new_user()
    middleware = UserComMiddleware(
        app_with(said), usercom.config(secret_keys=SECRET, reset_timeout=5), identify=slow
    )
    await call(middleware, headers=headers_with_identity(alice, "alice"))
    assert {each.name for each in usercom.store.events if each.key == alice} == {
        "from the hook itself"
    }
    assert {each.name for each in usercom.store.events if each.key != alice} == {"one", "two"}


async def test_login_person_with_invalid_attributes_is_another_person(
    usercom: FakeUserCom,
) -> None:
    """The hook's person was refused as a whole, and the last one stayed."""
    person: dict[str, Any] = {"user_id": "bob"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await get_visitor(scope).event("said")
            await html(b"<html><body>x</body></html>")(scope, receive, send)

    middleware = UserComMiddleware(
        app,
        usercom.config(secret_keys=("sixteen characters or more",), reset_timeout=5),
        identify=lambda _: person,
    )
    bob = usercom.new_user()
    async with lifespan(middleware) as state:
        first = await call(middleware, headers={"cookie": f"__ca__chat={bob}"}, state=dict(state))
        identity_cookie = first.set_cookies("__ca__identity")[0].partition(";")[0]
        person = {"user_id": "carl", "phone_number": "123", "first_name": "x" * 99, "plan": "gold"}
        page = await call(
            middleware,
            headers={"cookie": f"__ca__chat={bob}; {identity_cookie}"},
            state=dict(state),
        )
    assert b'"user_id":"carl"' in page.body
    assert b'"plan":"gold"' in page.body
    assert b"phone_number" not in page.body
    assert sorted(each.key == bob for each in usercom.store.events) == [False, True]


EMPTY = html(b"<html><body></body></html>")


def slow_hook_for_bob(asked: list[Any]) -> Any:
    """A hook that takes its time to find out who is logged in."""

    async def slow_hook(connection: Any) -> dict[str, str]:
        asked.append(connection)
        await anyio.sleep(0.3)
        return PEOPLE["bob"]

    return slow_hook


def cookies_of_alice(key: str) -> str:
    """The cookies of a browser that Alice was last identified in."""
    identity_cookie = IdentityCookie(KEYS, None)
    remembers = identity_cookie.set_cookie(
        identity_cookie.fingerprint(PEOPLE["alice"]), secure=False
    ).decode()
    return f"__ca__chat={key}; {remembers.partition(';')[0]}"


@pytest.mark.parametrize("together", [False, True])
async def test_login_hook_of_a_cancelled_helper_is_called_by_the_next_one(
    usercom: FakeUserCom, *, together: bool
) -> None:
    alice = usercom.new_user()
    usercom.store.users[alice].attributes["user_id"] = "id-alice"
    asked: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        visitor = get_visitor(scope)
        async with anyio.create_task_group() as tasks:
            if together:  # it waits for what the one that is cut off would have found out
                tasks.start_soon(visitor.event, "bob's as well")
                await anyio.sleep(0.02)
            with anyio.move_on_after(0.05):
                await visitor.event("first")
        await visitor.event("secret of bob's")
        await EMPTY(scope, receive, send)

    middleware = UserComMiddleware(
        app, usercom.config(secret_keys=KEYS, reset_timeout=30), identify=slow_hook_for_bob(asked)
    )
    async with lifespan(middleware) as state:
        got = await call(middleware, headers={"cookie": cookies_of_alice(alice)}, state=dict(state))
    assert len(asked) <= 2
    assert not [each.name for each in usercom.store.events if each.key == alice]
    assert "secret of bob's" in [each.name for each in usercom.store.events]
    assert b"id-bob" in got.body


async def test_login_helpers_that_wait_for_a_cancelled_one_call_the_hook(
    usercom: FakeUserCom,
) -> None:
    alice, asked = usercom.new_user(), list[Any]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        visitor = get_visitor(scope)

        async def cut_off() -> None:
            with anyio.move_on_after(0.1):
                await visitor.event("cut off")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut_off)
            await anyio.sleep(0.02)
            tasks.start_soon(visitor.event, "one")
            tasks.start_soon(visitor.event, "two")
        await EMPTY(scope, receive, send)

    middleware = UserComMiddleware(
        app, usercom.config(secret_keys=KEYS, reset_timeout=30), identify=slow_hook_for_bob(asked)
    )
    async with lifespan(middleware) as state:
        await call(middleware, headers={"cookie": cookies_of_alice(alice)}, state=dict(state))
    assert len(asked) == 2
    assert sorted(each.name for each in usercom.store.events) == ["one", "two"]
    assert not [each for each in usercom.store.events if each.key == alice]


HELLO = b"<html><body><p>hello</p></body></html>"


WITH_KEYS = UserComConfig(
    app="acme", api_key="ABC123", secret_keys=("a key of sixteen characters",)
)


def always(answer: Any) -> Any:
    return lambda _: answer


@pytest.mark.parametrize("answer", ["u-1", 17, ["u-1"], object()])
async def test_login_hook_that_returns_no_mapping_warns(
    answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    got = await call(UserComMiddleware(html(HELLO), WITH_KEYS, identify=always(answer)))
    assert b"widget.js" in got.body
    (said,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert (
        f"The identify hook must return a mapping such as {{'user_id': '42'}}, None or UNKNOWN, got {type(answer).__name__}"
        in (said.getMessage())
    )
    assert said.exc_info is None  # where it is: the hook's own, not ours


async def test_login_hook_that_names_no_user_warns_without_a_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hook = always({"id": 7, "first_name": "Ada"})
    await call(UserComMiddleware(html(HELLO), WITH_KEYS, identify=hook))
    (said,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert said.getMessage() == (
        "The identify hook returned neither user_id nor email, so it identifies no user: "
        "return {'user_id': '42'}, or None for an anonymous visitor (logged once)"
    )


@pytest.mark.parametrize("nobody", [None, {}, False, ""])
async def test_login_hook_with_an_empty_answer_is_an_anonymous_visitor(
    nobody: object, caplog: pytest.LogCaptureFixture
) -> None:
    await call(UserComMiddleware(html(HELLO), WITH_KEYS, identify=always(nobody)))
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
