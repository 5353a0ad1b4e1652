"""Inspection and repair of an outbox file, also while servers use it."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.exceptions import OutboxError
from ...core.serialization import from_text
from ...core.user_key import key_digest
from .schema import connect, describe, transaction

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True, repr=False)  # it holds a user key and personal data
class Row:
    """One command in the file. Times are epoch seconds.

    ``body`` is the whole envelope as JSON, with the visitor's key and values.
    """

    id: int
    ordering_key: str
    created_at: float
    body: str
    died_at: float | None = None
    status: int | None = None
    reason: str = ""
    detail: str = ""

    @property
    def visitor(self) -> str:
        """A digest that distinguishes visitors and does not reveal their keys."""
        return key_digest(self.ordering_key)[:8]

    @property
    def what(self) -> str:
        """The command, without its values."""
        try:
            return repr(from_text(self.body).command)
        except OutboxError as error:
            return f"({error})"


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of the file; ``oldest`` is the time of the oldest waiting command."""

    waiting: int
    dead: int
    visitors: int
    owners: int
    oldest: float | None


def summary(path: Path) -> Summary:
    """Return the counts of the file.

    Raises:
        OutboxError: The file does not exist, or is not an outbox.

    """
    with closing(connect(path, create=False)) as db:
        waiting, oldest = db.execute("SELECT count(*), min(created_at) FROM commands").fetchone()
        [dead] = db.execute("SELECT count(*) FROM dead").fetchone()
        [visitors] = db.execute("SELECT count(*) FROM queues").fetchone()
        [owners] = db.execute(
            "SELECT count(*) FROM owners WHERE lease > ?", (time.time(),)
        ).fetchone()
    return Summary(waiting, dead, visitors, owners, oldest)


def waiting_rows(path: Path, limit: int) -> list[Row]:
    """Return waiting commands, the oldest first."""
    with closing(connect(path, create=False)) as db:
        found = db.execute(
            "SELECT id, ordering_key, created_at, body FROM commands ORDER BY id LIMIT ?", (limit,)
        ).fetchall()
    return [Row(*each) for each in found]


def dead_rows(path: Path, limit: int) -> list[Row]:
    """Return dead letters, the newest first."""
    columns = "id, ordering_key, created_at, body, died_at, status, reason, detail"
    with closing(connect(path, create=False)) as db:
        query = f"SELECT {columns} FROM dead ORDER BY id DESC LIMIT ?"  # noqa: S608  constants
        found = db.execute(query, (limit,)).fetchall()
    return [Row(*each) for each in found]


@contextmanager
def _writing(path: Path) -> Generator[sqlite3.Connection]:
    """Open the file, and change it in one transaction.

    Raises:
        OutboxError: The file does not exist, is not an outbox, or cannot be written.

    """
    import sqlite3

    with closing(connect(path, create=False)) as connection:
        try:
            with transaction(connection) as db:
                yield db
        except sqlite3.Error as error:
            raise OutboxError(f"{path}: {describe(error)}") from error


def retry(path: Path, ids: Sequence[int] | None = None) -> int:
    """Move dead letters with these ids, or all, back to their queues; return how many.

    They go to the end of the queues. A running server loads them within 2 seconds.
    """
    with _writing(path) as db:
        wanted = (
            [(each,) for each in ids]
            if ids is not None
            else db.execute("SELECT id FROM dead ORDER BY id").fetchall()
        )
        return sum(_requeue(db, each) for [each] in wanted)


def _requeue(db: sqlite3.Connection, letter: int) -> bool:
    found = db.execute(
        "DELETE FROM dead WHERE id = ? RETURNING ordering_key, created_at, body", (letter,)
    ).fetchall()
    for ordering_key, created_at, body in found:
        db.execute(
            "INSERT INTO commands (ordering_key, created_at, body) VALUES (?, ?, ?)",
            (ordering_key, created_at, body),
        )
        db.execute(
            "INSERT INTO queues (ordering_key, more) VALUES (?, 1) ON CONFLICT (ordering_key) DO UPDATE SET more = 1",
            (ordering_key,),
        )
    return bool(found)


def purge(path: Path, table: str, ids: Sequence[int] | None = None) -> int:
    """Delete rows with these ids, or all, of a table; return how many.

    The table is ``commands`` (which wait) or ``dead`` (dead letters). A running server
    still sends the commands that it has loaded.
    """
    if table not in ("commands", "dead"):
        raise ValueError(table)
    with _writing(path) as db:
        if ids is None:
            return db.execute(f"DELETE FROM {table}").rowcount  # noqa: S608  one of two names
        query = f"DELETE FROM {table} WHERE id = ?"  # noqa: S608  one of two names
        return sum(db.execute(query, (each,)).rowcount for each in ids)
