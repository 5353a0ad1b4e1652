"""The delivery against a sender of the test's own: order, bounds, retries."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from helpers.fake_sender import FakeSender, balanced, make_envelope, numbers, running
from helpers.fake_usercom import CONFIG, FakeUserCom
from helpers.waiting import until

from usercom_asgi import (
    Event,
    PageHit,
    ResetAuth,
    SqliteOutbox,
    Status,
    Update,
    UserComClient,
    UserComConfig,
)
from usercom_asgi.core.envelope import Envelope, PendingReset, SendResult
from usercom_asgi.core.exceptions import RejectedError, UnavailableError
from usercom_asgi.core.user_key import ResetMarker
from usercom_asgi.delivery.retry import RetryPolicy
from usercom_asgi.delivery.service import DeliveryService


async def test_service_commands_of_many_visitors_keep_order_per_visitor_and_run_parallel() -> None:
    post = FakeSender(delay=0.001)
    lanes = [random.choice("abcdefgh") for _ in range(200)]
    async with running(post) as runtime:
        for n, lane in enumerate(lanes):
            runtime.submit(make_envelope(n, lane))
    for lane in set(lanes):
        assert numbers(post, lane) == [n for n, each in enumerate(lanes) if each == lane]
    assert 1 < post.most <= CONFIG.max_concurrency


async def test_service_commands_of_one_visitor_are_sent_one_at_a_time() -> None:
    post = FakeSender(delay=0.001)
    async with running(post) as runtime:
        for n in range(20):
            runtime.submit(make_envelope(n))
    assert post.most == 1


async def test_service_slow_visitor_does_not_delay_other_visitors() -> None:
    class Slow(FakeSender):
        async def send(self, envelope: Envelope, key: str | None) -> SendResult:
            if envelope.ordering_key == "slow":
                await is_over.wait()
            return await super().send(envelope, key)

    post, is_over = Slow(), anyio.Event()
    async with running(post) as runtime:
        runtime.submit(make_envelope(0, "slow"))
        for n in range(50):
            runtime.submit(make_envelope(n, f"lane{n % 5}"))
        await until(lambda: len(post.sent) == 50)
        is_over.set()
    assert numbers(post, "slow") == [0]


async def test_service_queue_full_with_calls_in_flight_drops_the_newest_commands(
    caplog: pytest.LogCaptureFixture,
) -> None:
    post = FakeSender(holding=True)
    async with running(post, max_queue_size=5) as runtime:
        receipts = [runtime.submit(make_envelope(n, f"lane{n}")) for n in range(5)]
        await until(lambda: post.now == 5)
        receipts += [runtime.submit(make_envelope(n, f"lane{n}")) for n in range(5, 9)]
        post.release()
    assert [each.status for each in receipts] == [Status.DELIVERED] * 5 + [Status.DROPPED] * 4
    assert (runtime.stats.accepted, runtime.stats.delivered, runtime.stats.dropped) == (5, 5, 4)
    assert len([each for each in caplog.records if "max_queue_size" in each.message]) == 1


async def test_service_unavailable_answer_is_retried_in_order() -> None:
    post = FakeSender(UnavailableError("503"), UnavailableError("503"), UnavailableError("503"))
    async with running(post) as runtime:
        receipts = [runtime.submit(make_envelope(n)) for n in range(3)]
    assert numbers(post, "a") == [0, 0, 0, 0, 1, 2]
    assert {each.status for each in receipts} == {Status.DELIVERED}
    assert runtime.stats.retried == 3


async def test_service_rejected_command_is_dead_lettered_and_the_next_is_delivered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    post = FakeSender(RejectedError("answered 400", detail="secret value"))
    async with running(post) as runtime:
        receipts = [runtime.submit(make_envelope(n)) for n in range(2)]
    assert [each.status for each in receipts] == [Status.DEAD, Status.DELIVERED]
    assert "answered 400" in receipts[0].reason
    assert "secret value" not in caplog.text


async def test_service_internal_error_drops_one_command_and_delivers_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    post = FakeSender(ZeroDivisionError())
    async with running(post) as runtime:
        receipts = [runtime.submit(make_envelope(n)) for n in range(2)]
    assert [each.status for each in receipts] == [Status.DROPPED, Status.DELIVERED]


async def test_service_command_past_give_up_after_is_dead_lettered() -> None:
    post = FakeSender(*[UnavailableError("503")] * 10_000)
    async with running(
        post, retry=RetryPolicy(initial_delay=0.01, max_delay=0.01, give_up_after=0.1)
    ) as runtime:
        receipt = runtime.submit(make_envelope(1))
        assert not await receipt.delivered(20)
    assert receipt.status is Status.DEAD
    assert "given up" in receipt.reason


async def test_service_retry_after_delays_the_retry_at_least_that_long() -> None:
    post = FakeSender(UnavailableError("429", status=429, retry_after=0.3))
    async with running(post) as runtime:
        began = anyio.current_time()
        assert await runtime.submit(make_envelope(1)).delivered(20)
        assert anyio.current_time() - began >= 0.3


async def test_service_key_switched_by_a_hit_is_used_for_later_commands() -> None:
    """With Unified Identification a hit may return another key, which later commands use."""
    post = FakeSender(
        SendResult("switched", next_command=Event("said", {"n": 1})), SendResult("switched")
    )
    async with running(post) as runtime:
        hit = runtime.submit(
            Envelope(command=PageHit(event=Event("said", {"n": 1})), ordering_key="a", key="key")
        )
        runtime.submit(make_envelope(2))
    assert [key for _, _, key in post.sent] == ["key", "switched", "switched"]
    assert [type(command) for _, command, _ in post.sent] == [PageHit, Event, Event]
    assert hit.key == "switched"


async def test_service_next_command_that_fails_is_retried_without_its_hit() -> None:
    post = FakeSender(
        SendResult("k", next_command=Event("said", {"n": 1})), UnavailableError("503")
    )
    async with running(post) as runtime:
        runtime.submit(Envelope(command=PageHit(), ordering_key="a", key="key"))
    assert [type(command) for _, command, _ in post.sent] == [PageHit, Event, Event]


async def test_service_command_after_a_reset_waits_for_the_new_key() -> None:
    post = FakeSender(UnavailableError("429", not_sent=True), SendResult("new"))
    async with running(post) as runtime:
        runtime.submit(Envelope(command=ResetAuth(), ordering_key="reset"))
        runtime.submit(make_envelope(1, "reset", None))
    assert [key for _, _, key in post.sent] == [None, None, "new"]


async def test_service_reachable_in_an_outage_is_false_until_a_delivery_succeeds() -> None:
    post = FakeSender(*[UnavailableError("x")] * 10_000)
    async with running(post) as runtime:
        assert runtime.reachable
        receipt = runtime.submit(make_envelope(1))
        await until(lambda: not runtime.reachable)
        post.outcomes.clear()
        assert await receipt.delivered(20)
        assert runtime.reachable


async def test_service_submit_after_the_drain_drops_the_command() -> None:
    post = FakeSender()
    async with running(post) as runtime:
        pass
    assert runtime.submit(make_envelope(1)).status is Status.DROPPED


async def test_service_cancelled_with_a_call_in_flight_ends_and_drops_the_command() -> None:
    post = FakeSender(holding=True)
    config = UserComConfig(app="acme", api_key="ABC123", shutdown_timeout=0.1)
    runtime = DeliveryService(post.open, config)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            await tasks.start(runtime.run)
            receipt = runtime.submit(make_envelope(1))
            await until(lambda: post.now == 1)
            tasks.cancel_scope.cancel()
    assert receipt.status is Status.DROPPED


async def test_service_recall_beyond_the_limit_forgets_the_oldest_resets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("usercom_asgi.delivery.service.MAX_REMEMBERED", 3)
    post = FakeSender()
    async with running(post) as runtime:
        for n in range(5):
            runtime.remember(
                f"token{n}", PendingReset(ResetMarker.new("-"), runtime.submit(make_envelope(n)))
            )
        assert [runtime.recall(f"token{n}") is not None for n in range(5)] == [
            False,
            False,
            True,
            True,
            True,
        ]


async def test_service_reset_that_may_have_been_processed_is_not_retried() -> None:
    post = FakeSender(UnavailableError("ReadTimeout"))
    async with running(post) as runtime:
        receipt = runtime.submit(Envelope(command=ResetAuth(), ordering_key="reset"))
        assert not await receipt.delivered(20)
    assert len(post.sent) == 1
    assert receipt.status is Status.DROPPED


@pytest.mark.parametrize("jump", [8 * 3600, -8 * 3600, 10 * 365 * 86400])
async def test_service_jump_of_the_clock_while_commands_wait_loses_nothing(
    jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that boots with a wrong clock, and is put right by NTP while User.com is down."""
    post = FakeSender(*[UnavailableError("connect", not_sent=True)] * 12)
    async with running(post, retry=RetryPolicy(initial_delay=0.01, max_delay=0.1)) as runtime:
        commands = [make_envelope(n) for n in range(3)]
        commands.append(Envelope(command=ResetAuth(), ordering_key="reset"))
        receipts = [runtime.submit(each) for each in commands]
        await until(lambda: post.sent)
        real = time.time
        for module in ("queue", "service"):
            clock = SimpleNamespace(time=lambda: real() + jump)
            monkeypatch.setattr(f"usercom_asgi.delivery.{module}.time", clock)
        assert [await each.delivered(30) for each in receipts] == [True] * 4


