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
    from .message import Waiting


class Ready:
    """The lanes that may be taken: what a response waits for first, then one that has failed and one that has not in turn.

    A probe is for all, so it is made with the lane that is most likely to be answered if User.com is there at all.
    """

    def __init__(self) -> None:
        self._urgent: deque[Lane] = deque()
        self._sound: deque[Lane] = deque()
        # A heap: what is least likely to be at fault itself comes first, and then what has failed least, and longest ago.
        self._failed: list[tuple[int, int, int, Lane]] = []
        self._failed_yet = 0
        self._is_failed_s_turn = False

    def __len__(self) -> int:
        return len(self._urgent) + len(self._sound) + len(self._failed)

    def add(self, lane: Lane, *, is_urgent: bool = False) -> None:
        """Put a lane behind its like; of urgent ones the last is the first."""
        if lane.failures:
            self._failed_yet += 1
            heapq.heappush(self._failed, (lane.faults, lane.failures, self._failed_yet, lane))
        elif is_urgent:
            self._urgent.appendleft(lane)
        else:
            self._sound.append(lane)

    def first(self) -> Lane:
        """Return what :meth:`pop` would."""
        if self._urgent:
            return self._urgent[0]
        return self._failed[0][-1] if self._is_failed_next else self._sound[0]

    def pop(self) -> Lane:
        """Take out the next lane."""
        if self._urgent:
            return self._urgent.popleft()
        is_failed_next = self._is_failed_next
        self._is_failed_s_turn = not is_failed_next  # so that neither waits for the end of the other
        return self._pop_failed() if is_failed_next else self._sound.popleft()

    def pop_for_probe(self) -> Lane:
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

    def _pop_failed(self) -> Lane:
        return heapq.heappop(self._failed)[-1]


# Seconds between two looks at whether what is in flight has come to its end.
_LOOK = 0.01
# So often a lane may fail though others have passed since it did before: then nothing else is concluded from its failures.
_MOST_FAULTS = 2


class Lane:
    """One visitor's commands, oldest first. At most one of them is being sent at any time."""

    __slots__ = ("failures", "faults", "id", "in_flight", "is_taken", "keys", "seen_passes", "waiting")

    def __init__(self, lane_id: str) -> None:
        self.id = lane_id
        self.waiting: deque[Waiting] = deque()
        self.keys = KeyRing()
        #: A worker has it, and may be sending the first of what waits.
        self.is_taken = False
        #: What User.com is being told just now: the first of what waits, or None.
        self.in_flight: Waiting | None = None
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


