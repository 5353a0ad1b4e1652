"""SQLite file of a sandbox: how it is made, recognised and locked."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

APPLICATION_ID = 0x75434F4D
"""Mark of a sandbox's file, which SQLite keeps in the header of the file."""
SCHEMA_VERSION = 1

_TABLE = (
    "CREATE TABLE records (kind TEXT NOT NULL, id INTEGER NOT NULL, body TEXT NOT NULL,"
    " PRIMARY KEY (kind, id)) WITHOUT ROWID"
)


class UnusableFileError(Exception):
    """A file that the sandbox cannot keep its records in."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"cannot keep the records in {path}: {reason}")


def open_file(path: str) -> sqlite3.Connection:
    """Open or create a file, which is this connection's alone until it is closed."""
    with contextlib.suppress(OSError):  # it exists, or SQLite names the reason
        # The file holds personal data, so that only its owner may read it. A file that
        # exists is not opened here, because closing it would end the locks that this
        # process has on it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        file = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise UnusableFileError(path, str(error)) from None
    try:
        _prepare(file, path)
    except sqlite3.Error as error:
        file.close()
        name = getattr(error, "sqlite_errorname", "")
        is_locked = name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
        reason = "another sandbox uses it" if is_locked else str(error)
        raise UnusableFileError(path, reason) from None
    except UnusableFileError:
        file.close()
        raise
    return file


@contextlib.contextmanager
def transaction(file: sqlite3.Connection) -> Generator[None]:
    """Commit what the block writes, or nothing of it."""
    file.execute("BEGIN")
    try:
        yield
        file.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            file.execute("ROLLBACK")
        raise


def _prepare(file: sqlite3.Connection, path: str) -> None:
    """Lock the file, and check what it is before anything in it is changed."""
    file.execute("PRAGMA locking_mode = EXCLUSIVE")
    file.execute("BEGIN EXCLUSIVE")
    ((mark,),) = file.execute("PRAGMA application_id")
    ((version,),) = file.execute("PRAGMA user_version")
    ((tables,),) = file.execute("SELECT count(*) FROM sqlite_master")
    if mark == 0 and version == 0 and tables == 0:
        file.execute(_TABLE)
        file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        file.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    elif mark != APPLICATION_ID:
        raise UnusableFileError(path, "it is not a sandbox's file")
    elif version != SCHEMA_VERSION:
        reason = f"it has version {version}, and this sandbox reads {SCHEMA_VERSION}"
        raise UnusableFileError(path, reason)
    file.execute("COMMIT")
    # A process that is killed loses nothing that was committed; a machine without power
    # may lose the last transactions.
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = NORMAL")
