"""Commands of one client that User.com always fails at, among those of other clients.

The failing commands delay no others. A mock clock jumps over minutes and hours.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from itertools import pairwise

import anyio
import pytest
import trio
from helpers.fake_sender import FakeSender, running
from trio.testing import MockClock

from usercom_asgi import Event, ResetAuth
from usercom_asgi.core.envelope import Envelope, SendResult
from usercom_asgi.core.exceptions import RejectedError, UnavailableError
from usercom_asgi.delivery.retry import RetryPolicy
from usercom_asgi.delivery.service import DeliveryService

pytestmark = pytest.mark.slow

BACK_OFF = RetryPolicy()
UNAVAILABLE_LINE = "User.com is unavailable"
AVAILABLE_LINE = "User.com is available again after"


class PoisonRejectingSender(FakeSender):
    """Answers what is poisoned with one status for ever, and the rest within 0.05 s, unless it is down."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status
        self.down: Exception | None = None
        #: When each call was made, and whether it was poisoned.
        self.calls: list[tuple[float, bool]] = []
        #: What was delivered: its lane, its number there, and how long it took.
        self.delivered: list[tuple[str, int, float]] = []

    async def send(self, envelope: Envelope, key: str | None) -> SendResult:
        is_poisoned = envelope.ordering_key.startswith("poisoned")
        self.calls.append((anyio.current_time(), is_poisoned))
        await anyio.sleep(0.05)
        if self.down is not None:
            raise self.down
        if is_poisoned:
            raise (RejectedError if self.status == 403 else UnavailableError)(
                f"POST answered {self.status}", status=self.status
            )
        assert isinstance(envelope.command, Event)
        at = float(str(envelope.command.data["at"]))
        self.delivered.append(
            (envelope.ordering_key, int(str(envelope.command.data["n"])), anyio.current_time() - at)
        )
        return SendResult(key)

    @property
    def worst(self) -> float:
        """How long the slowest took that was delivered."""
        return max(delay for _, _, delay in self.delivered)


def poison(runtime: DeliveryService, many: int, *, first: int = 0) -> None:
    for n in range(first, first + many):
        runtime.submit(Envelope(command=Event("odd"), ordering_key=f"poisoned {n}", key=f"p{n}"))


def submit_healthy(runtime: DeliveryService, n: int, *, lanes: int = 1_000_000) -> None:
    event = Event("purchase", {"n": n, "at": anyio.current_time()})
    runtime.submit(
        Envelope(command=event, ordering_key=f"healthy {n % lanes}", key=f"h{n % lanes}")
    )


def run_with_mock_clock(test: Callable[[], Awaitable[None]]) -> None:
    """Run it by a clock that jumps to whatever is due next, with the same jitter each time."""
    state = random.getstate()
    random.seed(1)
    try:
        # Not by anyio.run(), of which the oldest versions pass no clock on.
        trio.run(test, clock=MockClock(autojump_threshold=0))
    finally:
        random.setstate(state)


