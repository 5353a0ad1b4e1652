"""Log lines of an outage: one when it begins, and one when it ends."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from helpers.asgi_client import call
from helpers.fake_sender import FAST, FakeSender, make_envelope
from helpers.fake_usercom import FakeUserCom
from helpers.waiting import until
from starlette.types import Receive, Scope, Send

from usercom_asgi import (
    Event,
    Receipt,
    ResetAuth,
    SqliteOutbox,
    UserComClient,
    UserComConfig,
    UserComMiddleware,
    get_visitor,
)
from usercom_asgi.core.envelope import Envelope, SendResult
from usercom_asgi.core.exceptions import RejectedError, UnavailableError
from usercom_asgi.delivery.circuit_breaker import FAILURE_THRESHOLD
from usercom_asgi.delivery.retry import RetryPolicy
from usercom_asgi.delivery.service import DeliveryService

UNAVAILABLE_LINE = "User.com is unavailable"
AVAILABLE_LINE = "User.com is available again after"


class FailingSender(FakeSender):
    """Raises what is set, as long as it is set."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.failed = 0

    async def send(self, envelope: Envelope, key: str | None) -> SendResult:
        if self.error is not None:
            self.failed += 1
            raise self.error
        return await super().send(envelope, key)


@asynccontextmanager
async def running(
    post: FakeSender,
    retry: RetryPolicy = FAST,
    *,
    shutdown_timeout: float = 10,
    outbox: SqliteOutbox | None = None,
) -> AsyncIterator[DeliveryService]:
    config = UserComConfig(app="acme", api_key="ABC123", shutdown_timeout=shutdown_timeout)
    runtime = DeliveryService(post.open, config, retry, outbox=outbox)
    async with anyio.create_task_group() as tasks:
        await tasks.start(runtime.run)
        yield runtime
        await runtime.drain()


def submit_all(runtime: DeliveryService) -> list[Receipt]:
    """Submit a command of each of as many visitors as it takes to open the circuit."""
    return [runtime.submit(make_envelope(n, f"visitor {n}")) for n in range(FAILURE_THRESHOLD)]


async def all_delivered(runtime: DeliveryService) -> bool:
    return all([await each.delivered(5) for each in submit_all(runtime)])


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.message for each in caplog.records if each.levelno >= logging.WARNING]


