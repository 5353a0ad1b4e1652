"""Delivery by a request itself, where the server runs no lifespan."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from helpers.apps import app_with
from helpers.asgi_client import Recorded, body, call, call_until, html, lifespan, start
from helpers.fake_sender import FakeSender, make_envelope
from helpers.fake_usercom import CONFIG, FakeUserCom
from helpers.waiting import until
from starlette.types import Receive, Scope, Send

from usercom_asgi import Event, Outcome, ResetAuth, Status, UserComMiddleware, get_visitor
from usercom_asgi.core.envelope import Envelope, SendResult
from usercom_asgi.core.exceptions import RejectedError, UnavailableError
from usercom_asgi.core.receipts import OutcomeCallbacks
from usercom_asgi.delivery.inline import InlineDelivery
from usercom_asgi.delivery.log_throttle import LogThrottle
from usercom_asgi.delivery.recorder import OutcomeHooks


async def test_inline_slow_reset_is_not_cut_off(usercom: FakeUserCom) -> None:
    async def handler(visitor: Any) -> None:
        await visitor.reset_auth()
        await visitor.event("after")

    usercom.faults.latency(60)
    middleware = UserComMiddleware(app_with(handler), usercom.config(reset_timeout=0, timeout=60))
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
    async def handler(visitor: Any) -> None:
        for n in range(2000):
            await visitor.event("x", n=n)

    middleware = UserComMiddleware(app_with(handler), usercom.config(inline_deadline=0))
    with anyio.fail_after(30):
        await call(middleware, headers={"cookie": f"__ca__chat={usercom.new_user()}"})


async def test_inline_cancelled_request_delivers_its_accepted_commands(
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
        "Not delivered to User.com before the deadline after the response: 1 commands"
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


RESET = Envelope(command=ResetAuth(), ordering_key="token", may_create=True)


def inline(
    post: FakeSender, outcomes: list[Outcome] | None = None, **options: Any
) -> InlineDelivery:
    add = None if outcomes is None else outcomes.append
    callbacks = OutcomeCallbacks(on_delivered=add, on_dropped=add, on_dead=add)
    return InlineDelivery(post.open, CONFIG, OutcomeHooks(callbacks), LogThrottle(), **options)


async def test_inline_commands_are_sent_in_order_after_the_request_and_a_reset_first() -> None:
    post = FakeSender(SendResult("NEW"))
    async with inline(post) as delivery:
        receipts = [delivery.submit(make_envelope(n)) for n in range(2)]
        receipts.append(delivery.submit(RESET))
        receipts.append(delivery.submit(make_envelope(2, "token", None)))
        await anyio.sleep(0.05)
        assert post.sent == []
    assert [lane for lane, _, _ in post.sent] == ["token", "a", "a", "token"]
    assert post.sent[-1][2] == "NEW"
    assert {each.status for each in receipts} == {Status.DELIVERED}
    assert receipts[2].key == "NEW"


async def test_inline_transport_that_raises_cancelled_does_not_end_the_request() -> None:
    async with inline(FakeSender(asyncio.CancelledError())) as delivery:
        receipt = delivery.submit(make_envelope(1))
    assert receipt.status is Status.DROPPED


async def test_inline_request_without_commands_opens_no_sender() -> None:
    post = FakeSender()
    async with inline(post):
        pass
    assert not post.closed


async def test_inline_failed_command_is_not_repeated_and_costs_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcomes: list[Outcome] = []
    post = FakeSender(UnavailableError("503"), RejectedError("404", status=404, detail="unknown"))
    async with inline(post, outcomes) as delivery:
        receipts = [delivery.submit(make_envelope(n)) for n in range(3)]
    assert [each.status for each in receipts] == [Status.DROPPED, Status.DEAD, Status.DELIVERED]
    assert [each.status for each in outcomes] == [each.status for each in receipts]
    assert (outcomes[1].http_status, outcomes[1].detail) == (404, "unknown")
    assert len(post.sent) == 3
    assert "Command was not delivered to User.com: Event('said'" in caplog.text


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("down", ["Command was not delivered to User.com"]),
        ("401", ["User.com rejected the API key", "Command was not delivered to User.com"]),
    ],
)
async def test_inline_failures_of_many_requests_are_logged_once(
    fault: str, expected: list[str], usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    if fault == "down":
        usercom.faults.down()
    else:
        usercom.faults.status(401)
    middleware = UserComMiddleware(app_with(lambda visitor: visitor.event("x")), usercom.config())
    for _ in range(3):
        await call(middleware, headers={"cookie": f"__ca__chat={usercom.new_user()}"})
    logged = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(logged) == len(expected)
    assert all(line.startswith(start) for line, start in zip(logged, expected, strict=True))


async def test_inline_waiting_for_a_receipt_starts_the_delivery_while_the_request_runs() -> None:
    post = FakeSender()
    async with inline(post) as delivery:
        assert await delivery.submit(make_envelope(1)).delivered(5)
        later = delivery.submit(make_envelope(2))
        assert await later.delivered(5)
    assert len(post.sent) == 2


async def test_inline_wait_for_a_reset_ends_in_time_and_does_not_cut_its_call_off() -> None:
    post = FakeSender(SendResult("NEW"), delay=0.2)
    async with inline(post) as delivery:
        reset = delivery.submit(RESET)
        await delivery.wait_for(reset, 0.02)
        assert not reset.is_final
    assert reset.key == "NEW"


async def test_inline_command_after_the_request_is_dropped() -> None:
    async with inline(FakeSender()) as delivery:
        pass
    assert delivery.submit(make_envelope(1)).reason == "the request is over"


async def test_inline_delivery_that_cannot_run_costs_the_commands_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[Any]:
        raise OSError("no certificates")
        yield

    hooks = OutcomeHooks(OutcomeCallbacks())
    async with InlineDelivery(broken, CONFIG, hooks, LogThrottle()) as delivery:
        receipt = delivery.submit(make_envelope(1))
    assert receipt.status is Status.DROPPED
    assert "cannot run" in caplog.text


async def test_inline_cancelled_request_delivers_as_well() -> None:
    post = FakeSender(delay=0.05)
    with anyio.CancelScope() as scope:
        async with inline(post) as delivery:
            receipt = delivery.submit(make_envelope(1))
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert receipt.status is Status.DELIVERED
