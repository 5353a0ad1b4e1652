"""A sender that records instead of sending, and a delivery service around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from usercom_asgi import Event, SqliteOutbox, UserComConfig
from usercom_asgi.core.envelope import Envelope, SendResult
from usercom_asgi.core.receipts import OutcomeCallbacks
from usercom_asgi.delivery.retry import RetryPolicy
from usercom_asgi.delivery.service import DeliveryService
from usercom_asgi.delivery.sqlite.store import SqliteStore

FAST = RetryPolicy(initial_delay=0.01, max_delay=0.02)


class FakeSender:
    """A sender that records each call and has the outcomes that the test gives.

    While it is ``holding``, calls begin and do not end, so that a test sees what is in
    flight for as long as it needs to.
    """

    def __init__(
        self, *outcomes: BaseException | SendResult, delay: float = 0.0, holding: bool = False
    ) -> None:
        self.sent: list[tuple[str, Any, str | None]] = []
        self.outcomes = list(outcomes)
        self.delay = delay
        self.now = 0
        self.most = 0
        self.closed = False
        # Only where calls are held: before anyio 4.7 an event can be made in an event loop alone.
        self._released = anyio.Event() if holding else None

    def release(self) -> None:
        """Let calls end, those that are held and those that come."""
        if self._released is not None:
            self._released.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[FakeSender]:
        yield self
        self.closed = True

    async def send(self, envelope: Envelope, key: str | None) -> SendResult:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self._released is not None:
                await self._released.wait()
            await anyio.sleep(self.delay)
            outcome = self.outcomes.pop(0) if self.outcomes else SendResult(key)
            self.sent.append((envelope.ordering_key, envelope.command, key))
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome
        finally:
            self.now -= 1


@asynccontextmanager
async def running(
    post: FakeSender,
    outbox: SqliteOutbox | Path | None = None,
    *,
    retry: RetryPolicy = FAST,
    callbacks: OutcomeCallbacks | None = None,
    **settings: Any,
) -> AsyncIterator[DeliveryService]:
    """Run a delivery around the block, drained at its end. A path is a file whose lease is as short as can be."""
    # A machine that runs tests may be slow: where the grace is not what is tested, there is plenty.
    config = UserComConfig(
        **{"app": "acme", "api_key": "ABC123", "shutdown_timeout": 30, **settings}
    )
    outbox = SqliteOutbox(outbox, lease=1) if isinstance(outbox, Path) else outbox
    runtime = DeliveryService(post.open, config, retry, outbox=outbox, callbacks=callbacks)
    async with anyio.create_task_group() as tasks:
        await tasks.start(runtime.run)
        yield runtime
        await runtime.drain()
    assert post.closed


def store_of(runtime: DeliveryService) -> SqliteStore:
    """The store of a delivery with a file; the protocol that the delivery knows hides it."""
    store = runtime._recorder.store
    assert isinstance(store, SqliteStore)
    return store


def make_envelope(n: int, ordering_key: str = "a", key: str | None = "key") -> Envelope:
    return Envelope(command=Event("said", {"n": n}), ordering_key=ordering_key, key=key)


def numbers(post: FakeSender, lane: str) -> list[int]:
    return [command.data["n"] for each, command, _ in post.sent if each == lane]


def balanced(runtime: DeliveryService) -> bool:
    """Whether each command of a delivery is counted once."""
    stats = runtime.stats
    taken = stats.accepted + stats.restored + stats.rejected
    return (
        taken
        == stats.delivered + stats.dropped + stats.dead_lettered + stats.persisted + stats.waiting
    )
