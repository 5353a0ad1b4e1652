"""Queues of commands: ordered for each visitor, parallel across visitors."""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from .key_ring import KeyRing

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from ..core.receipts import Receipt
    from .message import QueuedCommand


class ReadyQueue:
    """Queues ready to send.

    Urgent queues first, since a response waits for a reset. Then failed and healthy queues
    alternate, so that neither starves. A probe takes the queue most likely to succeed.
    """

    def __init__(self) -> None:
        self._urgent: deque[VisitorQueue] = deque()
        self._healthy: deque[VisitorQueue] = deque()
        # A heap: the queue least likely to be at fault first, then by failures, then by age.
        self._failed: list[tuple[int, int, int, VisitorQueue]] = []
        self._failed_count = 0
        self._failed_turn = False

    def __len__(self) -> int:
        return len(self._urgent) + len(self._healthy) + len(self._failed)

    def add(self, queue: VisitorQueue, *, is_urgent: bool = False) -> None:
        """Add a queue behind those of its kind; an urgent one goes to the front."""
        if queue.failures:
            self._failed_count += 1
            heapq.heappush(
                self._failed, (queue.solo_failures, queue.failures, self._failed_count, queue)
            )
        elif is_urgent:
            self._urgent.appendleft(queue)
        else:
            self._healthy.append(queue)

    def first(self) -> VisitorQueue:
        """Return what :meth:`pop` would."""
        if self._urgent:
            return self._urgent[0]
        return self._failed[0][-1] if self._is_failed_next else self._healthy[0]

    def pop(self) -> VisitorQueue:
        """Remove and return the next queue."""
        if self._urgent:
            return self._urgent.popleft()
        is_failed_next = self._is_failed_next
        self._failed_turn = not is_failed_next
        return self._pop_failed() if is_failed_next else self._healthy.popleft()

    def pop_for_probe(self) -> VisitorQueue:
        """Remove and return the queue most likely to succeed if User.com is available."""
        if self._healthy:
            # The newest, since a run of commands that always fail may have come before it.
            return self._healthy.pop()
        # An urgent command may not be retried, so probe with it only if all others are suspect.
        if self._failed and not (self._urgent and self._failed[0][-1].solo_failures):
            return self._pop_failed()
        return self._urgent.popleft()

    def clear(self) -> None:
        """Remove all queues."""
        self._urgent.clear()
        self._healthy.clear()
        self._failed.clear()

    @property
    def _is_failed_next(self) -> bool:
        return bool(self._failed) and (self._failed_turn or not self._healthy)

    def _pop_failed(self) -> VisitorQueue:
        return heapq.heappop(self._failed)[-1]


# Seconds between two checks whether a command in flight has an outcome.
_POLL_INTERVAL = 0.01
# Failures while others succeed after which a queue says nothing about User.com.
_MAX_SOLO_FAILURES = 2


class VisitorQueue:
    """One visitor's commands, oldest first. At most one of them is being sent at any time."""

    __slots__ = (
        "_successes_at_last_failure",
        "commands",
        "failures",
        "in_flight",
        "is_taken",
        "keys",
        "ordering_key",
        "solo_failures",
    )

    def __init__(self, ordering_key: str) -> None:
        self.ordering_key = ordering_key
        self.commands: deque[QueuedCommand] = deque()
        self.keys = KeyRing()
        #: True while a worker holds it.
        self.is_taken = False
        #: The command that is being sent: the first one, or None.
        self.in_flight: QueuedCommand | None = None
        #: Failures in a row.
        self.failures = 0
        #: Those of them between which other queues succeeded: the fault may be its own.
        self.solo_failures = 0
        self._successes_at_last_failure = -1

    def on_success(self) -> None:
        """Reset the failures."""
        self.failures = self.solo_failures = 0
        self._successes_at_last_failure = -1

    def on_failure(self, successes: int) -> bool:
        """Count a failure; return True if other queues succeeded since the one before."""
        is_solo = 0 <= self._successes_at_last_failure < successes
        self.failures += 1
        self.solo_failures += is_solo
        self._successes_at_last_failure = successes
        return is_solo

    @property
    def is_suspect(self) -> bool:
        """Whether it keeps failing while others succeed."""
        return self.solo_failures >= _MAX_SOLO_FAILURES


