"""The identity of one request: keys, people and resets."""

from __future__ import annotations

from typing import Any

from helpers.apps import app_with
from helpers.asgi_client import call, html, http_scope, lifespan
from helpers.fake_usercom import FakeUserCom
from starlette.types import Receive, Scope, Send

from usercom_asgi import Status, UserComMiddleware, get_visitor

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


async def test_session_second_reset_names_the_person(usercom: FakeUserCom) -> None:
    async def said(visitor: Any) -> None:
        await visitor.reset_auth()
        await visitor.reset_auth(user_id="42")
        assert visitor.user_id == "42"

    middleware = UserComMiddleware(app_with(said), usercom.config(reset_timeout=5))
    await call(middleware, headers={"cookie": f"__ca__chat={usercom.new_user()}"})
    _, new = usercom.store.users
    assert usercom.store.users[new].attributes == {"user_id": "42"}


async def test_session_user_id_and_equal_email_are_two_people(usercom: FakeUserCom) -> None:
    usercom.faults.latency(0.05)
    middleware = UserComMiddleware(html(PAGE), usercom.config())
    async with lifespan(middleware) as state:
        for who in ({"user_id": "bob@x.com"}, {"email": "bob@x.com"}):

            async def said(visitor: Any, who: dict[str, str] = who) -> None:
                visitor.identify(**who)
                await visitor.event("x")

            await call(UserComMiddleware(app_with(said), usercom.config()), state=dict(state))
    assert len({each.key for each in usercom.store.events}) == 2
