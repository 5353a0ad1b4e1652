"""Resets at a logout, with one new user each (docs/reset.md)."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from helpers.apps import app_with
from helpers.asgi_client import Recorded, answers, body, call, html, lifespan, start, without_epoch
from helpers.browser import FakeBrowser
from helpers.fake_usercom import FakeUserCom
from helpers.login_shop import Visit
from helpers.waiting import until
from starlette.types import ASGIApp, Receive, Scope, Send

from usercom_asgi import Event, Receipt, SqliteOutbox, Status, UserComMiddleware, get_visitor
from usercom_asgi.core.user_key import ResetMarker, key_digest
from usercom_asgi.delivery.sqlite import admin
from usercom_asgi.sandbox.vendor import REST_TOKEN

PAGE = b"<html><body><p>hello</p></body></html>"
REDIRECT = answers(start({"location": "/"}, 303), body())
JSON = answers(start({"content-type": "application/json"}), body(b"{}"))


def shop(then: ASGIApp = REDIRECT, *, after: str | None = None, **new_user: Any) -> ASGIApp:
    """/logout resets; every other path is a page."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/logout":
            await html(PAGE)(scope, receive, send)
            return
        visitor = get_visitor(scope)
        await visitor.event("before")
        await visitor.reset_auth(**new_user)
        if after:
            await visitor.event(after)
        await then(scope, receive, send)

    return app


def key_in_page(page: Recorded) -> str | None:
    """The key that the page makes sure of before the widget runs; None if it does not forget anything."""
    found = re.search(r'\}\)\("([A-Za-z0-9]*)",\[', page.text)
    return found[1] if found else None


@pytest.mark.parametrize(
    "then",
    [
        REDIRECT,
        JSON,
        html(PAGE),
        answers(start({}, 204), body()),
        answers(start({"content-type": "text/plain"}, 500), body(b"no")),
    ],
)
async def test_reset_in_a_response_of_any_status_sets_the_new_key(
    then: ASGIApp, usercom: FakeUserCom
) -> None:
    old = usercom.new_user()
    browser = FakeBrowser(__ca__chat=old)
    middleware = UserComMiddleware(shop(then, after="after"), usercom.config(reset_timeout=5))
    async with lifespan(middleware) as state:
        got = await browser.get(middleware, "/logout", state=dict(state))
    got.assert_legal()
    _, new = usercom.store.users  # exactly one new user
    assert browser.jar["__ca__chat"] == new != old
    assert [line for line in got.set_cookies("__ca__chat") if "Domain=example.com" in line] == [
        f"__ca__chat={new}; Path=/; Max-Age=31536000; Domain=example.com; SameSite=Lax"
    ]
    # It is gone from wherever else it may live, so that two of one name never meet.
    others = [line for line in got.set_cookies("__ca__chat") if "Domain=example.com" not in line]
    assert len(others) == 2
    assert all("Max-Age=0" in line for line in others)
    assert got.header("cache-control") == "private"
    [marker] = got.set_cookies("__ca__reset")
    assert "HttpOnly" in marker
    assert old not in marker
    assert new not in marker
    # The event before the reset is the old visitor's, the event after it is the new one's.
    assert {(each.name, each.key) for each in usercom.store.events} == {
        ("before", old),
        ("after", new),
    }
    [hit] = usercom.store.hits
    assert hit.created_new_gu


async def test_reset_next_page_removes_the_old_key_and_then_the_marker(
    usercom: FakeUserCom,
) -> None:
    browser = FakeBrowser(__ca__chat=usercom.new_user())
    middleware = UserComMiddleware(shop(), usercom.config(reset_timeout=5))
    async with lifespan(middleware) as state:
        await browser.get(middleware, "/logout", state=dict(state))
        new = browser.jar["__ca__chat"]
        page = await browser.get(middleware, state=dict(state))
        assert key_in_page(page) == new
        assert page.header("cache-control") == "private"
        assert "__ca__reset" not in browser.jar
        assert browser.jar["__ca__chat"] == new
        second = await browser.get(middleware, state=dict(state))
    assert key_in_page(second) is None
    assert second.all("set-cookie") == []
    assert len(usercom.store.users) == 2


async def test_reset_marker_stays_over_responses_that_are_no_pages(usercom: FakeUserCom) -> None:
    old = usercom.new_user()
    browser = FakeBrowser(__ca__chat=old)
    paths = {"/json": JSON, "/fragment": html(b"<p>x</p>"), "/redirect": REDIRECT}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await paths.get(scope["path"], shop())(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config(reset_timeout=5))
    async with lifespan(middleware) as state:
        await browser.get(middleware, "/logout", state=dict(state))
        for path in paths:
            await browser.get(middleware, path, state=dict(state))
            assert "__ca__reset" in browser.jar
        await browser.get(middleware, state=dict(state))
    assert "__ca__reset" not in browser.jar


