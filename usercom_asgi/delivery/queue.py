"""Order within a visitor, concurrency across visitors."""

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
    """The lanes that may be taken: what a response waits for first, then one that has failed and one that has not in turn.

    A probe is for all, so it is made with the lane that is most likely to be answered if User.com is there at all.
    """

    def __init__(self) -> None:
        self._urgent: deque[VisitorQueue] = deque()
        self._healthy: deque[VisitorQueue] = deque()
        # A heap: what is least likely to be at fault itself comes first, and then what has failed least, and longest ago.
        self._failed: list[tuple[int, int, int, VisitorQueue]] = []
        self._failed_count = 0
        self._failed_turn = False

    def __len__(self) -> int:
        return len(self._urgent) + len(self._healthy) + len(self._failed)

    def add(self, queue: VisitorQueue, *, is_urgent: bool = False) -> None:
        """Put a lane behind its like; of urgent ones the last is the first."""
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
        """Take out the next lane."""
        if self._urgent:
            return self._urgent.popleft()
        is_failed_next = self._is_failed_next
        self._failed_turn = not is_failed_next  # so that neither waits for the end of the other
        return self._pop_failed() if is_failed_next else self._healthy.popleft()

    def pop_for_probe(self) -> VisitorQueue:
        """Take out the lane to ask with whether User.com is there."""
        if self._healthy:
            # The newest: many of one kind that cannot pass may have come before it.
            return self._healthy.pop()
        # What is urgent may not be tried again, and so is asked with only if all others are suspected.
        if self._failed and not (self._urgent and self._failed[0][-1].solo_failures):
            return self._pop_failed()
        return self._urgent.popleft()

    def clear(self) -> None:
        """Forget them all."""
        self._urgent.clear()
        self._healthy.clear()
        self._failed.clear()

    @property
    def _is_failed_next(self) -> bool:
        return bool(self._failed) and (self._failed_turn or not self._healthy)

    def _pop_failed(self) -> VisitorQueue:
        return heapq.heappop(self._failed)[-1]


# Seconds between two looks at whether what is in flight has come to its end.
_POLL_INTERVAL = 0.01
# So often a lane may fail though others have passed since it did before: then nothing else is concluded from its failures.
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
        #: A worker has it, and may be sending the first of what waits.
        self.is_taken = False
        #: What User.com is being told just now: the first of what waits, or None.
        self.in_flight: QueuedCommand | None = None
        #: How often it has failed in a row.
        self.failures = 0
        #: How often of these others had passed since the time before: it may be its own fault.
        self.solo_failures = 0
        self._successes_at_last_failure = -1

    def on_success(self) -> None:
        """User.com has answered it."""
        self.failures = self.solo_failures = 0
        self._successes_at_last_failure = -1

    def on_failure(self, successes: int) -> bool:
        """Count a failure, after so many calls of all lanes were answered well; true if some were since the one before."""
        is_solo = 0 <= self._successes_at_last_failure < successes
        self.failures += 1
        self.solo_failures += is_solo
        self._successes_at_last_failure = successes
        return is_solo

    @property
    def is_suspect(self) -> bool:
        """True if it fails again and again while others pass: that says nothing of User.com any more."""
        return self.solo_failures >= _MAX_SOLO_FAILURES


