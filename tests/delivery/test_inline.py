"""Delivery without a lifespan: one request's commands, one try each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from conftest import CONFIG
from posting import Post, said

from usercom_asgi import Outcome, ResetAuth, Status
from usercom_asgi.core.envelope import Envelope, SendResult
from usercom_asgi.core.exceptions import RejectedError, UnavailableError
from usercom_asgi.core.receipts import OutcomeCallbacks
from usercom_asgi.delivery.inline import InlineDelivery
from usercom_asgi.delivery.recorder import OutcomeHooks

RESET = Envelope(command=ResetAuth(), ordering_key="token", may_create=True)


def inline(post: Post, outcomes: list[Outcome] | None = None, **options: Any) -> InlineDelivery:
    add = None if outcomes is None else outcomes.append
    callbacks = OutcomeCallbacks(on_delivered=add, on_dropped=add, on_dead=add)
    return InlineDelivery(post.open, CONFIG, OutcomeHooks(callbacks), **options)


async def test_commands_are_sent_in_order_after_the_request_and_a_reset_first() -> None:
    post = Post(SendResult("NEW"))
    async with inline(post) as delivery:
        receipts = [delivery.submit(said(n)) for n in range(2)]
        receipts.append(delivery.submit(RESET))
        receipts.append(delivery.submit(said(2, "token", None)))
        await anyio.sleep(0.05)
        assert post.sent == []
    assert [lane for lane, _, _ in post.sent] == ["token", "a", "a", "token"]
    assert post.sent[-1][2] == "NEW"
    assert {each.status for each in receipts} == {Status.DELIVERED}
    assert receipts[2].key == "NEW"


async def test_request_without_commands_opens_no_sender() -> None:
    post = Post()
    async with inline(post):
        pass
    assert not post.closed


async def test_failed_command_is_not_repeated_and_costs_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcomes: list[Outcome] = []
    post = Post(UnavailableError("503"), RejectedError("404", status=404, detail="unknown"))
    async with inline(post, outcomes) as delivery:
        receipts = [delivery.submit(said(n)) for n in range(3)]
    assert [each.status for each in receipts] == [Status.DROPPED, Status.DEAD, Status.DELIVERED]
    assert [each.status for each in outcomes] == [each.status for each in receipts]
    assert (outcomes[1].http_status, outcomes[1].detail) == (404, "unknown")
    assert len(post.sent) == 3
    assert "Command was not delivered to User.com: Event('said'" in caplog.text


async def test_waiting_for_a_receipt_starts_the_delivery_while_the_request_runs() -> None:
    post = Post()
    async with inline(post) as delivery:
        assert await delivery.submit(said(1)).delivered(5)
        later = delivery.submit(said(2))
        assert await later.delivered(5)
    assert len(post.sent) == 2


async def test_wait_for_a_reset_ends_in_time_and_does_not_cut_its_call_off() -> None:
    post = Post(SendResult("NEW"), delay=0.2)
    async with inline(post) as delivery:
        reset = delivery.submit(RESET)
        await delivery.wait_for(reset, 0.02)
        assert not reset.is_final
    assert reset.key == "NEW"


async def test_command_after_the_request_is_dropped() -> None:
    async with inline(Post()) as delivery:
        pass
    assert delivery.submit(said(1)).reason == "the request is over"


async def test_delivery_that_cannot_run_costs_the_commands_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[Any]:
        raise OSError("no certificates")
        yield

    async with InlineDelivery(broken, CONFIG, OutcomeHooks(OutcomeCallbacks())) as delivery:
        receipt = delivery.submit(said(1))
    assert receipt.status is Status.DROPPED
    assert "cannot run" in caplog.text


async def test_cancelled_request_delivers_as_well() -> None:
    post = Post(delay=0.05)
    with anyio.CancelScope() as scope:
        async with inline(post) as delivery:
            receipt = delivery.submit(said(1))
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert receipt.status is Status.DELIVERED
