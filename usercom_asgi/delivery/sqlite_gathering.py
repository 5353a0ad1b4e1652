"""What gathers for the next transaction of a :class:`~usercom_asgi.SqliteOutbox`: :class:`Gathering`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from ..wire import to_text
from .complaints import Rarely
from .outbox import Prompt
from .sqlite_file import Burial, Work

if TYPE_CHECKING:
    from ..outcomes import Outcome
    from .waiting import Waiting

logger = logging.getLogger("usercom_asgi")


class Gathering(Prompt):
    """What the runtime says of its commands, until it is written; and how many of them are in memory. Nothing here waits."""

    def __init__(self, max_waiting: int, max_rows: int) -> None:
        self._max_waiting = max_waiting
        self._max_rows = max_rows
        self._puts: list[Waiting] = []
        #: Held back while the file cannot be written: older commands of their visitors wait in it.
        self._behind: list[Waiting] = []
        self._work = Work()
        self._in_memory: dict[str, int] = {}  # commands of each lane of ours
        self._held = 0  # of all lanes
        self._rows = 0  # on disk, roughly
        self._woken = anyio.Event()
        #: The file could not be written when that was last tried: nobody waits for it.
        self._is_broken = False
        self._complaints = Rarely()

    @property
    def trouble(self) -> str:
        """See :attr:`Store.trouble`."""
        return "the outbox's file cannot be written: what is said waits in memory only" if self._is_broken else ""

    def refuses(self, waiting: int) -> str | None:
        """See :meth:`Store.refuses`. What is on disk as well does not count against memory: that could be left there."""
        if waiting - self._held + len(self._puts) + len(self._behind) >= self._max_waiting:
            return f"{self._max_waiting} commands wait in memory only, or for the disk, already (max_waiting)"
        return f"{self._rows} commands wait on disk already (max_rows)" if self._rows >= self._max_rows else None

    def put(self, waiting: Waiting) -> None:
        """See :meth:`Store.put`."""
        if not self._is_broken:
            waiting.receipt.storing = anyio.Event()
        self._puts.append(waiting)
        self._rows += 1
        self._hold(waiting.envelope.lane, 1)
        self._woken.set()

    def settled(self, waiting: Waiting) -> None:
        """See :meth:`Store.settled`."""
        rows = waiting.rows
        self._work.done += rows
        self._rows -= len(rows)
        self._hold(waiting.envelope.lane, -len(rows))
        self._woken.set()

    def progressed(self, waiting: Waiting, keys: str) -> None:
        """See :meth:`Store.progressed`."""
        self._work.changed.append((to_text(waiting.envelope), waiting.rows[0]))
        self._work.keys.append((keys, waiting.envelope.lane))
        self._woken.set()

    def bury(self, waiting: Waiting, letter: Outcome) -> None:
        """See :meth:`Store.bury`."""
        envelope = waiting.envelope
        self._work.burials.append(
            Burial(envelope.lane, letter.said_at, to_text(envelope), letter.http_status, letter.reason, letter.detail)
        )
        if self._is_broken:
            self._forget_old_letters()
        self._woken.set()

    @property
    def kept(self) -> int:
        """See :attr:`Store.kept`."""
        return max(0, self._rows)

    def keeps(self, waiting: Waiting) -> bool:
        """Tell whether it is in the file."""
        return bool(waiting.rows)

    def _forget_old_letters(self) -> None:
        """While they cannot be written, commands that are in memory only die without end."""
        too_many = len(self._work.burials) - self._max_waiting
        if too_many > 0:
            del self._work.burials[:too_many]
            if self._complaints.due("letters") is not None:
                logger.error("%d dead letters wait for the disk (max_waiting): the oldest are forgotten", self._max_waiting)

    def _hold(self, lane: str, change: int) -> None:
        """Count what is in memory of a lane; of one of which nothing is, what waits on disk may be loaded."""
        if not self._count(lane, change):
            self._work.released.append(lane)
            self._woken.set()

    def _count(self, lane: str, change: int) -> int:
        self._held += change
        count = self._in_memory.get(lane, 0) + change
        if count > 0:
            self._in_memory[lane] = count
        else:
            self._in_memory.pop(lane, None)
        return count
