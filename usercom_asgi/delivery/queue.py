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
        self._sound: deque[VisitorQueue] = deque()
        # A heap: what is least likely to be at fault itself comes first, and then what has failed least, and longest ago.
        self._failed: list[tuple[int, int, int, VisitorQueue]] = []
        self._failed_yet = 0
        self._is_failed_s_turn = False

    def __len__(self) -> int:
        return len(self._urgent) + len(self._sound) + len(self._failed)

    def add(self, queue: VisitorQueue, *, is_urgent: bool = False) -> None:
        """Put a lane behind its like; of urgent ones the last is the first."""
        if queue.failures:
            self._failed_yet += 1
            heapq.heappush(self._failed, (queue.faults, queue.failures, self._failed_yet, queue))
        elif is_urgent:
            self._urgent.appendleft(queue)
        else:
            self._sound.append(queue)

    def first(self) -> VisitorQueue:
        """Return what :meth:`pop` would."""
        if self._urgent:
            return self._urgent[0]
        return self._failed[0][-1] if self._is_failed_next else self._sound[0]

    def pop(self) -> VisitorQueue:
        """Take out the next lane."""
        if self._urgent:
            return self._urgent.popleft()
        is_failed_next = self._is_failed_next
        self._is_failed_s_turn = (
            not is_failed_next
        )  # so that neither waits for the end of the other
        return self._pop_failed() if is_failed_next else self._sound.popleft()

    def pop_for_probe(self) -> VisitorQueue:
        """Take out the lane to ask with whether User.com is there."""
        if self._sound:
            # The newest: many of one kind that cannot pass may have come before it.
            return self._sound.pop()
        # What is urgent may not be tried again, and so is asked with only if all others are suspected.
        if self._failed and not (self._urgent and self._failed[0][-1].faults):
            return self._pop_failed()
        return self._urgent.popleft()

    def clear(self) -> None:
        """Forget them all."""
        self._urgent.clear()
        self._sound.clear()
        self._failed.clear()

    @property
    def _is_failed_next(self) -> bool:
        return bool(self._failed) and (self._is_failed_s_turn or not self._sound)

    def _pop_failed(self) -> VisitorQueue:
        return heapq.heappop(self._failed)[-1]


# Seconds between two looks at whether what is in flight has come to its end.
_LOOK = 0.01
# So often a lane may fail though others have passed since it did before: then nothing else is concluded from its failures.
_MOST_FAULTS = 2


class VisitorQueue:
    """One visitor's commands, oldest first. At most one of them is being sent at any time."""

    __slots__ = (
        "failures",
        "faults",
        "id",
        "in_flight",
        "is_taken",
        "keys",
        "seen_passes",
        "waiting",
    )

    def __init__(self, lane_id: str) -> None:
        self.id = lane_id
        self.waiting: deque[QueuedCommand] = deque()
        self.keys = KeyRing()
        #: A worker has it, and may be sending the first of what waits.
        self.is_taken = False
        #: What User.com is being told just now: the first of what waits, or None.
        self.in_flight: QueuedCommand | None = None
        #: How often it has failed in a row.
        self.failures = 0
        #: How often of these others had passed since the time before: it may be its own fault.
        self.faults = 0
        self.seen_passes = -1

    def passed(self) -> None:
        """User.com has answered it."""
        self.failures = self.faults = 0
        self.seen_passes = -1

    def failed(self, passes: int) -> bool:
        """Count a failure, after so many calls of all lanes were answered well; true if some were since the one before."""
        is_fault = 0 <= self.seen_passes < passes
        self.failures += 1
        self.faults += is_fault
        self.seen_passes = passes
        return is_fault

    @property
    def is_known(self) -> bool:
        """True if it fails again and again while others pass: that says nothing of User.com any more."""
        return self.faults >= _MOST_FAULTS