class Lanes:
    """All lanes in which something waits.

    A lane with work is in exactly one place: ready to be taken, taken by a worker, or parked until a moment.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._parked: list[tuple[float, int, Lane]] = []
        self._parkings = 0
        # What waits is bounded by the runtime; a lane is in here at most once.
        self._ready = Ready()
        self._promised = 0
        self._sleepers: list[anyio.Event] = []
        self._rearranged = anyio.Event()

    def add(self, waiting: Waiting, keys: str | None = None) -> None:
        """Put a command at the end of its lane; consecutive updates merge. ``keys`` were learned before (:class:`KeyRing`)."""
        lane_id = waiting.envelope.lane
        lane = self._lanes.get(lane_id)
        if lane is None:
            lane = self._lanes[lane_id] = Lane(lane_id)
            # A response waits for a reset's answer, and after ten seconds the reset is not ours any more.
            self._make_ready(lane, is_urgent=waiting.envelope.creates_user)
        elif len(lane.waiting) > lane.is_taken and lane.waiting[-1].take_in(waiting):
            return
        if keys is not None:
            lane.keys.restore(keys)
        lane.waiting.append(waiting)

    def _make_ready(self, lane: Lane, *, is_urgent: bool = False) -> None:
        self._ready.add(lane, is_urgent=is_urgent)
        if self._sleepers:
            self._sleepers.pop().set()

    async def promise(self) -> None:
        """Wait for a lane with work that is promised to nobody else; :meth:`take` is due.

        Which one it will be is open until then: a worker may have to wait for its call, and meanwhile a better one may come.
        """
        while len(self._ready) <= self._promised:
            awake = anyio.Event()
            self._sleepers.append(awake)
            await awake.wait()
        self._promised += 1

    def first(self) -> Lane:
        """Return the lane that is next just now, for one who has a promise to look at."""
        return self._ready.first()

    def take(self, *, is_probe: bool) -> Lane:
        """Return the next lane, or the one to ask with for all. It is the caller's until given back."""
        self._promised -= 1
        lane = self._ready.pop_for_probe() if is_probe else self._ready.pop()
        lane.is_taken = True
        return lane

    def give_back(self, lane: Lane) -> None:
        """Return a lane: behind the others if something waits in it, else it is forgotten."""
        lane.is_taken = False
        if lane.waiting:
            self._make_ready(lane)
        else:
            del self._lanes[lane.id]

    def take_apart(self, lane: Lane) -> None:
        """Put what has merged into the lane's first command back in its place, each for itself."""
        lane.waiting.extendleft(reversed(lane.waiting.popleft().apart()))

    def park(self, lane: Lane, delay: float) -> None:
        """Return a lane that is to be left alone for ``delay`` seconds."""
        lane.is_taken = False
        self._parkings += 1
        heapq.heappush(self._parked, (anyio.current_time() + delay, self._parkings, lane))
        self._rearranged.set()

    def unpark(self, *, are_all: bool = False) -> None:
        """Make parked lanes ready: what was in their way is over, but of those whose own fault it may be; or all of them."""
        parked, self._parked = sorted(self._parked), []
        for entry in parked:  # what is left of a sorted list is a heap
            if are_all or not entry[-1].faults:
                self._make_ready(entry[-1])
            else:
                self._parked.append(entry)

    async def unpark_when_due(self) -> None:
        """Make parked lanes ready when their time comes; runs for ever."""
        while True:
            self._rearranged = anyio.Event()
            due = self._parked[0][0] if self._parked else math.inf
            with anyio.CancelScope(deadline=due):
                await self._rearranged.wait()
            while self._parked and self._parked[0][0] <= anyio.current_time():
                self._make_ready(heapq.heappop(self._parked)[2])

    async def withdraw(self, receipts: Sequence[Receipt]) -> list[Waiting]:
        """Take out what has one of these receipts, in their order, each with the key that was learned.

        What is in flight is waited for. Updates that have merged with one of these come along.
        """
        order = {receipt: n for n, receipt in enumerate(receipts)}

        def is_wanted(waiting: Waiting) -> bool:
            return any(receipt in order for receipt in waiting.receipts)

        taken, is_flying = self._take_out(is_wanted)
        try:
            while is_flying:  # what comes of it is known to the worker alone, so this looks now and then
                await anyio.sleep(_LOOK)
                more, is_flying = self._take_out(is_wanted)
                taken += more
        except BaseException:
            for lane, waiting in taken:
                self.add(waiting, lane.keys.dumps())
            raise
        for lane, waiting in taken:
            waiting.envelope = replace(waiting.envelope, key=lane.keys.key_for(waiting.envelope))
        found = [waiting for _, waiting in taken]
        return sorted(found, key=lambda waiting: min(order.get(each, len(order)) for each in waiting.receipts))

    def _take_out(self, is_wanted: Callable[[Waiting], bool]) -> tuple[list[tuple[Lane, Waiting]], bool]:
        """Take out what is not in flight; tell also whether anything is."""
        taken: list[tuple[Lane, Waiting]] = []
        is_flying = False
        for lane in self._lanes.values():
            kept: deque[Waiting] = deque()
            for waiting in lane.waiting:
                if not is_wanted(waiting):
                    kept.append(waiting)
                elif waiting is lane.in_flight:
                    kept.append(waiting)
                    is_flying = True
                else:
                    taken.append((lane, waiting))
            lane.waiting = kept  # empty or not, the lane stays where it is: whoever takes it next will see
        return taken, is_flying

    def forget(self, lane_ids: Container[str]) -> list[Waiting]:
        """Take out what waits in these lanes and is not in flight: it has become another process's."""
        taken, _ = self._take_out(lambda waiting: bool(waiting.rows) and waiting.envelope.lane in lane_ids)
        return [waiting for _, waiting in taken]

    def has_work_before(self, moment: float, *, is_open: bool) -> bool:
        """Tell whether anything is being sent, or could be before a moment if calls could be made then (``is_open``)."""
        if not self._lanes:
            return True  # what waits is on its way to here
        if any(lane.in_flight for lane in self._lanes.values()):
            return True
        return is_open and (len(self._parked) < len(self._lanes) or any(due < moment for due, _, _ in self._parked))

    def oldest(self) -> float | None:
        """Return when the oldest of what waits was said."""
        return min((waiting.envelope.said_at for lane in self._lanes.values() for waiting in lane.waiting), default=None)

    def close(self) -> list[Waiting]:
        """Empty all lanes and return what was still waiting in them."""
        left = [waiting for lane in self._lanes.values() for waiting in lane.waiting]
        self._lanes.clear()
        self._parked.clear()
        self._ready.clear()
        return left