@pytest.mark.parametrize("status", [500, 403])
def test_breaker_poisoned_commands_of_one_client_do_not_delay_healthy_visitors(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    post = PoisonRejectingSender(status)

    async def main() -> None:
        async with running(post, retry=BACK_OFF, shutdown_timeout=0) as runtime:
            poison(runtime, 100)
            for n in range(900):
                submit_healthy(runtime, n)
                await anyio.sleep(1)
                if n == 300:
                    caplog.clear()
            assert runtime.readiness().state == "sending"
            assert (runtime.stats.dead_lettered, runtime.waiting) == (
                (100, 0) if status == 403 else (0, 100)
            )

    run_with_mock_clock(main)
    assert len(post.delivered) == 900
    assert post.worst < 60
    # Once the failing client is known, the log has no outage and no rejected API key.
    assert not [
        each
        for each in caplog.messages
        if UNAVAILABLE_LINE in each or AVAILABLE_LINE in each or "our key" in each
    ]
    # With a 500, each of the 100 failing commands is retried by its own back-off of 30 to 60 s.
    end = post.calls[-1][0]
    late = sum(is_poisoned for at, is_poisoned in post.calls if at > end - 300)
    assert late == 0 if status == 403 else 450 < late < 1100


@pytest.mark.parametrize("status", [500, 403])
def test_breaker_steady_new_poisoned_commands_do_not_delay_healthy_visitors(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As many as there are healthy ones: it is taken for our key's fault once, and then not so soon again."""
    post = PoisonRejectingSender(status)

    async def main() -> None:
        async with running(post, retry=BACK_OFF, shutdown_timeout=0) as runtime:
            for n in range(600):
                poison(runtime, 1, first=n)
                submit_healthy(runtime, n)
                await anyio.sleep(1)

    run_with_mock_clock(main)
    assert len(post.delivered) > 590
    assert post.worst < 60
    assert len([each for each in caplog.messages if "rejected the API key" in each]) <= 2


def test_breaker_rare_healthy_command_among_poisoned_ones_is_delivered_within_31_s() -> None:
    """Between two healthy commands, no response can show whether User.com is down."""
    post = PoisonRejectingSender(500)

    async def main() -> None:
        async with running(post, retry=BACK_OFF, shutdown_timeout=0) as runtime:
            poison(runtime, 100)
            for n in range(6):
                await anyio.sleep(600)
                submit_healthy(runtime, n)
            await anyio.sleep(60)

    run_with_mock_clock(main)
    assert len(post.delivered) == 6
    assert post.worst < 31


@pytest.mark.parametrize("status", [500, 403])
def test_breaker_outage_among_poisoned_commands_is_logged_once_and_keeps_order(
    status: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five minutes down: one asks for all, now and then, and then all go on, in order."""
    monkeypatch.setattr(
        "usercom_asgi.delivery.log_throttle._INTERVAL", 0.0
    )  # which is of a clock that does not jump
    post = PoisonRejectingSender(status)
    calls: list[float] = []

    async def main() -> None:
        async with running(post, retry=BACK_OFF, shutdown_timeout=0) as runtime:
            poison(runtime, 50)
            for n in range(1200):
                if n == 400:
                    caplog.clear()
                    post.down = UnavailableError("ConnectError", not_sent=True)
                if n == 700:
                    began = anyio.current_time() - 300
                    calls.extend(at - began for at, _ in post.calls if at > began)
                    assert not runtime.reachable
                    post.down = None
                if n == 770:  # a minute after its return everything is on its way
                    assert runtime.readiness().state == "sending"
                    assert runtime.waiting <= 51
                submit_healthy(runtime, n, lanes=40)
                await anyio.sleep(1)

    run_with_mock_clock(main)
    assert len(post.delivered) == 1200
    for lane in range(40):
        delivered_numbers = [n for where, n, _ in post.delivered if where == f"healthy {lane}"]
        assert delivered_numbers == sorted(delivered_numbers)
    assert post.worst < 300 + 60
    gone, back, last = caplog.messages
    assert UNAVAILABLE_LINE in gone
    assert AVAILABLE_LINE in back
    assert last.startswith("Delivered to User.com: 1200")
    assert len([at for at in calls if at > 10]) <= 290 / 15 + 8
    assert max(later - at for at, later in pairwise(calls)) < 31


def test_breaker_rejected_api_key_among_poisoned_commands_pauses_all_sending(
    caplog: pytest.LogCaptureFixture,
) -> None:
    post = PoisonRejectingSender(403)

    async def main() -> None:
        async with running(post, retry=BACK_OFF, shutdown_timeout=0) as runtime:
            for n in range(1000):
                if n == 100:
                    post.down = RejectedError("POST answered 403", status=403)
                    poison(runtime, 20)
                if n == 500:
                    assert runtime.readiness().state == "unauthorized"
                    now = anyio.current_time()
                    assert len([at for at, _ in post.calls if at > now - 300]) < 5
                    post.down = None
                submit_healthy(runtime, n)
                await anyio.sleep(1)
            assert runtime.waiting == 0
            assert runtime.stats.dead_lettered == 20

    run_with_mock_clock(main)
    assert len(post.delivered) == 1000
    assert post.worst < 400 + 330


def test_breaker_failing_resets_do_not_delay_healthy_visitors() -> None:
    """They go before a backlog; but what is asked for all is not asked with them, since each is a visitor who is new to us."""
    post = PoisonRejectingSender(403)

    async def main() -> None:
        async with running(post, retry=BACK_OFF, shutdown_timeout=0) as runtime:
            for n in range(600):
                runtime.submit(
                    Envelope(command=ResetAuth(), ordering_key=f"poisoned {n}", may_create=True)
                )
                if n % 2 == 0:
                    submit_healthy(runtime, n)
                await anyio.sleep(1)

    run_with_mock_clock(main)
    assert len(post.delivered) > 280
    assert post.worst < 120


def test_breaker_repeated_failures_of_one_visitor_do_not_open_the_circuit() -> None:
    """Repeated failures of the only active visitor do not delay the next visitor."""
    post = PoisonRejectingSender(500)

    async def main() -> None:
        async with running(post, retry=BACK_OFF, shutdown_timeout=0) as runtime:
            for _ in range(20):
                poison(runtime, 1)
            await anyio.sleep(600)
            assert len(post.calls) > 8
            submit_healthy(runtime, 1)
            await anyio.sleep(1)
            assert len(post.delivered) == 1

    run_with_mock_clock(main)
    assert post.worst < 0.1
