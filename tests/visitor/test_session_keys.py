"""A key that User.com names in answer to a hit goes to the browser in the same response."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from helpers.apps import app_with
from helpers.asgi_client import answers, body, call, html, lifespan, start, without_epoch
from helpers.browser import FakeBrowser
from helpers.fake_usercom import FakeUserCom
from starlette.types import Receive, Scope, Send

from usercom_asgi import Event, Receipt, Status, UserComMiddleware, get_visitor

PAGE = b"<html><body>hello</body></html>"


class App:
    """Records a hit, and then an event of the same visitor."""

    def __init__(self, *, wait: bool = False, **who: Any) -> None:
        self.wait, self.who = wait, who
        self.receipts: list[Receipt] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        visitor = get_visitor(scope)
        visitor.identify(**self.who)
        self.receipts.append(await visitor.page_hit(event=Event("in the hit")))
        if self.wait:
            await self.receipts[-1].delivered(5)
        self.receipts.append(await visitor.event("behind it"))
        await html(PAGE)(scope, receive, send)


async def test_session_key_of_the_answer_counts_from_then_on(usercom: FakeUserCom) -> None:
    """Alice's profile exists; she logs in at a browser that has an anonymous key."""
    alice = usercom.new_user()
    usercom.store.users[alice].attributes["user_id"] = "alice"
    browser = FakeBrowser(__ca__chat=usercom.new_user())
    middleware = UserComMiddleware(App(wait=True, user_id="alice"), usercom.config())
    async with lifespan(middleware) as state:
        got = await browser.get(middleware, state=dict(state))
    assert browser.jar["__ca__chat"] == alice
    assert (got.header("cache-control"), got.header("vary")) == ("private", "Cookie")
    assert [(each.name, each.key) for each in usercom.store.events] == [
        ("in the hit", alice),
        ("behind it", alice),
    ]


async def test_session_same_key_sets_no_cookie(usercom: FakeUserCom) -> None:
    middleware = UserComMiddleware(App(wait=True), usercom.config())
    async with lifespan(middleware) as state:
        got = await call(
            middleware, headers={"cookie": f"__ca__chat={usercom.new_user()}"}, state=dict(state)
        )
    assert got.all("set-cookie") == []
    assert got.header("cache-control") is None


@pytest.mark.parametrize("has_lifespan", [True, False])
async def test_session_visitor_is_created_before_the_widget_runs(
    usercom: FakeUserCom, has_lifespan: bool
) -> None:
    browser = FakeBrowser()
    app = App()
    middleware = UserComMiddleware(app, usercom.config(anonymous="create", reset_timeout=5))
    if has_lifespan:
        async with lifespan(middleware) as state:
            await browser.get(middleware, state=dict(state))
            await browser.get(middleware, state=dict(state))
    else:
        await browser.get(middleware)
        await browser.get(middleware)
    [key] = usercom.store.users  # one visitor, not one a request
    assert without_epoch(browser.jar) == {"__ca__chat": key}
    assert [each.name for each in usercom.store.events] == ["in the hit", "behind it"] * 2
    assert {each.status for each in app.receipts} == {Status.DELIVERED}


async def test_session_first_key_is_awaited_for_a_short_time(usercom: FakeUserCom) -> None:
    usercom.faults.hang()
    middleware = UserComMiddleware(
        App(), usercom.config(anonymous="create", reset_timeout=0.1, shutdown_timeout=0.1)
    )
    async with lifespan(middleware) as state:
        with anyio.fail_after(20):  # it hangs for ever
            got = await call(middleware, state=dict(state))
    # Whole, and without the widget: its ping would make the visitor a second time.
    assert got.body == PAGE
    assert all("Max-Age=0" in line for line in got.set_cookies("__ca__chat"))


async def test_session_first_key_that_comes_late_makes_one_user(usercom: FakeUserCom) -> None:
    usercom.faults.latency(60)
    receipts: list[Any] = []

    async def track(visitor: Any) -> None:
        receipts.append(await visitor.page_hit())

    page = html(PAGE, headers={"cache-control": "public, max-age=600"})
    middleware = UserComMiddleware(
        app_with(track, page), usercom.config(anonymous="create", reset_timeout=0, timeout=60)
    )
    async with lifespan(middleware) as state:
        first = await call(middleware, state=dict(state))
        assert (first.body, first.header("cache-control"), first.header("vary")) == (
            PAGE,
            "private, max-age=600",
            "Cookie",
        )
        [marker] = first.set_cookies("__ca__reset")
        usercom.faults.clear()
        assert await receipts[0].delivered(20)
        second = await call(middleware, headers={"cookie": marker.split(";")[0]}, state=dict(state))
    [key] = usercom.store.users
    assert [line for line in second.set_cookies("__ca__chat") if f"={key};" in line]
    assert b"widget.js" in second.body


async def test_session_key_found_by_an_event_reaches_the_browser(
    usercom: FakeUserCom,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            visitor = get_visitor(scope)
            visitor.identify(user_id="u-1")
            await (await visitor.event("said")).delivered(5)
            await answers(start({"content-type": "application/json"}), body(b"{}"))(
                scope, receive, send
            )

    middleware = UserComMiddleware(app, usercom.config())
    async with lifespan(middleware) as state:
        got = await call(middleware, state=dict(state))
    (key,) = usercom.store.users
    assert any(each.startswith(f"__ca__chat={key};") for each in got.set_cookies("__ca__chat"))
