"""Queues of commands in memory: ordered for each visitor, parallel across visitors."""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from ..core.signals import Signal
from .key_ring import KeyRing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from ..core.envelope import Envelope
    from ..core.receipts import Outcome, PendingReceipt
    from .outbox import QueueHost

#: The number of dead letters kept in memory: the newest.
_MAX_DEAD_LETTERS = 1000


class QueuedCommand:
    """An accepted envelope, with its receipt and the tries so far."""

    # Thousands of these may wait, and each object in them costs time in every
    # full garbage collection.
    __slots__ = ("_began", "envelope", "receipt", "row", "tries")

    def __init__(self, envelope: Envelope, receipt: PendingReceipt) -> None:
        self.envelope = envelope
        self.receipt = receipt
        #: Its row in the outbox; None while it is in memory only.
        self.row: int | None = None
        self.tries = 0
        # The time of creation on the event loop's clock, because the system's clock may
        # be corrected by hours while the command waits.
        self._began = anyio.current_time() - max(0.0, time.time() - envelope.created_at)

    @property
    def age(self) -> float:
        """Seconds since the command was created."""
        return anyio.current_time() - self._began


class VisitorQueue:
    """One visitor's commands, oldest first. At most one of them is in flight."""

    __slots__ = (
        "_successes_at_last_failure",
        "commands",
        "failures",
        "in_flight",
        "keys",
        "ordering_key",
        "solo_failures",
        "taken_after",
    )

    def __init__(self, ordering_key: str) -> None:
        self.ordering_key = ordering_key
        self.commands: deque[QueuedCommand] = deque()
        self.keys = KeyRing()
        #: The command that is being sent: the first one, or None.
        self.in_flight: QueuedCommand | None = None
        #: The resumptions of all queues before a worker took it.
        self.taken_after = 0
        self.reset_failures()

    def reset_failures(self) -> None:
        """Forget the failures, after a success or with the command that failed."""
        #: Failures in a row.
        self.failures = 0
        #: Failures since the last one during which other queues succeeded, so that
        #: this queue is at fault.
        self.solo_failures = 0
        self._successes_at_last_failure = math.inf

    def count_failure(self, successes: int) -> None:
        """Count a failure; ``successes`` counts the successful calls of all queues."""
        self.failures += 1
        self.solo_failures += self._successes_at_last_failure < successes
        self._successes_at_last_failure = successes


