"""Notification of waiting tasks: :class:`Signal`."""

from __future__ import annotations

from collections import deque

import anyio


class Signal:
    """A condition without a lock: waiters check their state again when woken."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: deque[anyio.Event] = deque()

    async def wait(self) -> None:
        """Wait until the next notification."""
        event = anyio.Event()
        self._waiters.append(event)
        try:
            await event.wait()
        finally:
            if not event.is_set():
                self._waiters.remove(event)

    def notify(self) -> None:
        """Wake the task that waits for the longest time, if there is one."""
        if self._waiters:
            self._waiters.popleft().set()

    def notify_all(self) -> None:
        """Wake all waiting tasks."""
        while self._waiters:
            self._waiters.popleft().set()
