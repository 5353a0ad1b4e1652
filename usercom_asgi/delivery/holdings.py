"""What a running delivery has in memory, and how it comes in and goes out: :class:`Holdings`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .books import Books
from .lanes import Lanes
from .outbox import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from ..outcomes import Listeners
    from ..receipts import Receipt
    from .waiting import Waiting


class Holdings:
    """Commands that are accepted and not settled, in their lanes and in the books: the :class:`~.outbox.House` of a store."""

    def __init__(self, listeners: Listeners, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._lanes = Lanes()
        # Until the outbox is open, and that is before the first request, memory is all there is.
        self._books = Books(listeners, MemoryStore(self, max_waiting))

    @property
    def room(self) -> int:
        """How many commands may still come into memory."""
        return self._max_waiting - self._books.waiting

    @property
    def waiting(self) -> int:
        """How many commands are in memory, accepted and not settled."""
        return self._books.waiting

    def admit(self, waiting: Waiting) -> None:
        """Take a command that was accepted, and is safe."""
        self._lanes.add(waiting)

    def adopt(self, waiting: Waiting, keys: str | None, *, is_own: bool) -> None:
        """Take a command that was left in the outbox, by this process or another one, or in another life."""
        self._books.adopt(is_own=is_own)
        self._lanes.add(waiting, keys)

    def leave(self, waiting: Waiting) -> None:
        """Let go of a command that is safe in the outbox, and will come from there."""
        self._books.leave(waiting)

    def forget(self, lane_ids: Container[str]) -> list[Waiting]:
        """Take out what is another process's now."""
        return self._lanes.forget(lane_ids)

    async def withdraw(self, receipts: Sequence[Receipt]) -> list[Waiting]:
        """Take back what is not delivered of these, to :meth:`hand_over` or to :meth:`bury`; see :meth:`Lanes.withdraw`."""
        return await self._lanes.withdraw(receipts)

    def hand_over(self, waiting: Waiting, reason: str) -> None:
        """Let go of a command that another process has taken."""
        self._books.hand_over(waiting, reason)

    def bury(self, waiting: Waiting, reason: str) -> None:
        """Put a command that is in no lane to the dead letters."""
        self._books.bury(waiting, reason)
