"""Commands leave this process by a broker: :class:`BrokerStore`, for the process that serves requests.

It has tasks of its own, beside the runtime's workers and their gate: a broker that is down holds back no reset, and a User.com
that is down keeps nothing from the broker.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING

import anyio

from ...core.commands import ResetAuth
from ...delivery.outbox import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...core.receipts import Receipt
    from ...delivery.message import QueuedCommand
    from ...delivery.outbox import QueueHost
    from .publisher import TaskPublisher

logger = logging.getLogger("usercom_asgi")

#: Seconds for which what a request says is gathered: a streamed answer may go on for hours.
MAX_GATHER_SECONDS = 10.0
POLL_INTERVAL = 0.5
FORWARDED = "handed over to the broker"
MAX_RESETS = 1000


class BrokerStore(MemoryStore):
    """Gathers what a request says, and hands it over as one task when the request has ended.

    Resets, and what waits for the key that a reset brings, are admitted to the runtime: the response needs their answer.
    """

    def __init__(self, house: QueueHost, max_queue_size: int, publisher: TaskPublisher) -> None:
        super().__init__(house, max_queue_size)
        self._host = house
        self._publisher = publisher
        self._gathered: dict[int, list[QueuedCommand]] = {}
        self._ready: deque[list[QueuedCommand]] = deque()
        self._in_hand: list[list[QueuedCommand]] = []
        #: The last command of each lane that a reset has begun, and that is sent from here.
        self._resets: dict[str, Receipt] = {}
        self._woken = anyio.Event()
        self._gathers = anyio.Event()
        self.put = self._put

    @property
    def trouble(self) -> str:
        """See :attr:`Store.trouble`."""
        return self._publisher.trouble

    def oldest(self) -> float | None:
        """See :meth:`Store.oldest`."""
        return min(
            (waiting.envelope.created_at for group in self._all() for waiting in group),
            default=None,
        )

    def _put(self, waiting: QueuedCommand) -> None:
        """See :meth:`Store.put`."""
        if self._is_direct(waiting):
            self._host.enqueue(waiting)
            return
        number = waiting.envelope.request
        if number is None:
            self._make_ready([waiting])
            return
        waiting.receipt.on_wait = self._end_on_wait(number)
        group = self._gathered.setdefault(number, [])
        group.append(waiting)
        self._gathers.set()

    def _is_direct(self, waiting: QueuedCommand) -> bool:
        envelope, receipt = waiting.envelope, waiting.receipt
        before = self._resets.get(envelope.ordering_key)
        is_behind = before is not None and not before.is_final
        is_nobody_s = envelope.key is None and not envelope.identity
        if (
            is_behind
            or is_nobody_s
            or envelope.may_create
            or isinstance(envelope.command, ResetAuth)
        ):
            if len(self._resets) >= MAX_RESETS:
                self._resets = {
                    lane: each for lane, each in self._resets.items() if not each.is_final
                }
            self._resets[envelope.ordering_key] = receipt
            return True
        if before is not None:
            del self._resets[envelope.ordering_key]
        return False

    def _end_on_wait(self, number: int) -> Callable[[], None]:
        return lambda: self.request_ended(number)

    def request_ended(self, number: int) -> None:
        """See :meth:`Store.request_ended`."""
        group = self._gathered.pop(number, None)
        if group is not None:
            self._make_ready(group)

    def flush(self) -> None:
        """See :meth:`Store.flush`."""
        for number in list(self._gathered):
            self.request_ended(number)

    def _make_ready(self, group: list[QueuedCommand]) -> None:
        self._ready.append(group)
        self._woken.set()

    async def publish_forever(self) -> None:
        """Hand over what is ready, oldest first; runs for ever. There may be several of these."""
        while True:
            while not self._ready:
                if self._woken.is_set():
                    self._woken = anyio.Event()
                await self._woken.wait()
            group = self._ready.popleft()
            self._in_hand.append(group)
            is_taken = await self._publisher.publish([waiting.envelope for waiting in group])
            self._in_hand.remove(group)
            for waiting in group:
                if is_taken:
                    self._host.mark_forwarded(waiting, FORWARDED)
                else:
                    self._host.dead_letter(waiting, "the broker does not take it")

    async def keep_flushing(self) -> None:
        """Hand over what was gathered for too long; runs for ever."""
        while True:
            await self._gathers.wait()
            latest = time.time() - MAX_GATHER_SECONDS
            for number, group in list(self._gathered.items()):
                if group[0].envelope.created_at < latest:
                    self.request_ended(number)
            if not self._gathered:
                self._gathers = anyio.Event()
            await anyio.sleep(POLL_INTERVAL)

    def close(self) -> None:
        """Give back what the broker has not taken, to be accounted for."""
        for group in self._all():
            for waiting in group:
                self._host.enqueue(waiting)
        self._gathered.clear()
        self._ready.clear()

    def _all(self) -> list[list[QueuedCommand]]:
        return [*self._in_hand, *self._ready, *self._gathered.values()]
