"""How long something takes, on the clock and of it in CPU time: on a machine that others load, only the second is ours."""

from __future__ import annotations

import asyncio
import time


class Worst:
    """The longest of some spans, in seconds.

    ``cpu`` is what this process has worked in one of them, with all its threads; the
    clock also counts what other processes took meanwhile.
    """

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def span(self, wall: float, cpu: float) -> None:
        self.wall = max(self.wall, wall)
        self.cpu = max(self.cpu, cpu)

    def told(self) -> list[float]:
        return [self.wall, self.cpu]


class Lag(Worst):
    """How much later than due the event loop gets to a task that wakes up every millisecond."""

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
        """What 999 of 1,000 lags are below: a machine that stands still now and then has less of a say in it."""
        return sorted(self._all)[int(len(self._all) * 0.999)] if self._all else 0.0