@pytest.mark.waits
@pytest.mark.parametrize("retry_after", [None, 3600.0])
async def test_service_reset_after_its_deadline_is_dropped(
    retry_after: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usercom_asgi.delivery.retry.RESET_DEADLINE", 1.0)
    post = FakeSender(*[UnavailableError("429", retry_after=retry_after, not_sent=True)] * 10_000)
    async with running(post) as runtime:
        receipt = runtime.submit(Envelope(command=ResetAuth(), ordering_key="reset"))
        assert not await receipt.delivered(20)
        assert receipt.status is Status.DROPPED
        tries = len(post.sent)
        assert tries
        late = runtime.submit(
            Envelope(command=ResetAuth(), ordering_key="late", created_at=time.time() - 10)
        )
        assert not await late.delivered(20)
        assert late.status is Status.DROPPED
    assert len(post.sent) == tries  # the late one was never sent at all


async def test_service_hundreds_of_expired_resets_do_not_block_the_event_loop() -> None:
    post = FakeSender(*[UnavailableError("503")] * 3)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with running(
        post, retry=RetryPolicy(initial_delay=0.3, max_delay=0.3, give_up_after=100)
    ) as runtime:
        resets = [
            Envelope(command=ResetAuth(), ordering_key=f"late{n}", created_at=time.time() - 1000)
            for n in range(300)
        ]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(others)
            receipts = [runtime.submit(each) for each in resets]
            turns = 0
            await until(lambda: all(each.is_final for each in receipts))
            tasks.cancel_scope.cancel()
    assert {each.status for each in receipts} == {Status.DROPPED}
    assert post.sent == []
    assert turns > 300 / 8 / 2


async def test_service_removed_commands_are_returned_in_order_and_not_sent() -> None:
    post = FakeSender(SendResult("new"), holding=True)

    async def release() -> None:
        post.release()

    async with running(post, max_concurrency=1) as runtime, anyio.create_task_group() as tasks:
        known = {"user_id": "7"}
        envelopes = [
            Envelope(command=Event("said", {"n": n}), ordering_key="a", identity=known)
            for n in range(4)
        ]
        receipts = [runtime.submit(each) for each in [*envelopes, make_envelope(9, "b")]]
        await until(lambda: post.now == 1)
        tasks.start_soon(release)  # which gets its turn while the first one is waited for
        withdrawn = await runtime.remove(receipts[:4])
        assert receipts[0].status is Status.DELIVERED
        assert [each.receipt for each in withdrawn] == receipts[1:4]
        assert {each.envelope.key for each in withdrawn} == {"new"}
        for each in withdrawn[:2]:
            runtime.mark_forwarded(each, "elsewhere")
        runtime.dead_letter(withdrawn[2], "too old")
        assert not await receipts[1].delivered(20)
        assert await receipts[4].delivered(20)
    assert numbers(post, "a") == [0]
    assert [each.status for each in receipts[1:4]] == [
        Status.ACCEPTED,
        Status.ACCEPTED,
        Status.DEAD,
    ]
    assert receipts[1].reason == "elsewhere"
    stats = runtime.stats
    assert (
        stats.accepted,
        stats.delivered,
        stats.persisted,
        stats.dead_lettered,
        stats.waiting,
    ) == (
        5,
        2,
        2,
        1,
        0,
    )


async def test_service_remove_when_cancelled_puts_the_commands_back_in_order() -> None:
    """A broker's worker may cancel a task at any moment; its commands must not be in no lane and in no account."""
    post = FakeSender(holding=True)
    async with running(post, max_concurrency=1) as runtime:
        receipts = [runtime.submit(make_envelope(n, "a")) for n in range(5)]
        await until(lambda: post.now == 1)
        with anyio.move_on_after(0.05):
            await runtime.remove(receipts)
            pytest.fail("what is in flight was not waited for")
        post.release()
        assert await receipts[-1].delivered(20)
    assert numbers(post, "a") == list(range(5))
    assert (runtime.stats.delivered, runtime.stats.waiting) == (5, 0)


async def test_service_remove_of_commands_in_back_off_or_a_pause_returns_them() -> None:
    post = FakeSender(*[UnavailableError("429", status=429, retry_after=60.0)] * 10)
    async with running(post, shutdown_timeout=0.1) as runtime:
        receipts = [runtime.submit(make_envelope(n, f"lane{n}")) for n in range(20)]
        await until(lambda: not runtime.reachable)
        assert len(await runtime.remove(receipts)) == 20
        assert await runtime.remove(receipts) == []
        again = runtime.submit(make_envelope(0, "lane0"))
        assert len(await runtime.remove([again])) == 1


@pytest.mark.waits
async def test_service_reset_goes_before_a_backlog() -> None:
    """A response waits for its answer; and ten seconds later it would not be ours any more."""
    post = FakeSender(delay=0.01)
    async with running(post, max_concurrency=1) as runtime:
        for n in range(100):
            runtime.submit(make_envelope(n, f"lane{n}"))
        await until(lambda: len(post.sent) > 2)
        before = len(post.sent)
        reset = runtime.submit(Envelope(command=ResetAuth(), ordering_key="token", may_create=True))
        assert await reset.delivered(20)
    assert before < 90
    assert [lane for lane, _, _ in post.sent].index("token") <= before + 1  # one was on its way


async def test_service_drain_in_a_pause_waits_for_calls_in_flight() -> None:
    class Mixed(FakeSender):
        async def send(self, envelope: Envelope, key: str | None) -> SendResult:
            if envelope.ordering_key == "limited":
                raise UnavailableError("429", status=429, retry_after=60)
            return await super().send(envelope, key)

    post = Mixed(holding=True)

    async def release(runtime: DeliveryService) -> None:
        await until(lambda: runtime.readiness().state == "closed")
        await anyio.sleep(0.4)  # while it looks whether there is any hope left
        post.release()

    async with anyio.create_task_group() as tasks, running(post) as runtime:
        receipts = [runtime.submit(make_envelope(n, f"lane{n}")) for n in range(7)]
        await until(lambda: post.now == 7)
        runtime.submit(make_envelope(9, "limited"))
        await until(lambda: runtime.readiness().state == "paused")
        tasks.start_soon(release, runtime)
    assert {each.status for each in receipts} == {Status.DELIVERED}
    assert runtime.stats.dropped == 1


async def test_service_rejected_update_does_not_affect_other_updates() -> None:
    class Picky(FakeSender):
        async def send(self, envelope: Envelope, key: str | None) -> SendResult:
            answer = await super().send(envelope, key)
            if isinstance(envelope.command, Update) and "bad" in envelope.command.attributes:
                raise RejectedError("answered 400", status=400)
            return answer

    post = Picky(holding=True)
    async with running(post) as runtime:
        runtime.submit(make_envelope(0))
        await until(lambda: post.now == 1)
        receipts = [
            runtime.submit(Envelope(command=Update(each), ordering_key="a", key="key"))
            for each in ({"a": 1}, {"bad": 1}, {"b": 2})
        ]
        post.release()
        assert [await each.delivered(20) for each in receipts] == [True, False, True]
    assert runtime.stats.dead_lettered == 1
    assert balanced(runtime)


async def test_service_that_cannot_run_drops_with_a_reason() -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[Any]:
        raise OSError("no certificates")
        yield

    runtime = DeliveryService(broken, CONFIG)
    async with anyio.create_task_group() as tasks:
        await tasks.start(runtime.run)
        assert (
            "cannot run"
            in runtime.submit(Envelope(command=PageHit(), ordering_key="a", key="k")).reason
        )
        await runtime.drain()


async def test_service_start_is_one_line_at_info_and_deliveries_are_at_debug(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG, "usercom_asgi")
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    for given, shown in ((None, "MemoryOutbox()"), (outbox, repr(outbox))):
        caplog.clear()
        async with UserComClient(usercom.config(), outbox=given) as client:
            await client.visitor(key=usercom.new_user()).event("renewed", plan="secretplan")
        lines = [(each.levelname, each.getMessage()) for each in caplog.records]
        assert lines == [
            ("INFO", f"Delivering commands to {usercom.url}: channel widget, outbox {shown}"),
            ("DEBUG", "Delivered Event('renewed', data={plan})"),
            (
                "INFO",
                "Delivered to User.com: 1, left in the outbox: 0, dropped: 0, dead letters: 0",
            ),
        ]


async def test_service_flush_waits_for_commands_in_flight() -> None:
    post = FakeSender(delay=0.01)
    async with running(post) as runtime:
        for n in range(3):
            runtime.submit(make_envelope(n))
        assert not await runtime.flush(0)
        assert await runtime.flush()
        assert [command.data["n"] for _, command, _ in post.sent] == [0, 1, 2]
        runtime.submit(make_envelope(3))  # it still accepts


async def test_service_flush_waits_for_the_file_of_an_outbox(
    tmp_path: Path, usercom: FakeUserCom
) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    async with UserComClient(UserComConfig.sandbox(usercom.url), outbox=outbox) as client:
        await client.visitor(user_id=7).event("renewed")
        assert client.delivery is not None
        before = anyio.current_time()
        assert await client.delivery.flush(20)
        assert anyio.current_time() - before < 10
        assert client.delivery.readiness().persisted == 0


async def test_service_flush_after_the_end_returns_at_once() -> None:
    async with running(FakeSender()) as runtime:
        pass
    assert await runtime.flush(20)


async def test_service_with_a_transport_that_raises_cancelled_loses_one_command() -> None:
    post = FakeSender(asyncio.CancelledError())
    async with running(post, max_concurrency=1) as service:
        lost, kept = service.submit(make_envelope(1)), service.submit(make_envelope(2))
        assert await kept.delivered(30)
    assert lost.status is Status.DROPPED


async def test_readiness_in_a_thread_without_an_event_loop_is_the_same() -> None:
    post = FakeSender(UnavailableError("429", retry_after=100.0, status=429))
    async with running(post, shutdown_timeout=0) as runtime:
        runtime.submit(make_envelope(1))
        await until(lambda: runtime.readiness().state == "paused")
        with ThreadPoolExecutor(1) as pool:
            seen = await anyio.to_thread.run_sync(lambda: pool.submit(runtime.readiness).result(20))
        assert seen.state == "paused"
        assert 50 < seen.resumes_in <= 100
