"""Transactions and queries of the file of a :class:`~usercom_asgi.SqliteOutbox`.

Several processes of one host share the file. The queue of a visitor belongs to one
*owner* (a running delivery) at a time, which holds its commands in memory and
sends them. An owner renews its lease. When the lease has expired, or has not
changed for as long, other owners may claim its queues. This module is synchronous
and runs in a worker thread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

from .schema import BESIDE, BUSY_TIMEOUT, connect, folder_lock, transaction

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from pathlib import Path

#: Commands of one queue, queues, and commands of all queues that one transaction loads.
MAX_LOADED_PER_QUEUE, MAX_LOADED_QUEUES, MAX_LOADED = 200, 100, 500
#: Dead letters that the file keeps. The oldest are deleted.
MAX_DEAD_LETTERS = 100_000
# Seconds for which a lease must be seen expired before its queues are claimed. After a
# sleep of the machine or a jump of its clock, all leases look expired for a moment.
LEASE_GRACE = 2.5
# Seconds that count of the time between two checks: the process that checks may have
# stood still together with the owner.
MAX_STEP = 1.25
#: Seconds to wait for another process's transaction while draining or after a failure.
SHORT_BUSY_TIMEOUT = 0.5


@dataclass(slots=True)
class WatchedLease:
    """Another owner's lease, and for how many seconds it was seen."""

    lease: float
    #: Without a renewal. The clock may have been set back since it was written.
    unchanged: float = 0.0
    #: And expired.
    expired: float = 0.0


# None of these has a repr, because they hold user keys and personal data.
@dataclass(slots=True, repr=False)
class LoadedRow:
    """A command that was loaded from disk into memory."""

    row: int
    ordering_key: str
    keys: str | None
    body: str


DeadLetter: TypeAlias = "tuple[str, float, str, int | None, str, str]"


@dataclass(slots=True, repr=False)
class WriteBatch:
    """The changes of one transaction."""

    #: ``(ordering_key, created_at, body)`` of new commands.
    puts: list[tuple[str, float, str]] = field(default_factory=list[tuple[str, float, str]])
    #: Rows to delete.
    done: list[int] = field(default_factory=list[int])
    #: ``(ordering_key, created_at, body, status, reason, detail)``.
    dead_letters: list[DeadLetter] = field(default_factory=list["DeadLetter"])
    #: ``(body, row)`` of commands of which a part was delivered.
    changed: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    #: ``(keys, ordering_key)``: the user keys that a queue has learned.
    keys: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    #: Queues of this owner that have no command in memory any more.
    released: list[str] = field(default_factory=list[str])
    #: How many commands memory has room for.
    room: int = 0
    #: Whether to claim queues without an owner.
    claim_orphans: bool = False


@dataclass(slots=True, repr=False)
class WriteResult:
    """The result of a :class:`WriteBatch`."""

    #: For each new row its number, and whether its command may be sent from memory.
    puts: list[tuple[int, bool]] = field(default_factory=list[tuple[int, bool]])
    loaded: list[LoadedRow] = field(default_factory=list[LoadedRow])
    #: The queues that this owner still had, if another one had removed it.
    still_ours: set[str] | None = None


class FileMovedError(OSError):
    """The file of an open outbox was deleted, moved or replaced."""


