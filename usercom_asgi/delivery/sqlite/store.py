"""The open :class:`~usercom_asgi.SqliteOutbox`, between the delivery and the file."""

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
from ...core.receipts import PendingReceipt
from ...core.serialization import from_text, to_text
from ...core.signals import Signal
from ..log_throttle import LogThrottle
from ..queue import QueuedCommand
from .buffer import WriteBuffer
from .database import (
    SHORT_BUSY_TIMEOUT,
    FileMovedError,
    LoadedRow,
    SqliteFile,
    WriteBatch,
    WriteResult,
)
from .schema import BUSY_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...core.receipts import Outcome
    from ..outbox import QueueHost

logger = logging.getLogger("usercom_asgi")
_INVALID_ROW = {"usercom_event": "outbox_row_invalid"}

# Seconds between searches for queues without an owner: another process has ended, or
# had no room for them.
POLL_INTERVAL = 1.0


class SqliteStore:
    """The store of an open :class:`~usercom_asgi.SqliteOutbox`.

    Changes are buffered during a transaction and written with the next one, so a burst
    costs a few commits.
    """

    def __init__(
        self,
        file: SqliteFile,
        host: QueueHost,
        limiter: anyio.CapacityLimiter,
        *,
        max_queue_size: int,
        max_rows: int,
        name: str,
    ) -> None:
        self._file = file
        self._host = host
        self._name = name
        self._limiter = limiter
        self._max_queue_size = max_queue_size
        self._max_rows = max_rows
        self._buffer = WriteBuffer(max_queue_size)
        self._throttle = LogThrottle()
        self._rows = 0  # on disk, roughly
        #: The last transaction failed. Callers do not wait for the file then.
        self._is_broken = False
        self._is_draining = False
        #: The receipts of commands that were left on disk, by their rows.
        self._receipts: WeakValueDictionary[int, PendingReceipt] = WeakValueDictionary()
        self._next_poll = 0.0
        #: Until when no other process claims our queues, on the event loop's clock.
        self._ours_until = anyio.current_time() + file.lease
        #: Commands in flight of queues that another process has claimed.
        self._lost: frozenset[QueuedCommand] = frozenset()
        self._written = Signal()  # notified when the buffered changes are written

    @property
    def error(self) -> str:
        """See :attr:`Store.error`."""
        reason = "the outbox's file cannot be written, commands wait in memory only"
        return reason if self._is_broken else ""

    def oldest(self) -> float | None:
        """Return None, because all commands are in queues or on disk."""
        return None

    @property
    def persisted(self) -> int:
        """See :attr:`Store.persisted`."""
        return max(0, self._rows)

    def is_persisted(self, queued: QueuedCommand) -> bool:
        """Return whether the command is in the file."""
        return queued.row is not None

    def dead(self) -> list[Outcome]:
        """Return nothing, because ``usercom-asgi outbox list`` shows them."""
        return []

    def rejection_reason(self, pending: int) -> str | None:
        """See :meth:`Store.rejection_reason`.

        Commands that are also on disk do not count, because they could be left there.
        """
        buffer = self._buffer
        unwritten = pending - buffer.held + len(buffer.puts) + len(buffer.held_back)
        if unwritten >= self._max_queue_size:
            return f"{self._max_queue_size} commands already wait in memory only or for the disk (max_queue_size)"
        if self._rows >= self._max_rows:
            return f"{self._rows} commands already wait on disk (max_rows)"
        return None

    def put(self, queued: QueuedCommand) -> None:
        """See :meth:`Store.put`."""
        if not self._is_broken:
            queued.receipt.begin_storing()
        self._rows += 1
        self._buffer.put(queued)

    def request_ended(self, number: int) -> None:
        """Do nothing: each command is written on its own."""

    def settled(self, queued: QueuedCommand) -> None:
        """See :meth:`Store.settled`."""
        if queued.row is not None:
            self._rows -= 1
            self._buffer.delete(queued, queued.row)

    def progressed(self, queued: QueuedCommand, keys: str) -> None:
        """See :meth:`Store.progressed`."""
        if queued.row is not None:
            self._buffer.update(queued, queued.row, keys)

    def dead_letter(self, queued: QueuedCommand, letter: Outcome) -> None:
        """See :meth:`Store.dead_letter`."""
        self._buffer.add_dead_letter(queued, letter)
        if self._is_broken:
            self._bound_dead_letters()

    def start_drain(self) -> None:
        """See :meth:`Store.start_drain`."""
        self._is_draining = True
        self._buffer.has_changes.set()

    async def confirm(self) -> None:
        """See :meth:`Store.confirm`."""
        while anyio.current_time() > self._ours_until and not self._is_broken:
            self._buffer.has_changes.set()
            await self._written.wait()

    async def flush(self) -> None:
        """See :meth:`Store.flush`."""
        if self._buffer.has_changes.is_set() and not self._is_broken:
            await self._written.wait()
        else:
            await anyio.lowlevel.checkpoint()
        if self._lost:  # what was in flight is not retried here
            self._evict(self._lost.__contains__)

    async def keep_writing(self) -> None:
        """Write changes, renew the lease and claim orphans, for ever."""
        while True:
            with anyio.move_on_after(max(0.0, self._next_poll - anyio.current_time())):
                await self._buffer.has_changes.wait()
            self._buffer.has_changes = anyio.Event()
            is_time = not self._is_broken or anyio.current_time() >= self._next_poll
            if not is_time or not await self._write():
                await self._keep_in_memory()

    async def close(self) -> None:
        """Write the last changes, free the queues and close the file."""
        import sqlite3

        self.start_drain()
        is_written = await self._write(is_last=True)
        await self._keep_in_memory()
        try:
            end = self._file.close if is_written else self._file.abandon
            self._rows = await anyio.to_thread.run_sync(end, limiter=self._limiter)
        except sqlite3.Error as error:
            self._log_failure(error, 0)

    async def _write(self, *, is_last: bool = False) -> bool:
        """Write the changes in one transaction; return whether it succeeded."""
        puts, work = self._buffer.take()
        # A queue that has got a command since then is in use again.
        released, in_memory = work.released, self._buffer.in_memory
        work.released = [key for key in released if key not in in_memory]
        done_waiting, self._written = self._written, Signal()
        now, before = anyio.current_time(), self._rows
        work.room = 0 if is_last else self._host.free_capacity
        work.claim_orphans = now >= self._next_poll and not is_last
        done, rows, envelopes = WriteResult(), before, list[Envelope | OutboxError]()
        try:
            # An abandoned thread would lose the result of its commit.
            with anyio.CancelScope(shield=True):
                done, rows, envelopes = await anyio.to_thread.run_sync(
                    self._transact, work, puts, limiter=self._limiter
                )
        except Exception as error:  # noqa: BLE001  accepted commands survive our bugs too
            work.puts, work.released = [], released
            self._buffer.put_back(puts, work)
            if isinstance(error, FileMovedError) and await self._reopen():
                return await self._write(is_last=is_last)
            self._next_poll = anyio.current_time() + POLL_INTERVAL
            self._fail(error)
            return False
        finally:
            done_waiting.notify_all()
        self._is_broken = False
        self._ours_until = now + self._file.lease
        if work.claim_orphans:
            # Search again at once while there is more than one search can load.
            self._next_poll = (
                now if done.loaded and self._host.free_capacity > 0 else now + POLL_INTERVAL
            )
        self._rows += rows - before
        if done.still_ours is not None:
            self._drop_lost_queues(done.still_ours)
        self._apply(puts, done, envelopes)
        return True

    def _transact(
        self, work: WriteBatch, puts: list[QueuedCommand]
    ) -> tuple[WriteResult, int, list[Envelope | OutboxError]]:
        """Run the transaction; called in the worker thread."""
        is_urgent = self._is_draining or self._is_broken
        self._file.set_busy_timeout(SHORT_BUSY_TIMEOUT if is_urgent else BUSY_TIMEOUT)
        self._file.check_place()
        work.puts = [
            (each.envelope.ordering_key, each.envelope.created_at, to_text(each.envelope))
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
        for queued, (row, is_loaded) in zip(puts, done.puts, strict=True):
            queued.row = row
            queued.receipt.end_storing()
            if is_loaded:
                self._host.enqueue(queued)
            else:
                self._leave_on_disk(queued)
        for loaded, envelope in zip(done.loaded, envelopes, strict=True):
            self._load(loaded, envelope)

    def _drop_lost_queues(self, still_ours: set[str]) -> None:
        """Evict the queues that other processes claimed when our lease expired."""
        lost = self._buffer.in_memory.keys() - still_ours
        self._evict(lambda queued: queued.row is not None and queued.envelope.ordering_key in lost)

    def _evict(self, is_lost: Callable[[QueuedCommand], bool]) -> None:
        evicted, in_flight = self._host.evict(is_lost)
        self._lost = frozenset(in_flight)
        for queued in evicted:
            self._leave_on_disk(queued)

    def _leave_on_disk(self, queued: QueuedCommand) -> None:
        """Release a command that is on disk and cannot be sent from memory."""
        ordering_key = queued.envelope.ordering_key
        self._buffer.hold(ordering_key, -1)
        # Loads the command in its turn, even if the others are in memory only.
        self._buffer.release(ordering_key)
        if queued.row is not None:
            self._receipts[queued.row] = queued.receipt
        self._host.release(queued)

    def _load(self, loaded: LoadedRow, envelope: Envelope | OutboxError) -> None:
        """Enqueue a command that was loaded from disk."""
        if isinstance(envelope, OutboxError):
            message = "%s: %s, moving the row to the dead letters"
            logger.error(message, self._name, envelope, extra=_INVALID_ROW)
            self._buffer.changes.dead_letters.append(
                (loaded.ordering_key, time.time(), loaded.body, None, str(envelope), "")
            )
            self._buffer.changes.done.append(loaded.row)
            self._buffer.hold(loaded.ordering_key, 0)
            return
        self._buffer.hold(loaded.ordering_key, 1)
        receipt = self._receipts.pop(loaded.row, None)
        queued = QueuedCommand(envelope, receipt or PendingReceipt())
        queued.row = loaded.row
        self._host.restore(queued, loaded.keys)

    async def _reopen(self) -> bool:
        """Open a file that was deleted or replaced anew; return whether that succeeded.

        The commands in memory go into the new file. Those that only the other one held
        are gone with it.
        """
        with anyio.CancelScope(shield=True):
            try:
                self._file = await anyio.to_thread.run_sync(
                    self._file.reopen, limiter=self._limiter
                )
            except Exception:  # noqa: BLE001  the caller has an error to log
                return False
            self._buffer.forget_rows()
            self._receipts.clear()
            self._lost = frozenset()
            commands = self._host.snapshot()
            for queued, _ in commands:
                queued.row = None
            try:
                rows = await anyio.to_thread.run_sync(self._adopt, commands, limiter=self._limiter)
            except Exception as error:  # noqa: BLE001  they stay in memory
                self._log_failure(error, len(commands))
                return True
            for (queued, _), row in zip(commands, rows, strict=True):
                if row is not None:
                    self._buffer.hold(queued.envelope.ordering_key, 1)
                    queued.row = row
                    if queued.receipt.is_final:  # since then
                        self.settled(queued)
            message = "%s was moved or deleted while in use, making it anew with %d commands"
            self._throttle.log(logging.ERROR, "outbox_replaced", message, self._name, len(commands))
        return True

    def _adopt(self, commands: list[tuple[QueuedCommand, str]]) -> list[int | None]:
        """Insert commands into the file; called in the worker thread."""
        rows = [(queued.envelope, keys) for queued, keys in commands]
        return self._file.adopt(
            [(each.ordering_key, each.created_at, to_text(each), keys) for each, keys in rows]
        )

    def _fail(self, error: Exception) -> None:
        """Wake all who wait for a transaction that failed."""
        self._is_broken = True
        for queued in self._buffer.puts:
            queued.receipt.end_storing()
        self._log_failure(error, len(self._buffer.puts))
        self._written.notify_all()
        self._bound_dead_letters()

    def _bound_dead_letters(self) -> None:
        """Bound the dead letters that wait while the file cannot be written."""
        if self._buffer.drop_oldest_dead_letters():
            message = "%d dead letters wait for the disk (max_queue_size), dropping the oldest"
            self._throttle.log(logging.ERROR, "dead_letters_dropped", message, self._max_queue_size)

    async def _keep_in_memory(self) -> None:
        """Enqueue commands that could not be written.

        Commands that would overtake others on disk are held back.
        """
        # During a drain, commands on disk can wait for the next process.
        puts = self._buffer.take_puts(are_all=self._is_draining)
        older = await self._queues_with_more({queued.envelope.ordering_key for queued in puts})
        for queued in puts:
            if queued.envelope.ordering_key in older:
                self._buffer.held_back.append(queued)
                continue
            # Without a release, because the file has got nothing to load.
            self._buffer.count(queued.envelope.ordering_key, -1)
            self._rows -= 1
            self._host.enqueue(queued)

    async def _queues_with_more(self, ordering_keys: set[str]) -> set[str]:
        """Return which of these queues have commands that are not in memory."""
        if not ordering_keys or self._is_draining:
            return set()
        found = {queued.envelope.ordering_key for queued in self._buffer.held_back}
        # If the file cannot be read either, there is nothing to wait for.
        with anyio.CancelScope(shield=True), suppress(Exception):
            found |= await anyio.to_thread.run_sync(
                self._file.queues_with_more, ordering_keys, limiter=self._limiter
            )
        return found

    def _log_failure(self, error: Exception, puts: int) -> None:
        message = "%s cannot be written (%s), keeping %d commands in memory only"
        self._throttle.log(logging.ERROR, "outbox_not_writable", message, self._name, error, puts)


def _envelope(loaded: LoadedRow) -> Envelope | OutboxError:
    try:
        envelope = from_text(loaded.body)
    except OutboxError as error:
        return error
    return (
        envelope
        if envelope.ordering_key == loaded.ordering_key
        else OutboxError("the row belongs to another visitor")
    )
