"""Delivery by a request itself, where the server runs no lifespan."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest
from helpers.apps import app_with
from helpers.asgi_client import Recorded, body, call, call_until, html, lifespan, start
from helpers.fake_usercom import FakeUserCom
from helpers.waiting import until
from starlette.types import Receive, Scope, Send

from usercom_asgi import Event, Status, UserComMiddleware, get_visitor


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


PAGE = b"<html><body><p>hello</p></body></html>"


async def test_inline_client_that_disconnects_loses_no_command(usercom: FakeUserCom) -> None:
    """The server cancels the request, or its send does nothing any more; what was accepted is delivered all the same."""
    key = usercom.new_user()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await get_visitor(scope).event("seen")
        await send(start())
        await send(body(PAGE[:20], more=True))
        in_the_middle.set()
        await anyio.sleep_forever()

    middleware = UserComMiddleware(app, usercom.config())
    in_the_middle = anyio.Event()
    async with lifespan(middleware) as state:
        await call_until(
            in_the_middle, middleware, headers={"cookie": f"__ca__chat={key}"}, state=dict(state)
        )
    assert [each.key for each in usercom.store.events] == [key]


async def test_inline_delivers_after_the_response(usercom: FakeUserCom) -> None:
    key = usercom.new_user()
    order: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        await visitor.page_hit(event=Event("bought"))
        await visitor.event("thanked")
        await html(PAGE)(scope, receive, send)
        order.append(f"answered, {len(usercom.store.hits)} sent")

    await call(UserComMiddleware(app, usercom.config()), headers={"cookie": f"__ca__chat={key}"})
    assert order == ["answered, 0 sent"]
    assert [each.name for each in usercom.store.events] == ["bought", "thanked"]


async def test_inline_delivery_ends_at_its_deadline(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    usercom.faults.hang()
    receipts: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        receipts.append(await get_visitor(scope).event("x"))
        await html(PAGE)(scope, receive, send)

    with anyio.fail_after(20):
        await call(
            UserComMiddleware(app, usercom.config(inline_deadline=0.2)),
            headers={"cookie": "__ca__chat=abc123"},
        )
    assert receipts[0].status is Status.DROPPED
    assert (
        "Not delivered to User.com before the deadline behind the response: 1 commands"
        in caplog.text
    )


async def test_inline_receipt_can_be_waited_for(usercom: FakeUserCom) -> None:
    key = usercom.new_user()
    outcomes: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        outcomes.append(await (await get_visitor(scope).event("x")).delivered(timeout=5))
        outcomes.append(await (await get_visitor(scope).event("y")).delivered(timeout=5))
        await html(PAGE)(scope, receive, send)

    await call(UserComMiddleware(app, usercom.config()), headers={"cookie": f"__ca__chat={key}"})
    assert outcomes == [True, True]
