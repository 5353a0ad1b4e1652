"""The store of the web process, which publishes commands to a broker.

It publishes in tasks of its own, independent of the delivery's workers and circuit
breaker: resets do not wait for the broker, nor commands for User.com.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

import anyio

from ...core.commands import ResetAuth
from ...delivery.queue import MemoryStore

if TYPE_CHECKING:
    from ...core.receipts import PendingReceipt
    from ...delivery.outbox import QueueHost
    from ...delivery.queue import QueuedCommand
    from .publisher import TaskPublisher

logger = logging.getLogger("usercom_asgi")

#: Seconds for which a request's commands are gathered. A streamed response
#: may take hours.
MAX_GATHER_SECONDS = 10.0
POLL_INTERVAL = 0.5
FORWARDED = "handed over to the broker"
MAX_RESETS = 1000


class BrokerStore(MemoryStore):
    """Gathers the commands of a request, and publishes them as one task at its end.

    Resets, and commands that need the key of a reset, go to the delivery of this
    process, because the response needs their result.
    """

    def __init__(self, host: QueueHost, max_queue_size: int, publisher: TaskPublisher) -> None:
        super().__init__(host, max_queue_size)
        self._host = host
        self._publisher = publisher
        self._gathered: dict[int, list[QueuedCommand]] = {}
        self._ready: deque[list[QueuedCommand]] = deque()
        self._in_hand: list[list[QueuedCommand]] = []
        #: For each queue that began with a reset, the last command sent
        #: from this process.
        self._resets: dict[str, PendingReceipt] = {}
        self._woken = anyio.Event()
        self._gathers = anyio.Event()

    @property
    def error(self) -> str:
        """See :attr:`Store.error`."""
        return self._publisher.trouble

    def oldest(self) -> float | None:
        """See :meth:`Store.oldest`."""
        return min(
            (queued.envelope.created_at for group in self._all() for queued in group),
            default=None,
        )

    def put(self, queued: QueuedCommand) -> None:
        """See :meth:`Store.put`."""
        if self._is_direct(queued):
            self._host.enqueue(queued)
            return
        number = queued.envelope.request
        if number is None:
            self._make_ready([queued])
            return
        queued.receipt.start_with(lambda: self.request_ended(number))
        group = self._gathered.setdefault(number, [])
        group.append(queued)
        self._gathers.set()

    def _is_direct(self, queued: QueuedCommand) -> bool:
        envelope, receipt = queued.envelope, queued.receipt
        before = self._resets.get(envelope.ordering_key)
        is_behind = before is not None and not before.is_final
        is_anonymous = envelope.key is None and not envelope.identity
        if (
            is_behind
            or is_anonymous
            or envelope.may_create
            or isinstance(envelope.command, ResetAuth)
        ):
            if len(self._resets) >= MAX_RESETS:
                self._resets = {
                    ordering_key: each
                    for ordering_key, each in self._resets.items()
                    if not each.is_final
                }
            self._resets[envelope.ordering_key] = receipt
            return True
        if before is not None:
            del self._resets[envelope.ordering_key]
        return False

    def request_ended(self, number: int) -> None:
        """See :meth:`Store.request_ended`."""
        group = self._gathered.pop(number, None)
        if group is not None:
            self._make_ready(group)

    def start_drain(self) -> None:
        """See :meth:`Store.start_drain`."""
        for number in list(self._gathered):
            self.request_ended(number)

    def _make_ready(self, group: list[QueuedCommand]) -> None:
        self._ready.append(group)
        self._woken.set()

    async def publish_forever(self) -> None:
        """Publish ready groups for ever, the oldest first; may run in several tasks."""
        while True:
            while not self._ready:
                if self._woken.is_set():
                    self._woken = anyio.Event()
                await self._woken.wait()
            group = self._ready.popleft()
            self._in_hand.append(group)
            is_taken = await self._publisher.publish([queued.envelope for queued in group])
            self._in_hand.remove(group)
            for queued in group:
                if is_taken:
                    self._host.mark_forwarded(queued, FORWARDED)
                else:
                    self._host.dead_letter(queued, "the broker does not accept it")

    async def keep_flushing(self) -> None:
        """Make groups ready that were gathered for too long; run for ever."""
        while True:
            await self._gathers.wait()
            for number, group in list(self._gathered.items()):
                if group[0].age > MAX_GATHER_SECONDS:
                    self.request_ended(number)
            if not self._gathered:
                self._gathers = anyio.Event()
            await anyio.sleep(POLL_INTERVAL)

    def close(self) -> None:
        """Return unpublished commands to the delivery, which accounts for them."""
        for group in self._all():
            for queued in group:
                self._host.enqueue(queued)
        self._gathered.clear()
        self._ready.clear()

    def _all(self) -> list[list[QueuedCommand]]:
        return [*self._in_hand, *self._ready, *self._gathered.values()]