class QueueManager:
    """All lanes in which something waits.

    A lane with work is in exactly one place: ready to be taken, taken by a worker, or parked until a moment.
    """

    def __init__(self) -> None:
        self._queues: dict[str, VisitorQueue] = {}
        self._delayed: list[tuple[float, int, VisitorQueue]] = []
        self._delays = 0
        # What waits is bounded by the runtime; a lane is in here at most once.
        self._ready = ReadyQueue()
        self._promised = 0
        self._sleepers: list[anyio.Event] = []
        self._rearranged = anyio.Event()

    def add(self, waiting: QueuedCommand, keys: str | None = None) -> None:
        """Put a command at the end of its lane. ``keys`` were learned before (:class:`KeyRing`)."""
        lane_id = waiting.envelope.ordering_key
        queue = self._queues.get(lane_id)
        if queue is None:
            queue = self._queues[lane_id] = VisitorQueue(lane_id)
            # A response waits for a reset's answer, and after ten seconds the reset is not ours any more.
            self._make_ready(queue, is_urgent=waiting.envelope.creates_user)
        if keys is not None:
            queue.keys.restore(keys)
        queue.waiting.append(waiting)

    def _make_ready(self, queue: VisitorQueue, *, is_urgent: bool = False) -> None:
        self._ready.add(queue, is_urgent=is_urgent)
        if self._sleepers:
            self._sleepers.pop().set()

    async def reserve(self) -> None:
        """Wait for a lane with work that is promised to nobody else; :meth:`take` is due.

        Which one it will be is open until then: a worker may have to wait for its call, and meanwhile a better one may come.
        """
        while len(self._ready) <= self._promised:
            awake = anyio.Event()
            self._sleepers.append(awake)
            await awake.wait()
        self._promised += 1

    def first(self) -> VisitorQueue:
        """Return the lane that is next just now, for one who has a promise to look at."""
        return self._ready.first()

    def take(self, *, is_probe: bool) -> VisitorQueue:
        """Return the next lane, or the one to ask with for all. It is the caller's until given back."""
        self._promised -= 1
        queue = self._ready.pop_for_probe() if is_probe else self._ready.pop()
        queue.is_taken = True
        return queue

    def put_back(self, queue: VisitorQueue) -> None:
        """Return a lane: behind the others if something waits in it, else it is forgotten."""
        queue.is_taken = False
        if queue.waiting:
            self._make_ready(queue)
        else:
            del self._queues[queue.id]

    def delay(self, queue: VisitorQueue, delay: float) -> None:
        """Return a lane that is to be left alone for ``delay`` seconds."""
        queue.is_taken = False
        self._delays += 1
        heapq.heappush(self._delayed, (anyio.current_time() + delay, self._delays, queue))
        self._rearranged.set()

    def resume(self, *, are_all: bool = False) -> None:
        """Make parked lanes ready: what was in their way is over, but of those whose own fault it may be; or all of them."""
        parked, self._delayed = sorted(self._delayed), []
        for entry in parked:  # what is left of a sorted list is a heap
            if are_all or not entry[-1].faults:
                self._make_ready(entry[-1])
            else:
                self._delayed.append(entry)

    async def resume_delayed(self) -> None:
        """Make parked lanes ready when their time comes; runs for ever."""
        while True:
            self._rearranged = anyio.Event()
            due = self._delayed[0][0] if self._delayed else math.inf
            with anyio.CancelScope(deadline=due):
                await self._rearranged.wait()
            while self._delayed and self._delayed[0][0] <= anyio.current_time():
                self._make_ready(heapq.heappop(self._delayed)[2])

    async def withdraw(self, receipts: Sequence[Receipt]) -> list[QueuedCommand]:
        """Take out what has one of these receipts, in their order, each with the key that was learned.

        What is in flight is waited for.
        """
        order = {receipt: n for n, receipt in enumerate(receipts)}

        def is_wanted(waiting: QueuedCommand) -> bool:
            return waiting.receipt in order

        taken, is_flying = self._take_out(is_wanted)
        try:
            while (
                is_flying
            ):  # what comes of it is known to the worker alone, so this looks now and then
                await anyio.sleep(_LOOK)
                more, is_flying = self._take_out(is_wanted)
                taken += more
        except BaseException:
            for queue, waiting in taken:
                self.add(waiting, queue.keys.dumps())
            raise
        for queue, waiting in taken:
            waiting.envelope = replace(waiting.envelope, key=queue.keys.key_for(waiting.envelope))
        return sorted((waiting for _, waiting in taken), key=lambda waiting: order[waiting.receipt])

    def _take_out(
        self, is_wanted: Callable[[QueuedCommand], bool]
    ) -> tuple[list[tuple[VisitorQueue, QueuedCommand]], bool]:
        """Take out what is not in flight; tell also whether anything is."""
        taken: list[tuple[VisitorQueue, QueuedCommand]] = []
        is_flying = False
        for queue in self._queues.values():
            kept: deque[QueuedCommand] = deque()
            for waiting in queue.waiting:
                if not is_wanted(waiting):
                    kept.append(waiting)
                elif waiting is queue.in_flight:
                    kept.append(waiting)
                    is_flying = True
                else:
                    taken.append((queue, waiting))
            queue.waiting = (
                kept  # empty or not, the lane stays where it is: whoever takes it next will see
            )
        return taken, is_flying

    def forget(self, ordering_keys: Container[str]) -> list[QueuedCommand]:
        """Take out what waits in these lanes and is not in flight: it has become another process's."""
        taken, _ = self._take_out(
            lambda waiting: (
                waiting.row is not None and waiting.envelope.ordering_key in ordering_keys
            )
        )
        return [waiting for _, waiting in taken]

    def has_work_before(self, moment: float, *, is_open: bool) -> bool:
        """Tell whether anything is being sent, or could be before a moment if calls could be made then (``is_open``)."""
        if not self._queues:
            return True  # what waits is on its way to here
        if any(queue.in_flight for queue in self._queues.values()):
            return True
        return is_open and (
            len(self._delayed) < len(self._queues)
            or any(due < moment for due, _, _ in self._delayed)
        )

    def oldest(self) -> float | None:
        """Return when the oldest of what waits was said."""
        return min(
            (
                waiting.envelope.created_at
                for queue in self._queues.values()
                for waiting in queue.waiting
            ),
            default=None,
        )

    def close(self) -> list[QueuedCommand]:
        """Empty all lanes and return what was still waiting in them."""
        left = [waiting for queue in self._queues.values() for waiting in queue.waiting]
        self._queues.clear()
        self._delayed.clear()
        self._ready.clear()
        return left
