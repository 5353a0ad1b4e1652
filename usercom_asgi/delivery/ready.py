"""Which lane is next: :class:`Ready`."""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .lanes import Lane


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
