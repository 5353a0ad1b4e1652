"""Delivery by a request itself, where the server runs no lifespan."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
from helpers.apps import app_with
from helpers.asgi_client import Recorded, call, call_until
from helpers.fake_usercom import FakeUserCom
from helpers.waiting import until
from starlette.types import Receive, Scope, Send

from usercom_asgi import UserComMiddleware, get_visitor


async def test_inline_slow_reset_is_not_cut_off(usercom: FakeUserCom) -> None:
    async def said(visitor: Any) -> None:
        await visitor.reset_auth()
        await visitor.event("after")

    usercom.faults.latency(60)
    middleware = UserComMiddleware(app_with(said), usercom.config(reset_timeout=0, timeout=60))
    got = Recorded({})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            partial(call, middleware, headers={"cookie": "__ca__chat=abc123"}, record=got)
        )
        await until(
            lambda: got.messages and not got.messages[-1].get("more_body", True)
        )  # the response is out
        usercom.faults.clear()
    assert b"widget.js" not in got.body
    [new] = usercom.store.users
    assert [each.key for each in usercom.store.events] == [new]


async def test_inline_two_thousand_events_do_not_stop_the_loop(
    usercom: FakeUserCom,
) -> None:
    async def said(visitor: Any) -> None:
        for n in range(2000):
            await visitor.event("x", n=n)

    middleware = UserComMiddleware(app_with(said), usercom.config(inline_deadline=0))
    with anyio.fail_after(30):
        await call(middleware, headers={"cookie": f"__ca__chat={usercom.new_user()}"})


async def test_inline_cancelled_request_delivers_what_it_has_accepted(
    usercom: FakeUserCom,
) -> None:
    key = usercom.new_user()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await get_visitor(scope).event("x")
        has_browser_commands.set()
        await anyio.sleep_forever()

    has_browser_commands = anyio.Event()
    await call_until(
        has_browser_commands,
        UserComMiddleware(app, usercom.config()),
        headers={"cookie": f"__ca__chat={key}"},
    )
    assert [each.key for each in usercom.store.events] == [key]
