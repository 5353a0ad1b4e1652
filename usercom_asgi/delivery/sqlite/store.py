"""An open :class:`~usercom_asgi.SqliteOutbox`: between the event loop's runtime and the file, which a worker thread writes."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import anyio
import anyio.lowlevel
import anyio.to_thread

from ...core.envelope import Envelope
from ...core.exceptions import OutboxError
from ...core.receipts import Receipt
from ...core.serialization import from_text, to_text
from ..message import QueuedCommand
from ..outbox import UnbufferedStore
from ..recorder import LogThrottle
from .database import (
    SHORT_BUSY_TIMEOUT,
    DeadLetterRow,
    LoadedRow,
    NewRow,
    SqliteFile,
    WriteBatch,
    WriteResult,
)
from .schema import BUSY_TIMEOUT

if TYPE_CHECKING:
    from ...core.receipts import Outcome
    from ..outbox import QueueHost


class WriteBuffer(UnbufferedStore):
    """What the runtime says of its commands, until it is written; and how many of them are in memory. Nothing here waits."""

    def __init__(self, max_queue_size: int, max_rows: int) -> None:
        self._max_queue_size = max_queue_size
        self._max_rows = max_rows
        self._puts: list[QueuedCommand] = []
        #: Held back while the file cannot be written: older commands of their visitors wait in it.
        self._held_back: list[QueuedCommand] = []
        self._work = WriteBatch()
        self._in_memory: dict[str, int] = {}  # commands of each lane of ours
        self._held = 0  # of all lanes
        self._rows = 0  # on disk, roughly
        self._woken = anyio.Event()
        #: The file could not be written when that was last tried: nobody waits for it.
        self._is_broken = False
        self._throttle = LogThrottle()

    @property
    def trouble(self) -> str:
        """See :attr:`Store.trouble`."""
        return (
            "the outbox's file cannot be written: what is said waits in memory only"
            if self._is_broken
            else ""
        )

    def refuses(self, waiting: int) -> str | None:
        """See :meth:`Store.refuses`. What is on disk as well does not count against memory: that could be left there."""
        if waiting - self._held + len(self._puts) + len(self._held_back) >= self._max_queue_size:
            return f"{self._max_queue_size} commands wait in memory only, or for the disk, already (max_queue_size)"
        return (
            f"{self._rows} commands wait on disk already (max_rows)"
            if self._rows >= self._max_rows
            else None
        )

    def put(self, waiting: QueuedCommand) -> None:
        """See :meth:`Store.put`."""
        if not self._is_broken:
            waiting.receipt.storing = anyio.Event()
        self._puts.append(waiting)
        self._rows += 1
        self._hold(waiting.envelope.ordering_key, 1)
        self._woken.set()

    def settled(self, waiting: QueuedCommand) -> None:
        """See :meth:`Store.settled`."""
        rows = waiting.rows
        self._work.done += rows
        self._rows -= len(rows)
        self._hold(waiting.envelope.ordering_key, -len(rows))
        self._woken.set()

    def progressed(self, waiting: QueuedCommand, keys: str) -> None:
        """See :meth:`Store.progressed`."""
        self._work.changed.append((to_text(waiting.envelope), waiting.rows[0]))
        self._work.keys.append((keys, waiting.envelope.ordering_key))
        self._woken.set()

    def dead_letter(self, waiting: QueuedCommand, letter: Outcome) -> None:
        """See :meth:`Store.dead_letter`."""
        envelope = waiting.envelope
        self._work.dead_letters.append(
            DeadLetterRow(
                envelope.ordering_key,
                letter.created_at,
                to_text(envelope),
                letter.http_status,
                letter.reason,
                letter.detail,
            )
        )
        if self._is_broken:
            self._drop_oldest_dead_letters()
        self._woken.set()

    @property
    def kept(self) -> int:
        """See :attr:`Store.kept`."""
        return max(0, self._rows)

    def keeps(self, waiting: QueuedCommand) -> bool:
        """Tell whether it is in the file."""
        return bool(waiting.rows)

    def _drop_oldest_dead_letters(self) -> None:
        """While they cannot be written, commands that are in memory only die without end."""
        too_many = len(self._work.dead_letters) - self._max_queue_size
        if too_many > 0:
            del self._work.dead_letters[:too_many]
            if self._throttle.due("letters") is not None:
                logger.error(
                    "%d dead letters wait for the disk (max_queue_size): the oldest are forgotten",
                    self._max_queue_size,
                )

    def _hold(self, ordering_key: str, change: int) -> None:
        """Count what is in memory of a lane; of one of which nothing is, what waits on disk may be loaded."""
        if not self._count(ordering_key, change):
            self._work.released.append(ordering_key)
            self._woken.set()

    def _count(self, ordering_key: str, change: int) -> int:
        self._held += change
        count = self._in_memory.get(ordering_key, 0) + change
        if count > 0:
            self._in_memory[ordering_key] = count
        else:
            self._in_memory.pop(ordering_key, None)
        return count


logger = logging.getLogger("usercom_asgi")

# Seconds between two looks at what nobody owns: what another process has left, or did not have room for.
POLL_INTERVAL = 1.0


class SqliteStore(WriteBuffer):
    """See :class:`~usercom_asgi.delivery.outbox.Store`.

    What is to be written gathers while a transaction is under way, and goes with the next one: a burst costs a few commits.
    """

    def __init__(
        self,
        file: SqliteFile,
        house: QueueHost,
        limiter: anyio.CapacityLimiter,
        *,
        max_queue_size: int,
        max_rows: int,
        name: str,
    ) -> None:
        super().__init__(max_queue_size, max_rows)
        self._file = file
        self._host = house
        self._name = name
        self._limiter = limiter
        self._is_draining = False
        self._receipts: WeakValueDictionary[int, Receipt] = WeakValueDictionary()
        # Rows of the file that this process accepted and left there; their receipts may be gone.
        self._left: set[int] = set()
        self._next_poll = 0.0
        self._written = anyio.Event()  # what gathers now

    def flush(self) -> None:
        """See :meth:`Store.flush`."""
        self._is_draining = True
        self._woken.set()

    async def written(self) -> None:
        """See :meth:`Store.written`."""
        if self._woken.is_set() and not self._is_broken:
            await self._written.wait()
        else:
            await anyio.lowlevel.checkpoint()

    def dead(self) -> list[Outcome]:
        """They are in the file: ``usercom-asgi outbox PATH`` shows them."""
        return []

    async def keep_writing(self) -> None:
        """Write what gathers, renew the lease, and look for what nobody owns; runs for ever."""
        while True:
            with anyio.move_on_after(max(0.0, self._next_poll - anyio.current_time())):
                await self._woken.wait()
            self._woken = anyio.Event()
            is_time = not self._is_broken or anyio.current_time() >= self._next_poll
            if not is_time or not await self._write():
                await self._keep_in_memory()

    async def close(self) -> None:
        """Write what is left, and let other processes have our lanes."""
        import sqlite3

        self.flush()
        is_written = await self._write(is_last=True)
        await self._keep_in_memory()
        try:
            end = self._file.close if is_written else self._file.abandon
            self._rows = await anyio.to_thread.run_sync(end, limiter=self._limiter)
        except sqlite3.Error as error:
            self._log_failure(error, 0)

    async def _write(self, *, is_last: bool = False) -> bool:
        """Do what has gathered in one transaction; False if the file cannot be written now."""
        puts, self._puts, self._held_back = self._held_back + self._puts, [], []
        work, self._work = self._work, WriteBatch()
        # What was said since then of a visitor of whom nothing was left in memory is in `puts`: it holds the lane again.
        released = list(dict.fromkeys(work.released))
        work.released = [
            ordering_key for ordering_key in released if ordering_key not in self._in_memory
        ]
        written, self._written = self._written, anyio.Event()
        now, before = anyio.current_time(), self._rows
        work.room = 0 if is_last else self._host.room
        work.claim_orphans = now >= self._next_poll and not is_last
        done, rows, envelopes = WriteResult(), before, list[Envelope | OutboxError]()
        try:
            # Not to be abandoned: what was written must be known to be.
            with anyio.CancelScope(shield=True):
                done, rows, envelopes = await anyio.to_thread.run_sync(
                    self._transact, work, puts, limiter=self._limiter
                )
        except Exception as error:  # noqa: BLE001  also one of ours: what was accepted goes on, whatever it is
            self._next_poll = anyio.current_time() + POLL_INTERVAL
            work.puts, work.released = [], released
            self._fail(puts, work, error)
            return False
        finally:
            written.set()
        self._is_broken = False
        if work.claim_orphans:
            # Where there was more than one look could take, the next one comes at once.
            self._next_poll = now if done.loaded and self._host.room > 0 else now + POLL_INTERVAL
        self._rows += rows - before
        if done.still_ours is not None:
            self._drop_lost_queues(done.still_ours)
        if len(self._left) > self._rows:
            # Other processes sent some of them. Otherwise the set would grow for ever.
            self._left = {row for row in self._left if row >= done.oldest}
        self._apply(puts, done, envelopes)
        return True

    def _transact(
        self, work: WriteBatch, puts: list[QueuedCommand]
    ) -> tuple[WriteResult, int, list[Envelope | OutboxError]]:
        """In the worker thread: nothing of this is the event loop's work."""
        is_urgent = self._is_draining or self._is_broken
        self._file.set_busy_timeout(SHORT_BUSY_TIMEOUT if is_urgent else BUSY_TIMEOUT)
        if work.claim_orphans and not self._file.is_in_place():
            raise OSError("it was moved or deleted while it is in use")
        may_load = work.room >= 0
        work.puts = [
            NewRow(
                each.envelope.ordering_key,
                each.envelope.created_at,
                to_text(each.envelope),
                may_load,
            )
            for each in puts
        ]
        rows = self._rows
        done = self._file.transact(work)
        return (
            done,
            self._file.count(self._max_rows) if work.claim_orphans else rows,
            [_envelope(each) for each in done.loaded],
        )

    def _apply(
        self, puts: list[QueuedCommand], done: WriteResult, envelopes: list[Envelope | OutboxError]
    ) -> None:
        for waiting, (row, is_loaded) in zip(puts, done.puts, strict=True):
            waiting.row = row
            self._mark_stored(waiting)
            if is_loaded:
                self._host.enqueue(waiting)
            else:
                self._leave_on_disk(waiting)
        for loaded, envelope in zip(done.loaded, envelopes, strict=True):
            self._load(loaded, envelope)

    def _drop_lost_queues(self, still_ours: set[str]) -> None:
        """We stood still for longer than our lease, and what we had in memory is others' now: they send it."""
        lost = {ordering_key for ordering_key in self._in_memory if ordering_key not in still_ours}
        for waiting in self._host.forget(lost):
            self._leave_on_disk(waiting)

    def _leave_on_disk(self, waiting: QueuedCommand) -> None:
        """It is on disk, and not ours to send."""
        ordering_key = waiting.envelope.ordering_key
        self._hold(ordering_key, -len(waiting.rows))
        # To be loaded in its turn, also if what holds the lane just now turns out to be in memory only.
        self._work.released.append(ordering_key)
        for row in waiting.rows:
            self._left.add(row)
        self._receipts.update(zip(waiting.rows, waiting.receipts, strict=True))
        self._host.release(waiting)

    def _load(self, loaded: LoadedRow, envelope: Envelope | OutboxError) -> None:
        """Take into memory what was on disk."""
        if isinstance(envelope, OutboxError):
            logger.error("%s: %s; it goes to the dead letters", self._name, envelope)
            self._work.dead_letters.append(
                DeadLetterRow(
                    loaded.ordering_key, time.time(), loaded.body, None, str(envelope), ""
                )
            )
            self._work.done.append(loaded.row)
            self._hold(loaded.ordering_key, 0)
            return
        self._hold(loaded.ordering_key, 1)
        receipt = self._receipts.pop(loaded.row, None)
        waiting = QueuedCommand(envelope, receipt or Receipt())
        waiting.row = loaded.row
        is_own = loaded.row in self._left
        self._left.discard(loaded.row)
        self._host.restore(waiting, loaded.keys, is_own=is_own)

    def _fail(self, puts: list[QueuedCommand], work: WriteBatch, error: Exception) -> None:
        """Nothing was written, and nobody waits for that any more. What has come of what is on disk is written later."""
        self._is_broken = True
        self._puts = [*puts, *self._puts]
        for waiting in self._puts:
            self._mark_stored(waiting)
        self._log_failure(error, len(self._puts))
        self._written.set()
        self._written = anyio.Event()
        later, self._work = self._work, work
        for name in ("done", "dead_letters", "changed", "keys", "released"):
            getattr(work, name).extend(getattr(later, name))
        self._drop_oldest_dead_letters()

    async def _keep_in_memory(self) -> None:
        """What was accepted goes on, though it could not be written; but for what would overtake what waits on disk."""
        if self._is_draining:  # what is on disk has time, and this has not
            self._puts, self._held_back = self._held_back + self._puts, []
        puts, self._puts = self._puts, []
        older = await self._queues_with_more({waiting.envelope.ordering_key for waiting in puts})
        for waiting in puts:
            if waiting.envelope.ordering_key in older:
                self._held_back.append(waiting)
                continue
            # Without a release: of its lane nothing is in the file that was not there before.
            self._count(waiting.envelope.ordering_key, -1)
            self._rows -= 1
            self._host.enqueue(waiting)

    async def _queues_with_more(self, ordering_keys: set[str]) -> set[str]:
        """Return those of these lanes in which something waits that is not in the runtime's memory."""
        if not ordering_keys or self._is_draining:
            return set()
        found = {waiting.envelope.ordering_key for waiting in self._held_back}
        # There is nothing to wait for in what cannot be read either.
        with anyio.CancelScope(shield=True), suppress(Exception):
            found |= await anyio.to_thread.run_sync(
                self._file.queues_with_more, ordering_keys, limiter=self._limiter
            )
        return found

    def _mark_stored(self, waiting: QueuedCommand) -> None:
        for receipt in waiting.receipts:
            if receipt.storing is not None:
                receipt.storing.set()
                receipt.storing = None

    def _log_failure(self, error: Exception, puts: int) -> None:
        if self._throttle.due("the file") is not None:
            logger.error(
                "%s cannot be written (%s): %d commands wait in memory only",
                self._name,
                error,
                puts,
            )


def _envelope(loaded: LoadedRow) -> Envelope | OutboxError:
    try:
        envelope = from_text(loaded.body)
    except OutboxError as error:
        return error
    return (
        envelope
        if envelope.ordering_key == loaded.ordering_key
        else OutboxError("what was kept is of another visitor")
    )
