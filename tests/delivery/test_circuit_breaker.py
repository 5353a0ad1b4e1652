"""All workers behind one gate: pauses, pacing, probes, and a key that is refused."""

from __future__ import annotations

import logging
import time
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from helpers.fake_sender import FakeSender, make_envelope, numbers, running
from helpers.fake_usercom import FakeUserCom
from helpers.waiting import until

from usercom_asgi import Event, ResetAuth, Status, UserComClient
from usercom_asgi.core.envelope import Envelope, SendResult
from usercom_asgi.core.exceptions import RejectedError, UnavailableError
from usercom_asgi.delivery.circuit_breaker import FAILURE_THRESHOLD, CircuitBreaker
from usercom_asgi.delivery.retry import RetryPolicy


class FailingSender(FakeSender):
    """Fails until ``error`` is None; ``asked`` records the time of each call."""

    def __init__(self, error: Exception, delay: float = 0.0) -> None:
        super().__init__(delay=delay)
        self.error: Exception | None = error
        self.asked: list[float] = []

    async def send(self, envelope: Envelope, key: str | None) -> SendResult:
        self.asked.append(anyio.current_time())
        if (error := self.error) is not None:
            await anyio.sleep(self.delay)
            raise error
        return await super().send(envelope, key)


@pytest.mark.slow
async def test_breaker_retry_after_of_one_visitor_pauses_all_visitors(usercom: FakeUserCom) -> None:
    keys = [usercom.new_user() for _ in range(6)]
    usercom.faults.status(429, headers={"Retry-After": "3"}, times=1)
    async with UserComClient(usercom.config()) as client:
        await client.send(Event("first"), key=keys[0])
        await until(lambda: client.delivery is not None and client.delivery.stats.retried == 1)
        assert client.delivery is not None
        assert client.delivery.readiness().state == "paused"
        left = client.delivery.readiness().resumes_in
        end = time.monotonic() + left
        assert 0.5 < left <= 3
        for key in keys[1:]:
            await client.send(Event("then"), key=key)
        await anyio.sleep(0.6)
        assert usercom.store.events == []
    assert time.monotonic() > end - 0.1
    assert len(usercom.store.events) == 6


@pytest.mark.parametrize("after", [SendResult("a"), RejectedError("404", status=404)])
async def test_breaker_call_in_flight_that_ends_after_a_429_does_not_end_the_pause(
    after: Any,
) -> None:
    """At a rate limit, some of the concurrent calls get a 429 while others still succeed."""
    post = FakeSender(UnavailableError("429", status=429, retry_after=60), after, delay=0.05)
    async with running(post) as runtime:
        for n in range(2):
            runtime.submit(make_envelope(n, ordering_key=str(n)))
        await until(lambda: len(post.sent) == 2)
        await anyio.sleep(0.1)
        for n in range(5):
            runtime.submit(make_envelope(n, ordering_key=f"later {n}"))
        await anyio.sleep(0.3)
        assert len(post.sent) == 2
        assert runtime.readiness().state == "paused"
        assert runtime.readiness().resumes_in > 50


@pytest.mark.waits
async def test_breaker_after_repeated_failures_sends_single_probes_then_resumes_all() -> None:
    post = FailingSender(UnavailableError("ConnectError"), delay=0.005)
    async with running(post, retry=RetryPolicy(initial_delay=0.2, max_delay=0.2)) as runtime:
        began = time.monotonic()
        for n in range(200):
            runtime.submit(make_envelope(n, f"lane{n % 50}"))
        await anyio.sleep(1.5)
        tried = len(post.asked)
        # The workers that were under way when it was noticed, and then one every 0.1 to 0.2 seconds.
        assert (
            FAILURE_THRESHOLD
            <= tried
            <= 8 + FAILURE_THRESHOLD + 1 + (time.monotonic() - began) / 0.1
        )
        assert runtime.readiness().state in ("paused", "failing")
        assert not runtime.reachable
        post.error = None
        post.delay = 0.0
        # The backlog is then sent at once. A back-off for each lane would take half a minute.
        await until(lambda: len(post.sent) == 200, within=10)
        assert runtime.reachable
    for lane in range(50):
        assert numbers(post, f"lane{lane}") == list(range(lane, 200, 50))


