"""What an operator does with the file of a :class:`~usercom_asgi.SqliteOutbox`, also while servers use it."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.exceptions import OutboxError
from ...core.serialization import from_text
from ...core.user_key import key_digest
from .schema import connect, transaction

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True, repr=False)  # it holds a user key, and what was said
class Row:
    """One command in the file; ``body`` is all of it, as JSON, with the visitor's key and values. Times are epoch seconds."""

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
        """What tells visitors apart, and opens nobody's chat."""
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
    """How much is in the file; ``oldest`` is when the oldest of what waits was said."""

    waiting: int
    dead: int
    visitors: int
    owners: int
    oldest: float | None


def summary(path: Path) -> Summary:
    """Return how much is in the file.

    Raises:
        OutboxError: There is no such file, or it is no outbox.

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
    """Return what waits, the oldest first."""
    with closing(connect(path, create=False)) as db:
        found = db.execute(
            "SELECT id, ordering_key, created_at, body FROM commands ORDER BY id LIMIT ?", (limit,)
        ).fetchall()
    return [Row(*each) for each in found]


def dead_rows(path: Path, limit: int) -> list[Row]:
    """Return the dead letters, the newest first."""
    columns = "id, ordering_key, created_at, body, died_at, status, reason, detail"
    with closing(connect(path, create=False)) as db:
        query = f"SELECT {columns} FROM dead ORDER BY id DESC LIMIT ?"  # noqa: S608  constants
        found = db.execute(query, (limit,)).fetchall()
    return [Row(*each) for each in found]


def retry(path: Path, ids: Sequence[int] | None = None) -> int:
    """Put dead letters (those with these ids, or all) back, at the end of their visitors' lanes; return how many.

    A running server takes them up within a second or two.
    """
    with closing(connect(path, create=False)) as connection, transaction(connection) as db:
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
    """Forget what waits (``commands``) or the dead letters (``dead``): those with these ids, or all; return how many.

    What a running server has in memory already, it still sends.
    """
    if table not in ("commands", "dead"):
        raise ValueError(table)
    with closing(connect(path, create=False)) as connection, transaction(connection) as db:
        if ids is None:
            return db.execute(f"DELETE FROM {table}").rowcount  # noqa: S608  one of two names
        query = f"DELETE FROM {table} WHERE id = ?"  # noqa: S608  one of two names
        return sum(db.execute(query, (each,)).rowcount for each in ids)