class QueueManager:
    """All queues with commands.

    Each is in exactly one place: ready, held by a worker, or delayed.
    """

    def __init__(self, changed: Signal) -> None:
        self._queues: dict[str, VisitorQueue] = {}
        self._ready: deque[VisitorQueue] = deque()
        self._delayed: list[tuple[float, int, VisitorQueue]] = []
        self._delays = 0
        self._resumptions = 0  # of all queues, at a drain
        self._reserved = 0
        self._became_ready = Signal()
        self._delays_changed = Signal()
        # Notified when a worker has handled a command.
        self._changed = changed

    def add(self, queued: QueuedCommand, keys: str | None = None) -> None:
        """Append a command to its queue. ``keys`` restores its :class:`KeyRing`."""
        ordering_key = queued.envelope.ordering_key
        queue = self._queues.get(ordering_key)
        if queue is None:
            queue = self._queues[ordering_key] = VisitorQueue(ordering_key)
            # A response waits for a reset, and after RESET_DEADLINE the
            # widget resets instead.
            self._make_ready(queue, is_urgent=queued.envelope.creates_user)
        if keys is not None:
            queue.keys.restore(keys)
        queue.commands.append(queued)

    def _make_ready(self, queue: VisitorQueue, *, is_urgent: bool = False) -> None:
        if is_urgent:
            self._ready.appendleft(queue)
        else:
            self._ready.append(queue)
        self._became_ready.notify()

    async def reserve(self) -> None:
        """Wait for a ready queue, and reserve one for :meth:`take`."""
        while len(self._ready) <= self._reserved:
            await self._became_ready.wait()
        self._reserved += 1

    @property
    def first(self) -> VisitorQueue:
        """The queue that :meth:`take` would return now, once one is reserved.

        A more urgent queue may come before it.
        """
        return self._ready[0]

    def take(self, *, is_probe: bool = False) -> VisitorQueue:
        """Remove and return the first ready queue, or the best one for a probe."""
        self._reserved -= 1
        queue = self._take_for_probe() if is_probe else self._ready.popleft()
        queue.taken_after = self._resumptions
        return queue

    def _take_for_probe(self) -> VisitorQueue:
        # The queue least likely to fail; of several the newest, because older
        # ones may be full of commands that always fail. A reset comes last: it
        # may not be repeated.
        best = min(
            reversed(self._ready),
            key=lambda queue: (
                queue.solo_failures,
                bool(queue.commands) and queue.commands[0].envelope.creates_user,
                queue.failures,
            ),
        )
        self._ready.remove(best)
        return best

    def give_back(self, queue: VisitorQueue, delay: float = 0.0) -> None:
        """Take a queue back, behind the others, after ``delay`` seconds.

        Its call may have begun before all queues were resumed: then there is no delay.
        """
        if delay and queue.taken_after == self._resumptions:
            self._delays += 1
            heapq.heappush(self._delayed, (anyio.current_time() + delay, self._delays, queue))
            self._delays_changed.notify_all()
        elif queue.commands:
            self._make_ready(queue)
        else:
            del self._queues[queue.ordering_key]
        self._changed.notify_all()

    def resume(self, *, are_all: bool = False) -> None:
        """Make delayed queues ready, except those that failed on their own; or all."""
        self._resumptions += are_all
        delayed, self._delayed = sorted(self._delayed), []
        for entry in delayed:  # what is left of a sorted list is a heap
            if are_all or not entry[-1].solo_failures:
                self._make_ready(entry[-1])
            else:
                self._delayed.append(entry)

    async def resume_delayed(self) -> None:
        """Make delayed queues ready when they are due; runs until cancelled."""
        while True:
            with anyio.CancelScope(deadline=self._delayed[0][0] if self._delayed else math.inf):
                await self._delays_changed.wait()
            while self._delayed and self._delayed[0][0] <= anyio.current_time():
                self._make_ready(heapq.heappop(self._delayed)[2])

    async def remove(self, receipts: Sequence[PendingReceipt]) -> list[QueuedCommand]:
        """Remove the commands of these receipts, in their order, with the learned keys.

        Wait for a command that is in flight.
        """
        order = {receipt: n for n, receipt in enumerate(receipts)}
        taken: list[tuple[VisitorQueue, QueuedCommand]] = []
        try:
            while True:
                more, in_flight = self._remove(lambda queued: queued.receipt in order)
                taken += more
                if not in_flight:
                    break
                while any(queue.in_flight is queued for queue, queued in in_flight):
                    await self._changed.wait()
        except BaseException:
            for queue, queued in taken:
                self.add(queued, queue.keys.dumps())
            raise
        for queue, queued in taken:
            queued.envelope = replace(queued.envelope, key=queue.keys.key_for(queued.envelope))
        return sorted((queued for _, queued in taken), key=lambda queued: order[queued.receipt])

    def _remove(
        self, is_wanted: Callable[[QueuedCommand], bool]
    ) -> tuple[list[tuple[VisitorQueue, QueuedCommand]], list[tuple[VisitorQueue, QueuedCommand]]]:
        """Remove commands that are not in flight; return them, and those that are."""
        taken: list[tuple[VisitorQueue, QueuedCommand]] = []
        in_flight: list[tuple[VisitorQueue, QueuedCommand]] = []
        for queue in self._queues.values():
            kept: deque[QueuedCommand] = deque()
            for queued in queue.commands:
                if not is_wanted(queued):
                    kept.append(queued)
                elif queued is queue.in_flight:
                    kept.append(queued)
                    in_flight.append((queue, queued))
                else:
                    taken.append((queue, queued))
            # An empty queue stays where it is: the worker that takes it next drops it.
            queue.commands = kept
        return taken, in_flight

    def evict(
        self, is_lost: Callable[[QueuedCommand], bool]
    ) -> tuple[list[QueuedCommand], list[QueuedCommand]]:
        """Remove commands that are not in flight; return them, and those that are."""
        taken, in_flight = self._remove(is_lost)
        return [queued for _, queued in taken], [queued for _, queued in in_flight]

    def snapshot(self) -> list[tuple[QueuedCommand, str]]:
        """Return all commands, each queue's in order, with the text of its keys."""
        queues = [(queue, queue.keys.dumps()) for queue in self._queues.values()]
        return [(each, keys) for queue, keys in queues for each in queue.commands]

    def has_work_before(self, moment: float, *, is_healthy: bool) -> bool:
        """Return True if a command is in flight, or can be sent before ``moment``."""
        if not self._queues:
            return True  # the commands are still on their way from the store
        has_ready = len(self._delayed) < len(self._queues)
        if is_healthy and (has_ready or self._delayed[0][0] < moment):
            return True
        return any(queue.in_flight for queue in self._queues.values())

    def oldest(self) -> float | None:
        """Return when the oldest waiting command was created."""
        return min(
            (
                queued.envelope.created_at
                for queue in self._queues.values()
                for queued in queue.commands
            ),
            default=None,
        )

    def close(self) -> list[QueuedCommand]:
        """Empty all queues and return their commands."""
        left = [queued for queue in self._queues.values() for queued in queue.commands]
        self._queues.clear()
        self._delayed.clear()
        self._ready.clear()
        return left


