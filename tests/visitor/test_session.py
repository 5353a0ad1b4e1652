"""The identity of one request: keys, people and resets."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from helpers.apps import app_with
from helpers.asgi_client import call, html, http_scope, lifespan
from helpers.fake_usercom import FakeUserCom
from starlette.types import Receive, Scope, Send

from usercom_asgi import Status, UserComMiddleware, get_visitor
from usercom_asgi.delivery.service import DeliveryService

PAGE = b"<html><body>hello</body></html>"


async def test_session_of_a_websocket_skips_the_reset(usercom: FakeUserCom) -> None:
    receipts: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        receipts.append(await get_visitor(scope).reset_auth())
        receipts.append(await get_visitor(scope).event("still here"))
        assert await receipts[-1].delivered(
            5
        )  # although the socket is open, and there is no lifespan

    key = usercom.new_user()
    scope = {
        **http_scope(headers={"cookie": f"__ca__chat={key}"}, scheme="ws"),
        "type": "websocket",
    }
    del scope["method"]
    await UserComMiddleware(app, usercom.config())(scope, None, None)  # type: ignore[arg-type]
    assert (receipts[0].status, len(usercom.store.users)) == (Status.SKIPPED, 1)
    assert usercom.store.events[0].key == key


async def test_session_second_reset_with_a_user_id_identifies_the_new_user(
    usercom: FakeUserCom,
) -> None:
    async def send_commands(visitor: Any) -> None:
        await visitor.reset_auth()
        await visitor.reset_auth(user_id="42")
        assert visitor.user_id == "42"

    middleware = UserComMiddleware(app_with(send_commands), usercom.config(reset_timeout=5))
    await call(middleware, headers={"cookie": f"__ca__chat={usercom.new_user()}"})
    _, new = usercom.store.users
    assert usercom.store.users[new].attributes == {"user_id": "42"}


async def test_session_user_id_and_equal_email_are_two_people(usercom: FakeUserCom) -> None:
    usercom.faults.latency(0.05)
    middleware = UserComMiddleware(html(PAGE), usercom.config())
    async with lifespan(middleware) as state:
        for who in ({"user_id": "bob@x.com"}, {"email": "bob@x.com"}):

            async def send_commands(visitor: Any, who: dict[str, str] = who) -> None:
                visitor.identify(**who)
                await visitor.event("x")

            await call(
                UserComMiddleware(app_with(send_commands), usercom.config()), state=dict(state)
            )
    assert len({each.key for each in usercom.store.events}) == 2


HELLO = b"<html><body><p>hello</p></body></html>"


async def test_session_hit_of_an_anonymous_visitor_is_skipped_with_a_reason(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "usercom_asgi")
    receipts: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        receipts.append(await get_visitor(scope).page_hit())
        receipts.append(await get_visitor(scope).event("x"))
        await html(HELLO)(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config())
    async with lifespan(middleware) as state:
        await call(middleware, state=dict(state))
        [runtime] = [each for each in state.values() if isinstance(each, DeliveryService)]
        assert (runtime.stats.skipped, runtime.stats.accepted) == (2, 0)
    assert (
        "Skipping Event('x', data={}) of the path '/': the visitor has no user key" in caplog.text
    )
    assert [each.status for each in receipts] == [Status.SKIPPED] * 2
    assert "no user key" in receipts[0].reason
    assert not await receipts[0].delivered()
    assert (usercom.store.hits, usercom.store.users) == ([], {})


async def test_session_person_without_a_key_is_found_by_user_id(usercom: FakeUserCom) -> None:
    """The visitor whose browser blocks the widget: no cookie, and the purchase counts all the same."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        visitor.identify(user_id="u-1")
        await visitor.event("purchase", n=1)
        await visitor.event("purchase", n=2)
        await html(HELLO)(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config())
    async with lifespan(middleware) as state:
        await call(middleware, state=dict(state))
        await call(middleware, state=dict(state))
    [user] = usercom.store.users.values()
    assert user.attributes["user_id"] == "u-1"
    assert [each.data["n"] for each in usercom.store.events] == [1, 2, 1, 2]
