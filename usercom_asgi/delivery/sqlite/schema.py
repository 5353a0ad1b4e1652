"""Opening of the file of a :class:`~usercom_asgi.SqliteOutbox`, and its tables."""

from __future__ import annotations

import errno
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ...core.exceptions import OutboxError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator
    from pathlib import Path

# "ucom" in PRAGMA application_id distinguishes our files from other programs' files.
APPLICATION_ID = 0x75636F6D
VERSION = 1
#: Seconds to wait for another process's transaction. Transactions take milliseconds.
BUSY_TIMEOUT = 2.0
#: The endings of the files that SQLite keeps beside it.
BESIDE = ("-wal", "-shm")
# Reading a larger file at start would take seconds.
MAX_CHECKED_BYTES = 256 * 1024 * 1024
_SCHEMA = """
CREATE TABLE owners (owner TEXT PRIMARY KEY, lease REAL NOT NULL) WITHOUT ROWID;
-- more: the owner has not loaded all commands. keys: the text of KeyRing.dumps().
CREATE TABLE queues (id INTEGER PRIMARY KEY, ordering_key TEXT NOT NULL UNIQUE, owner TEXT, more INTEGER NOT NULL, keys TEXT);
CREATE TABLE commands (
    id INTEGER PRIMARY KEY AUTOINCREMENT, ordering_key TEXT NOT NULL, created_at REAL NOT NULL, body TEXT NOT NULL
);
CREATE INDEX commands_by_ordering_key ON commands (ordering_key, id);
CREATE TABLE dead (
    id INTEGER PRIMARY KEY AUTOINCREMENT, ordering_key TEXT NOT NULL, created_at REAL NOT NULL, died_at REAL NOT NULL,
    status INTEGER, reason TEXT NOT NULL, detail TEXT NOT NULL, body TEXT NOT NULL
);
"""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[sqlite3.Connection]:
    """Run the block in one write transaction.

    The transaction takes the write lock at once. Two that began by reading would
    deadlock on the upgrade, and SQLite would fail one of them.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite may have rolled back by itself
            connection.execute("ROLLBACK")
        raise


def connect(path: Path, *, create: bool = True) -> sqlite3.Connection:
    """Open the file, and create it if it is missing.

    Raises:
        OutboxError: The file cannot be used. The text names the reason and the remedy.

    """
    # Not at the top: sqlite3 costs 3 ms, and most applications do not open a file.
    import sqlite3

    try:
        _create(path, may_create=create)
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        connection.text_factory = _decode
        try:
            _prepare_with_retries(connection, path, create=create)
        except BaseException:
            connection.close()
            raise
    except (OSError, sqlite3.Error) as error:
        # Read-only callers probably mistyped the path, so don't suggest
        # creating the folder.
        is_homeless = create and isinstance(error, FileNotFoundError) and not path.parent.exists()
        what = (
            f"the folder {path.parent} is missing, create it first"
            if is_homeless
            else describe(error)
        )
        raise OutboxError(f"{path}: {what}") from error
    return connection


def _create(path: Path, *, may_create: bool) -> None:
    """Create the file if it is missing.

    An existing file is not opened here: to close it would drop the locks that SQLite
    holds on it in this process.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists():
        return
    if not may_create:
        raise FileNotFoundError
    with folder_lock(path):
        if not path.exists():
            # SQLite finds these by name. They are those of a file that was deleted,
            # which another process may still have open.
            for end in BESIDE:
                path.with_name(path.name + end).unlink(missing_ok=True)
            # Only this user may read the file, because it holds personal data
            # and user keys.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


@contextmanager
def folder_lock(path: Path) -> Generator[None]:
    """Keep other processes from making the file anew at the same time."""
    folder = None
    # Windows has no flock(), and does not delete a file that is open. Not every file
    # system and not every folder can be locked.
    with suppress(ImportError, OSError):
        import fcntl

        folder = os.open(path.parent, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if folder is not None:
            os.close(folder)


def _decode(raw: bytes) -> str:
    # One damaged text must not fail the whole query. Its JSON becomes invalid, so its
    # command goes to the dead letters.
    return raw.decode(errors="backslashreplace")


def _prepare_with_retries(connection: sqlite3.Connection, path: Path, *, create: bool) -> None:
    import sqlite3

    # The switch of a new file to WAL needs the file exclusively, and SQLite does not
    # wait for that. Worker processes start at the same moment.
    end = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            _prepare(connection, path, create=create)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def _prepare(connection: sqlite3.Connection, path: Path, *, create: bool) -> None:
    [application] = connection.execute("PRAGMA application_id").fetchone()
    [version] = connection.execute("PRAGMA user_version").fetchone()
    [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or tables):
        raise OutboxError(
            f"{path}: is another program's database, give the outbox a file of its own"
        )
    if application != APPLICATION_ID and not create:
        raise OutboxError(f"{path}: is not an outbox, it is empty")
    if application == APPLICATION_ID and version != VERSION:
        raise OutboxError(
            f"{path}: was made by another version of usercom-asgi (format {version}, here {VERSION})"
        )
    if (
        path.stat().st_size < MAX_CHECKED_BYTES
        and (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok"
    ):
        raise OutboxError(
            f"{path}: is damaged ({found}), move it away and recover it with sqlite3's .recover"
        )
    [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise OutboxError(
            f"{path}: this file system cannot share a database between processes (journal_mode {mode})"
        )
    # synchronous=FULL: commits must survive a power failure.
    connection.execute("PRAGMA synchronous = FULL")
    # A file that cannot be written fails here, not at the first command.
    with transaction(connection) as db:
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        if create:  # in WAL mode, the beginning of a transaction writes nothing
            db.execute(f"PRAGMA user_version = {VERSION}")


def describe(error: Exception) -> str:
    """Return why the file cannot be used, and the remedy."""
    text = str(error)
    if isinstance(error, FileNotFoundError):
        return "no such file or folder"
    if isinstance(error, PermissionError) or "readonly" in text or "unable to open" in text:
        return f"cannot be written by this process ({text}), use a folder that it may write to"
    if "not a database" in text or "malformed" in text:
        return f"is not a SQLite database, or is damaged ({text}), move it away"
    if "full" in text:
        return f"the disk is full ({text})"
    return text