class MemoryOutbox:
    """Keeps at most ``max_queue_size`` commands in memory. The default."""

    def __repr__(self) -> str:
        return "MemoryOutbox()"

    @asynccontextmanager
    async def open(self, host: QueueHost, *, max_queue_size: int) -> AsyncGenerator[MemoryStore]:
        """See :meth:`Outbox.open`."""
        yield MemoryStore(host, max_queue_size)


class MemoryStore:
    """The store of a :class:`MemoryOutbox`: commands are only in their queues."""

    persisted = 0

    def __init__(self, host: QueueHost, max_queue_size: int) -> None:
        self._max_queue_size = max_queue_size
        self._dead: deque[Outcome] = deque(maxlen=_MAX_DEAD_LETTERS)
        self._host = host

    @property
    def error(self) -> str:
        """See :attr:`Store.error`."""
        return ""

    def rejection_reason(self, pending: int) -> str | None:
        """See :meth:`Store.rejection_reason`."""
        is_full = pending >= self._max_queue_size
        return f"{pending} commands wait already (max_queue_size)" if is_full else None

    def put(self, queued: QueuedCommand) -> None:
        """Enqueue it at once: memory is all there is."""
        self._host.enqueue(queued)

    def request_ended(self, number: int) -> None:
        """See :meth:`Store.request_ended`."""

    def start_drain(self) -> None:
        """See :meth:`Store.start_drain`."""

    def oldest(self) -> float | None:
        """See :meth:`Store.oldest`."""
        return None

    def settled(self, queued: QueuedCommand) -> None:
        """Do nothing: it was in memory only."""

    def progressed(self, queued: QueuedCommand, keys: str) -> None:
        """Do nothing: it is in memory only."""

    def dead_letter(self, queued: QueuedCommand, letter: Outcome) -> None:  # noqa: ARG002  the protocol's signature
        """Keep the letter; the oldest ones are dropped."""
        self._dead.append(letter)

    async def confirm(self) -> None:
        """Return at once: memory belongs to this process."""

    async def flush(self) -> None:
        """Yield to the event loop: many commands may expire at once."""
        await anyio.lowlevel.checkpoint()

    def dead(self) -> list[Outcome]:
        """See :meth:`Store.dead`."""
        return list(self._dead)

    def is_persisted(self, queued: QueuedCommand) -> bool:  # noqa: ARG002  the protocol's signature
        """Return False: memory ends with the process."""
        return False