class QueueManager:
    """All queues with commands.

    Each is in exactly one place: ready, held by a worker, or delayed.
    """

    def __init__(self) -> None:
        self._queues: dict[str, VisitorQueue] = {}
        self._delayed: list[tuple[float, int, VisitorQueue]] = []
        self._delays = 0
        # Bounded by the number of queues, each of which is in here at most once.
        self._ready = ReadyQueue()
        self._reserved = 0
        self._waiters: list[anyio.Event] = []
        self._delays_changed = anyio.Event()

    def add(self, queued: QueuedCommand, keys: str | None = None) -> None:
        """Append a command to its queue. ``keys`` restores its key ring (:class:`KeyRing`)."""
        ordering_key = queued.envelope.ordering_key
        queue = self._queues.get(ordering_key)
        if queue is None:
            queue = self._queues[ordering_key] = VisitorQueue(ordering_key)
            # A response waits for a reset, and after RESET_DEADLINE the widget resets instead.
            self._make_ready(queue, is_urgent=queued.envelope.creates_user)
        if keys is not None:
            queue.keys.restore(keys)
        queue.commands.append(queued)

    def _make_ready(self, queue: VisitorQueue, *, is_urgent: bool = False) -> None:
        self._ready.add(queue, is_urgent=is_urgent)
        if self._waiters:
            self._waiters.pop().set()

    async def reserve(self) -> None:
        """Wait for a queue that no other worker has reserved; then call :meth:`acquire`.

        The queue is chosen then, since a better one may come while the worker waits for its call.
        """
        while len(self._ready) <= self._reserved:
            awake = anyio.Event()
            self._waiters.append(awake)
            await awake.wait()
        self._reserved += 1

    def first(self) -> VisitorQueue:
        """Return the queue that :meth:`acquire` would return now."""
        return self._ready.first()

    def acquire(self, *, is_probe: bool) -> VisitorQueue:
        """Remove and return the next queue, or the best one for a probe."""
        self._reserved -= 1
        queue = self._ready.pop_for_probe() if is_probe else self._ready.pop()
        queue.is_taken = True
        return queue

    def release(self, queue: VisitorQueue) -> None:
        """Give a queue back: behind the others, or nowhere if it is empty."""
        queue.is_taken = False
        if queue.commands:
            self._make_ready(queue)
        else:
            del self._queues[queue.ordering_key]

    def delay(self, queue: VisitorQueue, delay: float) -> None:
        """Give a queue back, to be ready again after ``delay`` seconds."""
        queue.is_taken = False
        self._delays += 1
        heapq.heappush(self._delayed, (anyio.current_time() + delay, self._delays, queue))
        self._delays_changed.set()

    def resume(self, *, are_all: bool = False) -> None:
        """Make delayed queues ready, except those that failed on their own; or all."""
        delayed, self._delayed = sorted(self._delayed), []
        for entry in delayed:  # what is left of a sorted list is a heap
            if are_all or not entry[-1].solo_failures:
                self._make_ready(entry[-1])
            else:
                self._delayed.append(entry)

    async def resume_delayed(self) -> None:
        """Make delayed queues ready when they are due; runs until cancelled."""
        while True:
            self._delays_changed = anyio.Event()
            due = self._delayed[0][0] if self._delayed else math.inf
            with anyio.CancelScope(deadline=due):
                await self._delays_changed.wait()
            while self._delayed and self._delayed[0][0] <= anyio.current_time():
                self._make_ready(heapq.heappop(self._delayed)[2])

    async def remove(self, receipts: Sequence[Receipt]) -> list[QueuedCommand]:
        """Remove the commands of these receipts, in their order, with the learned keys.

        Wait for a command that is in flight.
        """
        order = {receipt: n for n, receipt in enumerate(receipts)}

        def is_wanted(queued: QueuedCommand) -> bool:
            return queued.receipt in order

        taken, is_in_flight = self._remove(is_wanted)
        try:
            # Only the worker learns the outcome, so poll for it.
            while is_in_flight:
                await anyio.sleep(_POLL_INTERVAL)
                more, is_in_flight = self._remove(is_wanted)
                taken += more
        except BaseException:
            for queue, queued in taken:
                self.add(queued, queue.keys.dumps())
            raise
        for queue, queued in taken:
            queued.envelope = replace(queued.envelope, key=queue.keys.key_for(queued.envelope))
        return sorted((queued for _, queued in taken), key=lambda queued: order[queued.receipt])

    def _remove(
        self, is_wanted: Callable[[QueuedCommand], bool]
    ) -> tuple[list[tuple[VisitorQueue, QueuedCommand]], bool]:
        """Remove commands that are not in flight; return also whether any is."""
        taken: list[tuple[VisitorQueue, QueuedCommand]] = []
        is_in_flight = False
        for queue in self._queues.values():
            kept: deque[QueuedCommand] = deque()
            for queued in queue.commands:
                if not is_wanted(queued):
                    kept.append(queued)
                elif queued is queue.in_flight:
                    kept.append(queued)
                    is_in_flight = True
                else:
                    taken.append((queue, queued))
            # An empty queue stays where it is: the worker that acquires it next drops it.
            queue.commands = kept
        return taken, is_in_flight

    def evict(self, ordering_keys: Container[str]) -> list[QueuedCommand]:
        """Remove persisted commands of queues that another process has claimed."""
        taken, _ = self._remove(
            lambda queued: queued.row is not None and queued.envelope.ordering_key in ordering_keys
        )
        return [queued for _, queued in taken]

    def has_work_before(self, moment: float, *, is_healthy: bool) -> bool:
        """Return True if a command is in flight, or can be sent before ``moment``."""
        if not self._queues:
            return True  # the commands are still on their way from the store
        if any(queue.in_flight for queue in self._queues.values()):
            return True
        return is_healthy and (
            len(self._delayed) < len(self._queues)
            or any(due < moment for due, _, _ in self._delayed)
        )

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