async def test_reset_old_key_that_comes_back_counts_as_absent(usercom: FakeUserCom) -> None:
    """A widget in another tab writes its cookie again after every ping."""
    old = usercom.new_user()
    marker = ResetMarker(key_digest(old), "x" * 22, int(time.time()) - 60)
    browser = FakeBrowser(__ca__chat=old, __ca__reset=str(marker))
    keys: list[str | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        keys.append(get_visitor(scope).key)
        await (JSON if scope["path"] == "/json" else html(PAGE))(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config())
    async with lifespan(middleware) as state:
        await browser.get(middleware, "/json", state=dict(state))
        assert "__ca__chat" not in browser.jar
        browser.jar["__ca__chat"] = old
        page = await browser.get(middleware, state=dict(state))
    assert keys == [None, None]
    assert key_in_page(page) == ""
    assert without_epoch(browser.jar) == {}


async def test_reset_key_that_the_widget_made_since_is_kept(usercom: FakeUserCom) -> None:
    marker = ResetMarker(key_digest("oldkey123456"), "x" * 22, int(time.time()) - 60)
    browser = FakeBrowser(__ca__chat="newkey123456", __ca__reset=str(marker))
    middleware = UserComMiddleware(shop(), usercom.config())
    async with lifespan(middleware) as state:
        page = await browser.get(middleware, state=dict(state))
    assert key_in_page(page) == "newkey123456"
    assert without_epoch(browser.jar) == {"__ca__chat": "newkey123456"}


@pytest.mark.parametrize("slow_before", [True, False])
async def test_reset_late_key_is_handed_over_and_makes_no_second_user(
    usercom: FakeUserCom, slow_before: bool
) -> None:
    """Whether User.com is slow to begin or slow to answer: one call of ours makes one user, and the widget makes none."""
    old = usercom.new_user()
    browser = FakeBrowser(__ca__chat=old)
    usercom.faults.latency(60, before=slow_before)
    middleware = UserComMiddleware(
        shop(after="after"), usercom.config(reset_timeout=0.05, timeout=60)
    )
    async with lifespan(middleware) as state:
        with anyio.fail_after(20):
            await browser.get(middleware, "/logout", state=dict(state))
        assert "__ca__chat" not in browser.jar
        if not slow_before:
            await until(lambda: len(usercom.store.users) == 2)  # created; the response is pending
        page = await browser.get(middleware, state=dict(state))
        # The widget would make a second new user now: it stays out until the answer is there.
        assert page.body == PAGE
        assert "__ca__reset" in browser.jar
        usercom.faults.clear()
        await until(
            lambda: len(usercom.store.events) == 2
        )  # the event after the reset is sent with the new key
        page = await browser.get(middleware, state=dict(state))
    _, new = usercom.store.users
    assert without_epoch(browser.jar) == {"__ca__chat": new}
    assert key_in_page(page) == new
    assert {(each.name, each.key) for each in usercom.store.events} == {
        ("before", old),
        ("after", new),
    }


@pytest.mark.slow
async def test_reset_next_page_waits_for_a_key_that_is_about_to_come(
    usercom: FakeUserCom,
) -> None:
    browser = FakeBrowser(__ca__chat=usercom.new_user())
    usercom.faults.latency(60)
    middleware = UserComMiddleware(shop(), usercom.config(reset_timeout=2, timeout=60))

    async def clear() -> None:
        await anyio.sleep(0.2)
        usercom.faults.clear()

    async with lifespan(middleware) as state, anyio.create_task_group() as tasks:
        await browser.get(middleware, "/logout", state=dict(state))
        assert "__ca__chat" not in browser.jar
        tasks.start_soon(clear)
        page = await browser.get(middleware, state=dict(state))
    _, new = usercom.store.users
    assert key_in_page(page) == new
    assert without_epoch(browser.jar) == {"__ca__chat": new}


async def test_reset_commands_before_the_key_wait_for_it(
    usercom: FakeUserCom,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/say":
            await get_visitor(scope).page_hit(event=Event("later"))
        await shop()(scope, receive, send)

    browser = FakeBrowser(__ca__chat=usercom.new_user())
    usercom.faults.latency(60)
    middleware = UserComMiddleware(app, usercom.config(reset_timeout=0, timeout=60))
    async with lifespan(middleware) as state:
        await browser.get(middleware, "/logout", state=dict(state))
        await browser.get(middleware, "/say", state=dict(state))
        usercom.faults.clear()
    _, new = usercom.store.users
    assert [each.key for each in usercom.store.events if each.name == "later"] == [new]


async def test_reset_another_process_leaves_the_widget_out_until_the_deadline(
    usercom: FakeUserCom,
) -> None:
    # A negative age: the clock of the process that made the reset is ahead.
    for age, has_widget in ((1, False), (11, True), (-3, False), (-3600, True)):
        marker = ResetMarker(key_digest("oldkey123456"), "x" * 22, int(time.time()) - age)
        browser = FakeBrowser(__ca__reset=str(marker))
        middleware = UserComMiddleware(shop(), usercom.config())
        async with lifespan(middleware) as state:
            page = await browser.get(middleware, state=dict(state))
        assert (b"widget.js" in page.body) is has_widget
        assert ("__ca__reset" in browser.jar) is not has_widget


@pytest.mark.parametrize("fault", ["status", "hang", "drop"])
async def test_reset_while_user_com_is_down_is_not_awaited(
    usercom: FakeUserCom, fault: str
) -> None:
    old = usercom.new_user()
    browser = FakeBrowser(__ca__chat=old)
    if fault == "status":
        usercom.faults.status(500)
    else:
        getattr(usercom.faults, fault)()
    middleware = UserComMiddleware(
        shop(), usercom.config(reset_timeout=60, timeout=0.2, shutdown_timeout=0.1)
    )
    async with lifespan(middleware) as state:
        began = anyio.current_time()
        await browser.get(middleware, "/logout", state=dict(state))
        await browser.get(middleware, state=dict(state))
        assert anyio.current_time() - began < 5  # a reset that has failed is not waited for
        assert "__ca__chat" not in browser.jar
        # User.com is known to be down by now, so the logout does not wait for it.
        browser = FakeBrowser(__ca__chat=old)
        began = anyio.current_time()
        await browser.get(middleware, "/logout", state=dict(state))
        assert anyio.current_time() - began < 5


async def test_reset_without_a_lifespan_sets_the_new_key(usercom: FakeUserCom) -> None:
    old = usercom.new_user()
    browser = FakeBrowser(__ca__chat=old)
    middleware = UserComMiddleware(shop(after="after"), usercom.config(reset_timeout=5))
    await browser.get(middleware, "/logout")
    _, new = usercom.store.users
    assert browser.jar["__ca__chat"] == new
    assert {(each.name, each.key) for each in usercom.store.events} == {
        ("before", old),
        ("after", new),
    }


async def test_reset_called_twice_is_one(usercom: FakeUserCom) -> None:
    receipts: list[Receipt] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        receipts.append(await get_visitor(scope).reset_auth())
        receipts.append(await get_visitor(scope).reset_auth())
        await REDIRECT(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config(reset_timeout=5))
    async with lifespan(middleware) as state:
        await FakeBrowser(__ca__chat=usercom.new_user()).get(
            middleware, "/logout", state=dict(state)
        )
    assert receipts[0] is receipts[1]
    assert receipts[0].status is Status.DELIVERED
    assert len(usercom.store.users) == 2


async def test_reset_sends_the_new_user_and_nothing_of_the_old_one(
    usercom: FakeUserCom,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        visitor.identify(user_id="alice", email="alice@example.com", plan="gold")
        await visitor.reset_auth(user_id="bob", first_name="Bob")
        assert (visitor.user_id, visitor.email) == ("bob", None)
        await html(PAGE)(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config(reset_timeout=5))
    async with lifespan(middleware) as state:
        page = await FakeBrowser(__ca__chat=usercom.new_user()).get(
            middleware, "/logout", state=dict(state)
        )
    [hit] = usercom.store.hits
    assert {"user_id": "bob", "first_name": "Bob"}.items() <= hit.payload.items()
    for of_alice in ("alice", "gold"):
        assert of_alice not in str(hit.payload)
        assert of_alice not in page.text
    assert '"user_id":"bob"' in page.text


async def test_reset_of_a_visitor_without_a_key_makes_a_user(usercom: FakeUserCom) -> None:
    browser = FakeBrowser()
    middleware = UserComMiddleware(shop(), usercom.config(reset_timeout=5))
    async with lifespan(middleware) as state:
        await browser.get(middleware, "/logout", state=dict(state))
    [new] = usercom.store.users
    assert browser.jar["__ca__chat"] == new


@pytest.mark.parametrize(
    "host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "evil.com;x=y", "a\x00b.com", ""]
)
async def test_reset_host_header_does_not_get_into_a_cookie(
    host: str, usercom: FakeUserCom
) -> None:
    middleware = UserComMiddleware(shop(), usercom.config(reset_timeout=5))
    async with lifespan(middleware) as state:
        got = await call(
            middleware,
            "/logout",
            headers={"cookie": "__ca__chat=abc123"},
            state=dict(state),
            host=host,
        )
    for line in got.all("set-cookie"):
        assert re.fullmatch(r"[A-Za-z0-9_=.;, :/-]+", line)
        assert "Domain" not in line


HELLO = b"<html><body>hello</body></html>"


@pytest.mark.waits
async def test_reset_that_times_out_makes_one_user(usercom: FakeUserCom) -> None:
    usercom.faults.latency(0.6, before=False)
    middleware = UserComMiddleware(
        app_with(lambda visitor: visitor.reset_auth()),
        usercom.config(timeout=0.3, reset_timeout=0.1, shutdown_timeout=0.3),
    )
    async with lifespan(middleware) as state:
        await call(middleware, headers={"cookie": "__ca__chat=abc123"}, state=dict(state))
        await until(lambda: usercom.store.users)
        await anyio.sleep(1.5)
    assert len(usercom.store.users) == 1


async def test_reset_clicked_twice_makes_one_user(usercom: FakeUserCom) -> None:
    middleware = UserComMiddleware(
        app_with(lambda visitor: visitor.reset_auth()), usercom.config(reset_timeout=5)
    )
    old = usercom.new_user()
    async with lifespan(middleware) as state:
        got = []

        async def click() -> None:
            headers = {"cookie": f"session=s1; __ca__chat={old}", "user-agent": "B/1"}
            got.append(await call(middleware, headers=headers, state=dict(state)))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(click)
        assert len(usercom.store.users) == 2
        assert len({str(each.set_cookies("__ca__chat")) for each in got}) == 1
        # The same key in another browser is another visitor's from now on.
        headers = {"cookie": f"session=s2; __ca__chat={old}", "user-agent": "B/1"}
        await call(middleware, headers=headers, state=dict(state))
    assert len(usercom.store.users) == 3


async def test_reset_of_two_browsers_that_share_a_key_makes_two_visitors(
    usercom: FakeUserCom,
) -> None:
    """Their cookies, browser and address are the same, and neither has a session: that is no double click."""
    middleware = UserComMiddleware(
        app_with(lambda visitor: visitor.reset_auth()), usercom.config(reset_timeout=5)
    )
    shared = usercom.new_user()
    headers = {"cookie": f"__ca__chat={shared}", "user-agent": "B/1"}
    async with lifespan(middleware) as state:
        got = [await call(middleware, headers=headers, state=dict(state)) for _ in range(2)]
    assert len(usercom.store.users) == 3
    assert len({str(each.set_cookies("__ca__chat")) for each in got}) == 2


@pytest.mark.parametrize(
    ("scope", "consumed"),
    [
        ({}, True),
        ({"headers": {"sec-fetch-dest": "document"}}, True),
        ({"method": "HEAD"}, False),
        ({"headers": {"sec-fetch-dest": "empty"}}, False),
        ({"headers": {"sec-purpose": "prefetch;prerender"}}, False),
    ],
)
async def test_reset_marker_ends_only_with_a_page_that_runs_its_scripts(
    scope: dict[str, Any], consumed: bool, usercom: FakeUserCom
) -> None:
    marker = ResetMarker(key_digest("abc123"), "a" * 22, 1)
    headers = {"cookie": f"__ca__reset={marker}", **scope.get("headers", {})}
    got = await call(
        UserComMiddleware(html(HELLO), usercom.config()), **{**scope, "headers": headers}
    )
    assert bool(got.set_cookies("__ca__reset")) is consumed


async def test_reset_rejected_at_once_keeps_the_widget(
    usercom: FakeUserCom,
) -> None:
    usercom.faults.status(403)
    logout = app_with(lambda visitor: visitor.reset_auth(), answers(start({}, 303), body()))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (logout if scope["path"] == "/logout" else html(HELLO))(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config(reset_timeout=2))
    async with lifespan(middleware) as state:
        got = await call(
            middleware, "/logout", headers={"cookie": "__ca__chat=abc123"}, state=dict(state)
        )
        [marker] = got.set_cookies("__ca__reset")
        got = await call(middleware, headers={"cookie": marker.split(";")[0]}, state=dict(state))
    assert b"widget.js" in got.body


async def test_reset_of_two_people_without_cookies_makes_two_users(
    usercom: FakeUserCom,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            visitor = get_visitor(scope)
            await visitor.reset_auth(user_id=scope["path"][1:])
            await visitor.event(f"secret of {scope['path'][1:]}")
        await html(HELLO)(scope, receive, send)

    for cookies in ({}, {"cookie": "__ca__chat=abc123"}):
        usercom.store.clear()
        middleware = UserComMiddleware(app, usercom.config(reset_timeout=5))
        async with lifespan(middleware) as state:
            for who in ("/alice", "/bob"):
                await call(
                    middleware, who, headers={"user-agent": "B/1", **cookies}, state=dict(state)
                )
        owners = {key: user.attributes["user_id"] for key, user in usercom.store.users.items()}
        assert sorted(owners.values()) == ["alice", "bob"]
        assert {each.name: owners[each.key] for each in usercom.store.events} == {
            "secret of alice": "alice",
            "secret of bob": "bob",
        }


@pytest.mark.parametrize("was", ["somebody else", "alice"])
async def test_reset_marker_does_not_block_the_key_of_a_later_login(
    was: str, usercom: FakeUserCom
) -> None:
    other, alice = usercom.new_user(), usercom.new_user()
    usercom.store.users[alice].attributes["user_id"] = "alice"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        visitor = get_visitor(scope)
        if scope["path"] == "/logout":
            await visitor.reset_auth()
        elif scope["path"] == "/login":
            visitor.identify(user_id="alice")
            receipt = await visitor.page_hit()
            assert await receipt.delivered(30)
            assert receipt.key == alice
        await answers(start({"content-type": "application/json"}), body(b"{}"))(
            scope, receive, send
        )

    middleware = UserComMiddleware(app, usercom.config(reset_timeout=30))
    async with lifespan(middleware) as state:
        visit = Visit(middleware, state, __ca__chat=alice if was == "alice" else other)
        for path in ("/logout", "/login", "/"):
            await visit.go(path)
    assert visit.jar["__ca__chat"] == alice


# ---- by the REST API ----


async def test_reset_by_rest_waits_for_nothing_and_leaves_the_visitor_to_the_widget(
    usercom: FakeUserCom,
) -> None:
    old = usercom.new_user()
    usercom.faults.hang(sender="server")
    browser = FakeBrowser(__ca__chat=old)
    receipts: list[Receipt] = []

    async def reset(visitor: Any) -> None:
        receipts.append(await visitor.reset_auth())
        receipts.append(await visitor.event("after"))

    config = usercom.config(rest_token=REST_TOKEN, reset_timeout=30)
    middleware = UserComMiddleware(app_with(reset, html(PAGE)), config)
    async with lifespan(middleware) as state:
        page = await browser.get(middleware, "/logout", state=dict(state))
    assert [each.status for each in receipts] == [Status.SKIPPED, Status.SKIPPED]
    assert "__ca__chat" not in browser.jar
    assert "/widget.js" in page.text
    assert key_in_page(page) == ""
    assert list(usercom.store.users) == [old]


async def test_reset_by_rest_keeps_the_details_and_later_commands_of_a_known_user(
    usercom: FakeUserCom,
) -> None:
    old = usercom.new_user()
    browser = FakeBrowser(__ca__chat=old)
    config = usercom.config(rest_token=REST_TOKEN)
    app = shop(html(PAGE), after="after", user_id="bob", first_name="Bob")
    async with lifespan(middleware := UserComMiddleware(app, config)) as state:
        page = await browser.get(middleware, "/logout", state=dict(state))
    bob = usercom.store.by_user_id("bob")
    assert bob is not None
    assert bob.attributes["first_name"] == "Bob"
    # Two visitors have two queues, so the order between them is not known.
    assert {each.name: each.key for each in usercom.store.events} == {
        "before": old,
        "after": bob.key,
    }
    assert usercom.store.users[old].user_id is None
    assert "__ca__chat" not in browser.jar
    assert '"user_id":"bob"' in page.text


async def test_reset_by_rest_returns_when_the_details_are_on_disk(
    usercom: FakeUserCom, tmp_path: Path
) -> None:
    usercom.faults.hang(sender="server")
    path = tmp_path / "usercom.db"
    rows: list[admin.Row] = []

    async def reset(visitor: Any) -> None:
        await visitor.reset_auth(user_id="bob", first_name="Bob")
        rows.extend(admin.waiting_rows(path, 10))

    config = usercom.config(rest_token=REST_TOKEN, shutdown_timeout=0)
    middleware = UserComMiddleware(app_with(reset, html(PAGE)), config, outbox=SqliteOutbox(path))
    async with lifespan(middleware) as state:
        await FakeBrowser().get(middleware, "/logout", state=dict(state))
    assert len(rows) == 1