def inode(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from any other; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


class SqliteFile:
    """One owner's connection to the file."""

    def __init__(self, path: Path, lease: float) -> None:
        self.owner = uuid4().hex
        self.lease = lease
        self._path = path
        self._connection = connect(path)
        self._inode = inode(path)
        # The files beside it, by their ending. SQLite finds them by name.
        self._beside: dict[str, tuple[int, int] | None] = {}
        self._is_new = True
        self._busy_timeout = BUSY_TIMEOUT
        self._watched: dict[str, WatchedLease] = {}
        self._last_look = time.monotonic()

    def transact(self, work: WriteBatch) -> WriteResult:
        """Apply a batch in one transaction.

        Raises:
            sqlite3.Error: The file cannot be written. Nothing was changed.

        """
        done = WriteResult()
        now = time.time()
        with transaction(self._connection) as db:
            if self._renew(db, now):
                mine = "SELECT ordering_key FROM queues WHERE owner = ?"
                done.still_ours = {key for [key] in db.execute(mine, (self.owner,)).fetchall()}
            done.puts = [self._put(db, put, may_load=work.room >= 0) for put in work.puts]
            db.executemany("DELETE FROM commands WHERE id = ?", [(row,) for row in work.done])
            db.executemany("UPDATE commands SET body = ? WHERE id = ?", work.changed)
            db.executemany("UPDATE queues SET keys = ? WHERE ordering_key = ?", work.keys)
            self._add_dead_letters(db, work.dead_letters, now)
            room = work.room
            for ordering_key in work.released:
                if db.execute(
                    "SELECT 1 FROM queues WHERE ordering_key = ? AND owner = ?",
                    (ordering_key, self.owner),
                ).fetchone():
                    room -= self._load(db, ordering_key, room, done.loaded)
            if work.claim_orphans:
                self._claim_orphans(db, room, now, done.loaded)
        return done

    def count(self, at_least: int) -> int:
        """Return how many commands are on disk, or some number below ``at_least``.

        A file with few commands is not read for this.
        """
        # SQLite finds each end at once. For both in one SELECT it reads all rows.
        ends = "SELECT (SELECT max(id) FROM commands) - (SELECT min(id) FROM commands) + 1"
        [span] = self._connection.execute(f"SELECT coalesce(({ends}), 0)").fetchone()
        if span < at_least:
            return int(span)
        [found] = self._connection.execute("SELECT count(*) FROM commands").fetchone()
        return int(found)

    def queues_with_more(self, ordering_keys: Iterable[str]) -> set[str]:
        """Return which of these queues have commands on disk that no memory holds.

        Only this owner's queues and those without an owner count. The result is empty
        if the file was moved or deleted, because it will not come back.
        """
        if inode(self._path) != self._inode:
            return set()
        query = """
            SELECT 1 FROM queues WHERE ordering_key = ?
            AND (owner IS NULL OR owner = ? AND more OR owner NOT IN (SELECT owner FROM owners))
        """
        return {
            ordering_key
            for ordering_key in ordering_keys
            if self._connection.execute(query, (ordering_key, self.owner)).fetchone()
        }

    def set_busy_timeout(self, seconds: float) -> None:
        """Set how long a transaction waits for those of other processes."""
        if seconds != self._busy_timeout:
            self._busy_timeout = seconds
            self._connection.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")

    def check_place(self) -> None:
        """Check that the path still leads to the open file.

        Otherwise commands would be written into a deleted file.

        Raises:
            FileMovedError: The file was deleted, moved or replaced.

        """
        if inode(self._path) != self._inode:
            raise FileMovedError("the file was moved or deleted while in use")
        self._beside = {end: inode(_beside(self._path, end)) for end in BESIDE}

    def reopen(self) -> SqliteFile:
        """Open the file that is at the path now, or a new one; close this one.

        Raises:
            OSError: The folder does not exist.
            OutboxError: The file cannot be used.

        """
        with folder_lock(self._path):
            for end, known in self._beside.items():
                # Those of the file that is gone would be taken for the new one's.
                # Another process may have made new ones already.
                beside = _beside(self._path, end)
                if known is not None and inode(beside) == known:
                    beside.unlink()
        file = SqliteFile(self._path, self.lease)
        self._connection.close()
        return file

    def adopt(self, commands: Sequence[tuple[str, float, str, str]]) -> list[int | None]:
        """Insert commands that are in memory already; return their rows.

        Args:
            commands: ``(ordering_key, created_at, body, keys)`` of each.

        Those of a queue that the file has already stay in memory only: None.

        """
        put = "INSERT INTO queues (ordering_key, owner, more, keys) VALUES (?, ?, 0, ?) ON CONFLICT DO NOTHING"
        are_new: dict[str, bool] = {}
        rows = list[int | None]()
        with transaction(self._connection) as db:
            self._renew(db, time.time())
            for ordering_key, created_at, body, keys in commands:
                if ordering_key not in are_new:
                    added = db.execute(put, (ordering_key, self.owner, keys)).rowcount
                    are_new[ordering_key] = added == 1
                row = (
                    self._insert(db, (ordering_key, created_at, body))
                    if are_new[ordering_key]
                    else None
                )
                rows.append(row)
        return rows

    def abandon(self) -> int:
        """Close the file without a last transaction, because it cannot be written."""
        self._connection.close()
        return 0

    def close(self) -> int:
        """Free all queues, close the file, and return how many commands are left.

        Otherwise other processes would have to wait for the lease to expire.
        """
        try:
            with transaction(self._connection) as db:
                db.execute(
                    "UPDATE queues SET owner = NULL, more = 1 WHERE owner = ?", (self.owner,)
                )
                db.execute(
                    "DELETE FROM queues WHERE owner IS NULL AND ordering_key NOT IN (SELECT ordering_key FROM commands)"
                )
                db.execute("DELETE FROM owners WHERE owner = ?", (self.owner,))
            return int(self._connection.execute("SELECT count(*) FROM commands").fetchone()[0])
        finally:
            self._connection.close()

    def _renew(self, db: sqlite3.Connection, now: float) -> bool:
        """Renew the lease; return whether another owner had removed it."""
        was_removed = (
            not self._is_new
            and not db.execute("SELECT 1 FROM owners WHERE owner = ?", (self.owner,)).fetchone()
        )
        renew = "INSERT INTO owners VALUES (?, ?) ON CONFLICT (owner) DO UPDATE SET lease = excluded.lease"
        db.execute(renew, (self.owner, now + self.lease))
        self._is_new = False
        return was_removed

    def _put(
        self, db: sqlite3.Connection, put: tuple[str, float, str], *, may_load: bool
    ) -> tuple[int, bool]:
        ordering_key = put[0]
        found = db.execute(
            "SELECT owner, more FROM queues WHERE ordering_key = ?", (ordering_key,)
        ).fetchone()
        is_ours = found is None or (found[0] == self.owner and not found[1])
        is_loaded = is_ours and may_load
        if found is None:
            db.execute(
                "INSERT INTO queues (ordering_key, owner, more) VALUES (?, ?, ?)",
                (ordering_key, self.owner if is_loaded else None, not is_loaded),
            )
        elif not is_loaded and not found[1]:
            # The owner loads the command when it has sent those in its memory.
            db.execute("UPDATE queues SET more = 1 WHERE ordering_key = ?", (ordering_key,))
        return self._insert(db, put), is_loaded

    def _insert(self, db: sqlite3.Connection, put: tuple[str, float, str]) -> int:
        row = db.execute(
            "INSERT INTO commands (ordering_key, created_at, body) VALUES (?, ?, ?)", put
        )
        return int(row.lastrowid or 0)

    def _load(
        self, db: sqlite3.Connection, ordering_key: str, room: int, loaded: list[LoadedRow]
    ) -> int:
        """Load a queue's commands and return how many; delete an empty queue."""
        limit = max(0, min(room, MAX_LOADED_PER_QUEUE))
        keys = db.execute(
            "SELECT keys FROM queues WHERE ordering_key = ?", (ordering_key,)
        ).fetchone()
        rows = db.execute(
            "SELECT id, body FROM commands WHERE ordering_key = ? ORDER BY id LIMIT ?",
            (ordering_key, limit + 1),
        ).fetchall()
        if not rows:
            db.execute("DELETE FROM queues WHERE ordering_key = ?", (ordering_key,))
            return 0
        taken = rows[:limit]
        owner = self.owner if taken else None
        db.execute(
            "UPDATE queues SET owner = ?, more = ? WHERE ordering_key = ?",
            (owner, len(rows) > limit, ordering_key),
        )
        loaded += [
            LoadedRow(row, ordering_key, keys[0] if keys else None, body) for row, body in taken
        ]
        return len(taken)

    def _claim_orphans(
        self, db: sqlite3.Connection, room: int, now: float, loaded: list[LoadedRow]
    ) -> None:
        """Load queues without an owner, the oldest first."""
        self._remove_expired_owners(db, now)
        room = min(room, MAX_LOADED)
        free = db.execute(
            "SELECT ordering_key FROM queues WHERE owner IS NULL OR owner NOT IN (SELECT owner FROM owners)"
            " ORDER BY id LIMIT ?",
            (MAX_LOADED_QUEUES,),
        ).fetchall()
        for [ordering_key] in free:
            if room <= 0:
                return
            room -= self._load(db, ordering_key, room, loaded)

    def _remove_expired_owners(self, db: sqlite3.Connection, now: float) -> None:
        """Delete owners that do not renew their lease.

        The lease has been expired for the grace time. Or it runs on and has not changed
        for as long as it takes: the owner was killed while the clock was ahead.
        """
        clock = time.monotonic()
        step, self._last_look = min(clock - self._last_look, MAX_STEP), clock
        watched, self._watched = self._watched, {}
        for owner, lease in db.execute("SELECT owner, lease FROM owners").fetchall():
            if owner == self.owner:
                continue
            seen = watched.get(owner)
            if seen is None or seen.lease != lease:
                seen = WatchedLease(lease)
            else:
                seen.unchanged += step
                seen.expired = seen.expired + step if lease < now else 0.0
            self._watched[owner] = seen
        dead = [
            (owner,)
            for owner, seen in self._watched.items()
            if seen.expired >= LEASE_GRACE or seen.unchanged >= self.lease + LEASE_GRACE
        ]
        db.executemany("DELETE FROM owners WHERE owner = ?", dead)

    def _add_dead_letters(
        self, db: sqlite3.Connection, letters: Sequence[DeadLetter], now: float
    ) -> None:
        """Insert dead letters, and delete the oldest above the limit."""
        db.executemany(
            "INSERT INTO dead (died_at, ordering_key, created_at, body, status, reason, detail)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(now, *letter) for letter in letters],
        )
        if letters:
            db.execute(
                "DELETE FROM dead WHERE id <= (SELECT max(id) FROM dead) - ?", (MAX_DEAD_LETTERS,)
            )