class QueueManager:
    """All lanes in which something waits.

    A lane with work is in exactly one place: ready to be taken, taken by a worker, or delayed until a moment.
    """

    def __init__(self) -> None:
        self._queues: dict[str, VisitorQueue] = {}
        self._delayed: list[tuple[float, int, VisitorQueue]] = []
        self._delays = 0
        # What waits is bounded by the runtime; a lane is in here at most once.
        self._ready = ReadyQueue()
        self._reserved = 0
        self._waiters: list[anyio.Event] = []
        self._delays_changed = anyio.Event()

    def add(self, queued: QueuedCommand, keys: str | None = None) -> None:
        """Put a command at the end of its lane. ``keys`` were learned before (:class:`KeyRing`)."""
        ordering_key = queued.envelope.ordering_key
        queue = self._queues.get(ordering_key)
        if queue is None:
            queue = self._queues[ordering_key] = VisitorQueue(ordering_key)
            # A response waits for a reset's answer, and after ten seconds the reset is not ours any more.
            self._make_ready(queue, is_urgent=queued.envelope.creates_user)
        if keys is not None:
            queue.keys.restore(keys)
        queue.commands.append(queued)

    def _make_ready(self, queue: VisitorQueue, *, is_urgent: bool = False) -> None:
        self._ready.add(queue, is_urgent=is_urgent)
        if self._waiters:
            self._waiters.pop().set()

    async def reserve(self) -> None:
        """Wait for a lane with work that is promised to nobody else; :meth:`acquire` is due.

        Which one it will be is open until then: a worker may have to wait for its call, and meanwhile a better one may come.
        """
        while len(self._ready) <= self._reserved:
            awake = anyio.Event()
            self._waiters.append(awake)
            await awake.wait()
        self._reserved += 1

    def first(self) -> VisitorQueue:
        """Return the lane that is next just now, for one who has a promise to look at."""
        return self._ready.first()

    def acquire(self, *, is_probe: bool) -> VisitorQueue:
        """Return the next lane, or the one to ask with for all. It is the caller's until given back."""
        self._reserved -= 1
        queue = self._ready.pop_for_probe() if is_probe else self._ready.pop()
        queue.is_taken = True
        return queue

    def release(self, queue: VisitorQueue) -> None:
        """Return a lane: behind the others if something waits in it, else it is forgotten."""
        queue.is_taken = False
        if queue.commands:
            self._make_ready(queue)
        else:
            del self._queues[queue.ordering_key]

    def delay(self, queue: VisitorQueue, delay: float) -> None:
        """Return a lane that is to be left alone for ``delay`` seconds."""
        queue.is_taken = False
        self._delays += 1
        heapq.heappush(self._delayed, (anyio.current_time() + delay, self._delays, queue))
        self._delays_changed.set()

    def resume(self, *, are_all: bool = False) -> None:
        """Make delayed lanes ready: what was in their way is over, but of those whose own fault it may be; or all of them."""
        delayed, self._delayed = sorted(self._delayed), []
        for entry in delayed:  # what is left of a sorted list is a heap
            if are_all or not entry[-1].solo_failures:
                self._make_ready(entry[-1])
            else:
                self._delayed.append(entry)

    async def resume_delayed(self) -> None:
        """Make delayed lanes ready when their time comes; runs for ever."""
        while True:
            self._delays_changed = anyio.Event()
            due = self._delayed[0][0] if self._delayed else math.inf
            with anyio.CancelScope(deadline=due):
                await self._delays_changed.wait()
            while self._delayed and self._delayed[0][0] <= anyio.current_time():
                self._make_ready(heapq.heappop(self._delayed)[2])

    async def remove(self, receipts: Sequence[Receipt]) -> list[QueuedCommand]:
        """Take out what has one of these receipts, in their order, each with the key that was learned.

        What is in flight is waited for.
        """
        order = {receipt: n for n, receipt in enumerate(receipts)}

        def is_wanted(queued: QueuedCommand) -> bool:
            return queued.receipt in order

        taken, is_in_flight = self._remove(is_wanted)
        try:
            while (
                is_in_flight
            ):  # what comes of it is known to the worker alone, so this looks now and then
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
        """Take out what is not in flight; tell also whether anything is."""
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
            queue.commands = (
                kept  # empty or not, the lane stays where it is: whoever takes it next will see
            )
        return taken, is_in_flight

    def evict(self, ordering_keys: Container[str]) -> list[QueuedCommand]:
        """Take out what waits in these lanes and is not in flight: it has become another process's."""
        taken, _ = self._remove(
            lambda queued: queued.row is not None and queued.envelope.ordering_key in ordering_keys
        )
        return [queued for _, queued in taken]

    def has_work_before(self, moment: float, *, is_healthy: bool) -> bool:
        """Tell whether anything is being sent, or could be before a moment if calls could be made then (``is_healthy``)."""
        if not self._queues:
            return True  # what waits is on its way to here
        if any(queue.in_flight for queue in self._queues.values()):
            return True
        return is_healthy and (
            len(self._delayed) < len(self._queues)
            or any(due < moment for due, _, _ in self._delayed)
        )

    def oldest(self) -> float | None:
        """Return when the oldest of what waits was said."""
        return min(
            (
                queued.envelope.created_at
                for queue in self._queues.values()
                for queued in queue.commands
            ),
            default=None,
        )

    def close(self) -> list[QueuedCommand]:
        """Empty all lanes and return what was still queued in them."""
        left = [queued for queue in self._queues.values() for queued in queue.commands]
        self._queues.clear()
        self._delayed.clear()
        self._ready.clear()
        return left
