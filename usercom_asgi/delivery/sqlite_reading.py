"""What is looked up in the file of a :class:`~usercom_asgi.SqliteOutbox` without a transaction, also while it is full."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable


def count(db: sqlite3.Connection, at_least: int) -> int:
    """Return how many commands wait on disk, or some number below ``at_least``; cheaply, if they are few."""
    # Each for itself SQLite finds at once; for both in one SELECT it reads all rows.
    ends = "SELECT (SELECT max(id) FROM commands) - (SELECT min(id) FROM commands) + 1"
    [span] = db.execute(f"SELECT coalesce(({ends}), 0)").fetchone()
    if span < at_least:
        return int(span)
    [found] = db.execute("SELECT count(*) FROM commands").fetchone()
    return int(found)


def oldest(db: sqlite3.Connection) -> int:
    """Return a number below which there are no rows any more, and will be none."""
    newest = "SELECT seq + 1 FROM sqlite_sequence WHERE name = 'commands'"
    [row] = db.execute(f"SELECT coalesce((SELECT min(id) FROM commands), ({newest}), 0)").fetchone()  # noqa: S608  constants
    return int(row)


def lanes_with_more(db: sqlite3.Connection, owner: str, lanes: Iterable[str]) -> set[str]:
    """Return those of these lanes in which commands wait on disk alone: this owner's, and nobody's."""
    look = """
        SELECT 1 FROM lanes
        WHERE lane = ? AND (owner IS NULL OR owner = ? AND more OR owner NOT IN (SELECT owner FROM owners))
    """
    return {lane for lane in lanes if db.execute(look, (lane, owner)).fetchone()}