@pytest.mark.waits
async def test_outage_log_of_one_outage_has_a_start_line_and_an_end_line(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    keys = [usercom.new_user() for _ in range(3)]
    usercom.faults.status(503)
    async with UserComClient(usercom.config(shutdown_timeout=10)) as client:
        receipts = [await client.send(Event("secretly", {"n": "Ann"}), key=key) for key in keys]
        await until(lambda: lines(caplog))
        await anyio.sleep(0.5)
        usercom.faults.clear()
        assert all([await each.delivered(10) for each in receipts])
    gone, back = lines(caplog)
    shown = rf"{UNAVAILABLE_LINE}, the calls of 3 visitors failed in a row \(POST /api/event/ answered 503\): 3 commands wait for a retry"
    assert re.fullmatch(shown, gone)
    assert re.fullmatch(rf"{AVAILABLE_LINE} \d+ s: [0-2] commands wait", back)


async def test_outage_log_of_failures_below_the_threshold_is_empty(
    caplog: pytest.LogCaptureFixture,
) -> None:
    post = FailingSender()
    async with running(post) as runtime:
        for n in range(5):
            post.outcomes = [UnavailableError("ConnectError")] * (FAILURE_THRESHOLD - 1)
            assert await runtime.submit(make_envelope(n)).delivered(5)
    assert lines(caplog) == []


async def test_outage_log_of_an_outage_with_many_failures_has_two_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    post = FailingSender(UnavailableError("ConnectError"))
    async with running(post) as runtime:
        for n in range(50):
            runtime.submit(make_envelope(n, f"lane{n}"))
        await until(lambda: post.failed >= 30)
        post.error = None
        await until(lambda: len(post.sent) == 50)
    gone, back = lines(caplog)
    assert (
        gone
        == f"{UNAVAILABLE_LINE}, the calls of {FAILURE_THRESHOLD} visitors failed in a row (ConnectError): 50 commands wait for a retry"
    )
    assert re.fullmatch(rf"{AVAILABLE_LINE} \d s: 49 commands wait", back)


async def test_outage_log_of_repeated_outages_has_one_pair_of_lines_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = FailingSender()
    async with running(post) as runtime:
        for _ in range(10):
            post.outcomes = [UnavailableError("ConnectError")] * FAILURE_THRESHOLD
            assert await all_delivered(runtime)
        assert [each[: len(UNAVAILABLE_LINE)] for each in lines(caplog)] == [
            UNAVAILABLE_LINE,
            AVAILABLE_LINE[: len(UNAVAILABLE_LINE)],
        ]
        caplog.clear()
        # An outage that begins within the minute and lasts is logged when the minute is over.
        post.error = UnavailableError("ReadTimeout")
        receipts = submit_all(runtime)
        await until(lambda: post.failed > 2 * FAILURE_THRESHOLD)
        assert lines(caplog) == []
        monkeypatch.setattr("usercom_asgi.delivery.log_throttle._INTERVAL", 0.0)
        await until(lambda: lines(caplog))
        post.error = None
        assert all([await each.delivered(5) for each in receipts])
    assert [
        UNAVAILABLE_LINE in lines(caplog)[0],
        AVAILABLE_LINE in lines(caplog)[1],
        len(lines(caplog)),
    ] == [
        True,
        True,
        2,
    ]


async def test_outage_log_of_a_rejected_api_key_has_separate_lines(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usercom_asgi.delivery.circuit_breaker.AUTH_RETRY_INITIAL", 0.01)
    post = FailingSender(UnavailableError("ConnectError"))
    async with running(post) as runtime:
        receipts = submit_all(runtime)
        await until(lambda: lines(caplog))
        post.error = RejectedError("answered 401", status=401)
        await until(lambda: runtime.readiness().state == "unauthorized")
        post.error, post.failed = UnavailableError("ConnectError"), 0
        await until(lambda: post.failed > FAILURE_THRESHOLD)
        post.error = None
        assert all([await each.delivered(5) for each in receipts])
    gone, locked, taken = lines(caplog)
    assert UNAVAILABLE_LINE in gone
    assert "rejected the API key" in locked
    assert "Check rest_token" in locked
    assert "accepts the API key again" in taken


async def test_inline_log_of_a_failed_delivery_names_the_lost_command_and_no_outage(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for n in range(FAILURE_THRESHOLD + 1):
            await get_visitor(scope).event(f"e{n}")

    usercom.faults.status(503)
    await call(UserComMiddleware(app, usercom.config()), headers={"cookie": "__ca__chat=abc123"})
    assert lines(caplog)[0].startswith("Command was not delivered to User.com: Event('e0'")
    assert UNAVAILABLE_LINE not in caplog.text


@pytest.mark.parametrize("is_kept", [True, False])
async def test_drain_log_is_a_warning_only_if_commands_are_lost(
    is_kept: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "usercom_asgi")
    outbox = SqliteOutbox(tmp_path / "usercom.db") if is_kept else None
    async with running(
        FailingSender(UnavailableError("ConnectError")),
        RetryPolicy(initial_delay=60),
        shutdown_timeout=0.1,
        outbox=outbox,
    ) as runtime:
        await runtime.submit(make_envelope(1)).stored()
    last = caplog.records[-1]
    assert last.levelno == (logging.INFO if is_kept else logging.WARNING)
    assert f"left in the outbox: {int(is_kept)}, dropped: {int(not is_kept)}" in last.message


async def test_drain_log_with_dropped_resets_counts_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    retry = RetryPolicy(initial_delay=60)
    async with running(
        FailingSender(UnavailableError("ConnectError", not_sent=True)), retry, shutdown_timeout=0.1
    ) as runtime:
        settled = runtime.submit(Envelope(command=ResetAuth(), ordering_key="r1", may_create=True))
        await until(lambda: settled.is_final)  # the next try would come too late
        runtime.submit(make_envelope(1))
    assert "dropped: 2 (resets: 1), dead letters: 0" in caplog.messages[-1]
    caplog.clear()
    async with running(FakeSender(delay=60), shutdown_timeout=0.1) as runtime:
        runtime.submit(Envelope(command=ResetAuth(), ordering_key="r1", may_create=True))
    assert "dropped: 1 (resets: 1), dead letters: 0" in caplog.messages[-1]
