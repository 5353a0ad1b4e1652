"""Order within a visitor, concurrency across visitors."""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from ..envelope import Envelope
    from ..receipts import Receipt


class Waiting:
    """An accepted envelope on its way, with its receipt and the tries so far."""

    __slots__ = ("envelope", "receipt", "tries")

    def __init__(self, envelope: Envelope, receipt: Receipt) -> None:
        self.envelope = envelope
        self.receipt = receipt
        self.tries = 0

    @property
    def age(self) -> float:
        """Seconds since it was said."""
        return time.time() - self.envelope.said_at


class Lane:
    """One visitor's commands, oldest first. At most one of them is being sent at any time."""

    __slots__ = ("id", "key", "waiting")

    def __init__(self, lane_id: str) -> None:
        self.id = lane_id
        self.waiting: deque[Waiting] = deque()
        #: The key that User.com last named for this visitor; wins over what the envelopes say.
        self.key: str | None = None


class Lanes:
    """All lanes in which something waits.

    A lane with work is in exactly one place: ready to be taken, taken by a worker, or parked until a moment.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        # A visitor whose key has just been named may come back with it while their first lane still has work.
        self._by_key: dict[str, Lane] = {}
        self._parked: list[tuple[float, int, Lane]] = []
        self._parkings = 0
        # The bound on what waits is the runtime's; this stream holds a lane at most once.
        self._ready, self._taken = anyio.create_memory_object_stream[Lane](math.inf)
        self._rearranged = anyio.Event()

    def add(self, waiting: Waiting) -> None:
        """Put a command at the end of its visitor's lane."""
        lane_id = waiting.envelope.lane
        lane = self._lanes.get(lane_id) or self._by_key.get(lane_id)
        if lane is None:
            lane = self._lanes[lane_id] = Lane(lane_id)
            self._ready.send_nowait(lane)
        lane.waiting.append(waiting)

    def learn(self, lane: Lane, key: str | None) -> None:
        """Write down the key that User.com has named for a lane's visitor."""
        if key is None or key == lane.key:
            return
        self._forget_key(lane)
        lane.key = key
        self._by_key.setdefault(key, lane)

    def _forget_key(self, lane: Lane) -> None:
        if lane.key is not None and self._by_key.get(lane.key) is lane:
            del self._by_key[lane.key]

    async def take(self) -> Lane:
        """Wait for a lane with work. It is the caller's until given back."""
        return await self._taken.receive()

    def give_back(self, lane: Lane) -> None:
        """Return a lane: behind the others if something waits in it, else it is forgotten."""
        if lane.waiting:
            self._ready.send_nowait(lane)
        else:
            del self._lanes[lane.id]
            self._forget_key(lane)

    def park(self, lane: Lane, delay: float) -> None:
        """Return a lane that is to be left alone for ``delay`` seconds."""
        self._parkings += 1
        heapq.heappush(self._parked, (anyio.current_time() + delay, self._parkings, lane))
        self._rearranged.set()

    async def unpark_when_due(self) -> None:
        """Make parked lanes ready when their time comes; runs for ever."""
        while True:
            self._rearranged = anyio.Event()
            due = self._parked[0][0] if self._parked else math.inf
            with anyio.move_on_at(due):
                await self._rearranged.wait()
            while self._parked and self._parked[0][0] <= anyio.current_time():
                self.give_back(heapq.heappop(self._parked)[2])

    def close(self) -> list[Waiting]:
        """Empty all lanes and return what was still waiting in them."""
        left = [waiting for lane in self._lanes.values() for waiting in lane.waiting]
        self._lanes.clear()
        self._parked.clear()
        self._ready.close()
        self._taken.close()
        return left