async def test_breaker_with_requests_per_second_spaces_out_the_calls() -> None:
    post = FakeSender()
    async with running(post, requests_per_second=50) as runtime:
        began = time.monotonic()
        for n in range(20):
            runtime.submit(make_envelope(n, f"lane{n}"))
        await until(lambda: len(post.sent) == 20)
        assert time.monotonic() - began > 0.36


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 403])
async def test_breaker_rejected_api_key_pauses_sending_and_loses_no_command(
    status: int,
    usercom: FakeUserCom,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("usercom_asgi.delivery.circuit_breaker.AUTH_RETRY_INITIAL", 0.4)
    keys = [usercom.new_user() for _ in range(20)]
    usercom.faults.status(status)
    began = time.monotonic()
    async with UserComClient(usercom.config()) as client:
        receipts = [
            await client.send(Event("said", {"n": n}), key=keys[n % 20]) for n in range(100)
        ]
        assert client.delivery is not None
        await until(
            lambda: (
                client.delivery is not None and client.delivery.readiness().state == "unauthorized"
            )
        )
        await anyio.sleep(0.3)
        rejected = client.delivery.stats.retried
        # Those that were under way, and no hammering after that: 0.4 s, and then twice as long each time.
        assert rejected <= 8 + FAILURE_THRESHOLD + (time.monotonic() - began) / 0.4
        usercom.faults.clear()
        assert all([await each.delivered(20) for each in receipts])
        assert client.delivery.readiness().state == "sending"
    assert len(usercom.store.events) == 100
    [loud] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert str(status) in loud.message
    assert "api_key" in loud.message
    assert (
        len([each for each in caplog.records if "accepts the API key again" in each.message]) == 1
    )


async def test_breaker_403_of_one_visitor_does_not_pause_other_visitors() -> None:
    """A strange Host header must not stop the delivery of others (docs/usercom.md, 3)."""

    class RejectingSender(FakeSender):
        async def send(self, envelope: Envelope, key: str | None) -> SendResult:
            if envelope.ordering_key == "evil":
                before = len(self.sent)
                await until(lambda: len(self.sent) > before)  # while commands of others pass
                raise RejectedError("POST /api/event/ answered 403", status=403)
            return await super().send(envelope, key)

    post, others = RejectingSender(delay=0.002), 0
    async with running(post) as runtime:
        evil = runtime.submit(make_envelope(0, "evil"))
        with anyio.fail_after(20):
            while not evil.is_final:
                runtime.submit(make_envelope(others, f"lane{others % 4}"))
                others += 1
                await anyio.sleep(0.002)
        await until(lambda: len(post.sent) == others)
    assert evil.status is Status.DEAD
    assert runtime.stats.dead_lettered == 1


async def test_breaker_reset_with_a_rejected_api_key_is_dropped() -> None:
    post = FailingSender(RejectedError("answered 401", status=401))
    async with running(post, shutdown_timeout=0.1) as runtime:
        receipt = runtime.submit(
            Envelope(command=ResetAuth(), ordering_key="reset", may_create=True)
        )
        assert not await receipt.delivered(20)
        assert receipt.status is Status.DROPPED


async def test_breaker_drain_in_a_pause_longer_than_its_timeout_ends_early(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("usercom_asgi.delivery.circuit_breaker.AUTH_RETRY_INITIAL", 600.0)
    for error in (
        UnavailableError("429", status=429, retry_after=600),
        RejectedError("401", status=401),
    ):
        post = FailingSender(error)
        began = time.monotonic()
        async with running(post, shutdown_timeout=60) as runtime:
            runtime.submit(make_envelope(1))
            await until(lambda post=post: len(post.asked) > 0)  # type: ignore[misc]
        assert time.monotonic() - began < 20
        assert runtime.stats.dropped == 1
    assert "the last failure: 429" in caplog.text


async def test_breaker_drain_with_commands_in_back_off_retries_them_at_once() -> None:
    post = FailingSender(UnavailableError("503"))
    async with running(post, retry=RetryPolicy(initial_delay=600), shutdown_timeout=30) as runtime:
        receipts = [runtime.submit(make_envelope(n, f"lane{n}")) for n in range(10)]
        # A call that fails in the drain would open the circuit for longer than the drain takes.
        await until(lambda: FAILURE_THRESHOLD <= len(post.asked) == runtime.stats.retried)
        post.error = None
    assert {each.status for each in receipts} == {Status.DELIVERED}


async def test_breaker_drain_with_a_call_under_way_that_fails_retries_it_at_once() -> None:
    post = FakeSender(UnavailableError("503"), delay=0.1)
    async with running(post, retry=RetryPolicy(initial_delay=600)) as runtime:
        receipt = runtime.submit(make_envelope(1))
        await until(lambda: post.now)
    assert receipt.status is Status.DELIVERED
    assert len(post.sent) == 2


async def test_breaker_drain_with_failing_retries_ends_at_shutdown_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    post = FailingSender(UnavailableError("503"), delay=0.05)
    began = time.monotonic()
    async with running(
        post, retry=RetryPolicy(initial_delay=0.05, max_delay=0.1), shutdown_timeout=0.6
    ) as runtime:
        for n in range(30):
            runtime.submit(make_envelope(n, f"lane{n}"))
    assert 0.5 < time.monotonic() - began < 10
    assert runtime.stats.dropped == 30
    [line] = [each.message for each in caplog.records if each.message.startswith("Delivered to")]
    assert "dropped: 30" in line


async def test_readiness_with_a_full_queue_is_not_accepting_and_stats_add_up() -> None:
    post = FakeSender(holding=True)
    async with running(post, max_queue_size=2) as runtime:
        assert runtime.readiness().state == "sending"
        assert runtime.readiness().is_accepting
        for n in range(3):
            runtime.submit(make_envelope(n))
        await anyio.sleep(0.05)
        ready, stats = runtime.readiness(), runtime.stats
        assert not ready.is_accepting
        assert (stats.accepted, stats.rejected, stats.dropped, stats.waiting) == (2, 1, 1, 2)
        assert 0.04 < stats.oldest_age < 20
        assert ready.oldest_age > 0.04
        post.release()
    assert runtime.readiness().state == "closed"
    stats = runtime.stats
    assert (
        stats.accepted + stats.rejected
        == stats.delivered + stats.dropped + stats.dead_lettered + stats.persisted + stats.waiting
    )


async def test_breaker_burst_of_429_is_one_pause() -> None:
    breaker = CircuitBreaker(RetryPolicy())
    async with AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(breaker.call()) for _ in range(8)]
        for n, each in enumerate(calls):
            each.fail(UnavailableError("429", status=429, retry_after=1), f"visitor {n}")
    assert breaker.resumes_at - anyio.current_time() <= 1.01


async def test_breaker_command_that_was_never_sent_keeps_the_unauthorized_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("usercom_asgi.delivery.circuit_breaker.AUTH_RETRY_INITIAL", 0.05)

    class UnauthorizedSender(FakeSender):
        async def send(self, envelope: Envelope, key: str | None) -> SendResult:
            if envelope.ordering_key == "nameless":
                raise RejectedError("there is neither a user key nor a known user")
            raise RejectedError("401", status=401)

    async with running(UnauthorizedSender(), shutdown_timeout=0.1) as runtime:
        runtime.submit(make_envelope(0))
        await until(lambda: runtime.readiness().state == "unauthorized")
        nameless = runtime.submit(make_envelope(1, "nameless"))
        assert not await nameless.delivered(5)
        assert nameless.status is Status.DEAD
        assert runtime.readiness().state == "unauthorized"


async def test_breaker_in_an_outage_of_weeks_remembers_few_visitors() -> None:
    breaker = CircuitBreaker(RetryPolicy())
    for n in range(20_000):
        error = UnavailableError("503", status=503)
        breaker.on_failure(error, f"visitor{n}", is_probe=True, is_own=False)
    assert len(breaker._failed) <= 1000
    assert not breaker.is_healthy
    assert breaker.on_success(is_probe=True)
    assert breaker.is_healthy


@pytest.mark.parametrize("status", [None, 403, 500])
async def test_breaker_first_failures_of_the_only_visitor_are_logged_once(
    status: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A developer is one visitor, whose failures open no circuit."""
    post = FailingSender(UnavailableError("POST /api/event/ failed", status=status))
    async with running(post, retry=RetryPolicy(initial_delay=0.01, max_delay=0.01)) as runtime:
        runtime.submit(make_envelope(1))
        await until(lambda: len(post.asked) > 5)
        post.error = None
        await until(lambda: bool(post.sent))
    first, last = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert first.startswith(
        "The first calls to User.com failed (POST /api/event/ failed), retrying."
    )
    assert last == "The calls to User.com succeed now"


async def test_breaker_failed_call_is_logged_for_debugging(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An outage of fewer visitors than it takes to open the circuit has no other line."""
    caplog.set_level(logging.DEBUG, "usercom_asgi")
    post = FakeSender(UnavailableError("POST /api/event/ answered 503"))
    async with running(post, retry=RetryPolicy(initial_delay=0.01, max_delay=0.01)) as runtime:
        await runtime.submit(make_envelope(1)).delivered(20)
    [line] = [each for each in caplog.messages if each.startswith("Trying Event('said'")]
    assert line.endswith("or later: POST /api/event/ answered 503")


async def test_breaker_failure_after_a_success_of_one_visitor_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    post = FailingSender(UnavailableError("ConnectError"))
    post.error = None
    async with running(post, retry=RetryPolicy(initial_delay=0.01, max_delay=0.01)) as runtime:
        runtime.submit(make_envelope(1))
        await until(lambda: bool(post.sent))
        post.error = UnavailableError("ConnectError")
        runtime.submit(make_envelope(2))
        await until(lambda: len(post.asked) > 5)
        post.error = None
        await until(lambda: len(post.sent) == 2)
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
