"""An open :class:`~usercom_asgi.SqliteOutbox`: between the event loop's runtime and the file, which a worker thread writes."""

from __future__ import annotations

import logging
import sqlite3
import time
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import anyio
import anyio.lowlevel
import anyio.to_thread

from ..errors import OutboxError
from ..receipts import Receipt
from ..wire import from_text, to_text
from .lanes import Waiting
from .outbox import Prompt
from .sqlite_file import Burial, Done, Loaded, Put, SqliteFile, Work

if TYPE_CHECKING:
    from ..outcomes import Outcome
    from .outbox import House

logger = logging.getLogger("usercom_asgi")

# Seconds between two looks at what nobody owns: what another process has left, or did not have room for.
_POLL = 1.0
_COMPLAINT_INTERVAL = 60.0


class SqliteStore(Prompt):
    """See :class:`~usercom_asgi.delivery.outbox.Store`.

    What is to be written gathers while a transaction is under way, and goes with the next one: a burst costs a few commits.
    """

    def __init__(
        self, file: SqliteFile, house: House, limiter: anyio.CapacityLimiter, *, max_waiting: int, max_rows: int, name: str
    ) -> None:
        self._file = file
        self._house = house
        self._max_waiting = max_waiting
        self._max_rows = max_rows
        self._name = name
        self._limiter = limiter
        self._puts: list[Waiting] = []
        self._work = Work()
        self._in_memory: dict[str, int] = {}  # commands of each lane of ours
        self._receipts: WeakValueDictionary[int, Receipt] = WeakValueDictionary()
        self._rows = 0  # on disk, roughly
        self._next_poll = 0.0
        self._last_complaint = 0.0
        self._woken = anyio.Event()
        self._written = anyio.Event()  # what gathers now

    def refuses(self, waiting: int) -> str | None:  # noqa: ARG002  what is in memory is not the bound here
        """See :meth:`Store.refuses`."""
        if len(self._puts) >= self._max_waiting:
            return f"{len(self._puts)} commands wait for the disk already (max_waiting)"
        return f"{self._rows} commands wait on disk already (max_rows)" if self._rows >= self._max_rows else None

    def put(self, waiting: Waiting) -> None:
        """See :meth:`Store.put`."""
        waiting.receipts[0].storing = anyio.Event()
        self._puts.append(waiting)
        self._rows += 1
        self._hold(waiting.envelope.lane, 1)
        self._woken.set()

    def settled(self, waiting: Waiting) -> None:
        """See :meth:`Store.settled`."""
        self._work.done += waiting.rows
        self._rows -= len(waiting.rows)
        self._hold(waiting.envelope.lane, -len(waiting.rows))
        self._woken.set()

    def progressed(self, waiting: Waiting, key: str | None) -> None:
        """See :meth:`Store.progressed`."""
        self._work.changed.append((to_text(waiting.envelope), waiting.rows[0]))
        if key is not None:
            self._work.keys.append((key, waiting.envelope.lane))
        self._woken.set()

    def bury(self, waiting: Waiting, letter: Outcome) -> None:
        """See :meth:`Store.bury`."""
        envelope = waiting.envelope
        self._work.burials.append(
            Burial(envelope.lane, letter.said_at, to_text(envelope), letter.http_status, letter.reason, letter.detail)
        )
        self._woken.set()

    async def written(self) -> None:
        """See :meth:`Store.written`."""
        if self._woken.is_set():
            await self._written.wait()
        else:
            await anyio.lowlevel.checkpoint()

    def dead(self) -> list[Outcome]:
        """They are in the file: ``usercom-asgi outbox PATH`` shows them."""
        return []

    @property
    def kept(self) -> int:
        """See :attr:`Store.kept`."""
        return max(0, self._rows)

    def keeps(self, waiting: Waiting) -> bool:
        """Tell whether it is in the file."""
        return bool(waiting.rows)

    async def keep_writing(self) -> None:
        """Write what gathers, renew the lease, and look for what nobody owns; runs for ever."""
        while True:
            with anyio.move_on_after(max(0.0, self._next_poll - anyio.current_time())):
                await self._woken.wait()
            self._woken = anyio.Event()
            if not await self._write():
                await anyio.sleep(_POLL)

    async def close(self) -> None:
        """Write what is left, and let other processes have our lanes."""
        await self._write(is_last=True)
        try:
            await anyio.to_thread.run_sync(self._file.close, limiter=self._limiter)
        except sqlite3.Error as error:
            self._complain(error, 0)

    async def _write(self, *, is_last: bool = False) -> bool:
        """Do what has gathered in one transaction; False if the file cannot be written now."""
        puts, self._puts = self._puts, []
        work, self._work = self._work, Work()
        written, self._written = self._written, anyio.Event()
        now = anyio.current_time()
        work.room = 0 if is_last else self._house.room
        work.adopts = now >= self._next_poll and not is_last
        done, rows = Done(), self._rows
        try:
            # Not to be abandoned: what was written must be known to be.
            with anyio.CancelScope(shield=True):
                done, rows = await anyio.to_thread.run_sync(self._transact, work, puts, limiter=self._limiter)
        except sqlite3.Error as error:
            self._next_poll = now + _POLL
            self._fail(puts, work, error)
            return False
        finally:
            written.set()
        if work.adopts:
            # Where there was more than one look could take, the next one comes at once.
            self._next_poll = now if done.loaded and self._house.room > 0 else now + _POLL
        self._rows = rows
        self._apply(puts, done)
        return True

    def _transact(self, work: Work, puts: list[Waiting]) -> tuple[Done, int]:
        """In the worker thread: nothing of this is the event loop's work."""
        may_load = work.room >= 0
        work.puts = [Put(each.envelope.lane, each.envelope.said_at, to_text(each.envelope), may_load) for each in puts]
        done = self._file.transact(work)
        return done, self._file.count(self._max_rows) if work.adopts else self._rows

    def _apply(self, puts: list[Waiting], done: Done) -> None:
        for waiting, (row, is_loaded) in zip(puts, done.puts, strict=True):
            waiting.rows = [row]
            self._tell_stored(waiting)
            if is_loaded:
                self._house.admit(waiting)
            else:
                self._receipts[row] = waiting.receipts[0]
                self._hold(waiting.envelope.lane, -1)
                self._house.leave(waiting)
        for each in done.loaded:
            self._take(each)

    def _take(self, loaded: Loaded) -> None:
        """Take into memory what was on disk."""
        self._hold(loaded.lane, 1)
        receipt = self._receipts.pop(loaded.row, None)
        try:
            waiting = Waiting(from_text(loaded.body), receipt or Receipt())
        except OutboxError as error:
            logger.error("%s: %s; it goes to the dead letters", self._name, error)  # noqa: TRY400
            self._work.burials.append(Burial(loaded.lane, time.time(), loaded.body, None, str(error), ""))
            self._work.done.append(loaded.row)
            self._hold(loaded.lane, -1)
            return
        waiting.rows = [loaded.row]
        self._house.adopt(waiting, loaded.key, is_own=receipt is not None)

    def _fail(self, puts: list[Waiting], work: Work, error: sqlite3.Error) -> None:
        """Nothing was written: what was accepted goes on in memory, and what has come of the rest is written later."""
        self._complain(error, len(puts))
        for waiting in puts:
            self._hold(waiting.envelope.lane, -1)
            self._rows -= 1
            self._tell_stored(waiting)
            self._house.admit(waiting)
        later, self._work = self._work, work
        work.puts = []
        for name in ("done", "burials", "changed", "keys", "released"):
            getattr(work, name).extend(getattr(later, name))

    def _hold(self, lane: str, change: int) -> None:
        """Count what is in memory of a lane; of one of which nothing is, what waits on disk may be loaded."""
        count = self._in_memory.get(lane, 0) + change
        if count > 0:
            self._in_memory[lane] = count
        else:
            self._in_memory.pop(lane, None)
            self._work.released.append(lane)
            self._woken.set()

    def _tell_stored(self, waiting: Waiting) -> None:
        for receipt in waiting.receipts:
            if receipt.storing is not None:
                receipt.storing.set()
                receipt.storing = None

    def _complain(self, error: sqlite3.Error, puts: int) -> None:
        now = time.monotonic()
        if not self._last_complaint or now - self._last_complaint > _COMPLAINT_INTERVAL:
            self._last_complaint = now
            logger.error("%s cannot be written (%s): %d commands wait in memory only", self._name, error, puts)
