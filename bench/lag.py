"""Durations on the clock and in CPU time.

On a busy machine, only the CPU time is that of this process.
"""

from __future__ import annotations

import asyncio
import time


class Worst:
    """The longest of some spans, in seconds.

    ``cpu`` is the CPU time of this process in one span, with all threads. The clock
    also counts the time that other processes took.
    """

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def span(self, wall: float, cpu: float) -> None:
        self.wall = max(self.wall, wall)
        self.cpu = max(self.cpu, cpu)

    def told(self) -> list[float]:
        return [self.wall, self.cpu]


class Lag(Worst):
    """Delay of a task that wakes up every millisecond."""

    def __init__(self) -> None:
        super().__init__()
        self._all: list[float] = []
        self._task = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            due, cpu = time.perf_counter() + 0.001, time.process_time()
            await asyncio.sleep(0.001)
            late = time.perf_counter() - due
            self.span(late, time.process_time() - cpu)
            self._all.append(late)

    def reset(self) -> None:
        self.wall = self.cpu = 0.0
        self._all.clear()

    def almost_worst(self) -> float:
        """The lag that 999 of 1,000 are below.

        It depends less on a machine that stands still at times.
        """
        return sorted(self._all)[int(len(self._all) * 0.999)] if self._all else 0.0
