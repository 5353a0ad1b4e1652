"""File of a sandbox: what its store holds and its two switches, in SQLite.

The store stays in memory and knows nothing of the file. A thread compares it with what
the file has, and writes the difference. Requests never wait for the disk, and records
that a test changes itself are kept as well.
"""

from __future__ import annotations

import atexit
import json
import logging
import marshal
import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from usercom_asgi.sandbox.database import UnusableFileError, open_file, transaction
from usercom_asgi.sandbox.identification import SWITCHES
from usercom_asgi.sandbox.objects import Collection, Company
from usercom_asgi.sandbox.store import (
    Faulted,
    Hit,
    Ignored,
    RecordedEvent,
    RecordedProductEvent,
    RecordedUpdate,
    Rejected,
    User,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from usercom_asgi.sandbox.store import Store
    from usercom_asgi.sandbox.workspace import Workspace

    Row = tuple[str, int]

RECORDS: dict[str, type[Any]] = {
    "hits": Hit,
    "events": RecordedEvent,
    "product_events": RecordedProductEvent,
    "updates": RecordedUpdate,
    "rejected": Rejected,
    "faulted": Faulted,
    "ignored": Ignored,
}
"""Lists of the store, whose records change in nothing but their `key`."""
COLLECTIONS = ("products", "companies", "deals", "tags", "lists", "segments", "attributes")
COUNTERS = ("_event_ids", "_last_id")

_DELAY = 0.05  # seconds in which changes are collected into one transaction
_MAX_DELAY = 2.0
_IDLE_INTERVAL = 2.0  # seconds between looks at a store that no request has changed
_BUSY_FACTOR, _IDLE_FACTOR = 4, 20  # pauses for each second of a comparison

# `default` takes what only a test can have put there.
_ENCODER = json.JSONEncoder(default=str)
_logger = logging.getLogger(__name__)


class Written(NamedTuple):
    """Record that the file has, with the `key` that it has there.

    It holds the record itself, so that no other one gets its identity.
    """

    record: Any
    row: Row
    key: str


class StoreFile:
    """File that has the content of a store, at most some 100 ms later."""

    def __init__(self, path: str | os.PathLike[str], workspace: Workspace) -> None:
        self._path = os.fspath(path)
        self._workspace = workspace
        self._marks: dict[Row, bytes] = {}  # of rows that may change
        self._written: dict[int, Written] = {}  # by the identity of the record
        self._next = 1
        self._writing = threading.Lock()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._failed = False
        self._file = open_file(self._path)
        try:
            self._load()
        except (ValueError, TypeError, KeyError, sqlite3.Error) as error:
            self._file.close()
            reason = f"its content cannot be read ({type(error).__name__})"
            raise UnusableFileError(self._path, reason) from None
        self._thread = threading.Thread(target=self._run, name="usercom-sandbox-file", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def mark_changed(self) -> None:
        """Let the thread write soon."""
        self._changed.set()

    def flush(self) -> None:
        """Write all changes now."""
        with self._writing:
            if not self._stopping.is_set():
                self._write()

    def close(self) -> None:
        """Write all changes and release the file."""
        with self._writing:
            if self._stopping.is_set():
                return
            try:
                self._write()
            finally:
                self._stopping.set()
                self._file.close()
        self._changed.set()
        self._thread.join()
        atexit.unregister(self.close)

    @property
    def _store(self) -> Store:
        return self._workspace.store  # a test may have put a new one there

    def _load(self) -> None:
        for kind, number, body in self._file.execute("SELECT * FROM records ORDER BY kind, id"):
            values = json.loads(body)
            if kind in RECORDS:
                record = RECORDS[kind](**values)
                getattr(self._store, kind).append(record)
                self._remember(record, (kind, number))
                self._next = max(self._next, number + 1)
                continue
            if kind == "users":
                user = User(**values)
                self._store.users[user.key] = user
            elif kind == "counters":
                self._load_counters(values)
            elif kind == "settings":
                for name in SWITCHES:  # one that this start asks for is on in any case
                    kept = getattr(self._workspace, name) or values.get(name, False)
                    setattr(self._workspace, name, kept)
            else:
                self._collection(kind)[number] = self._resource(kind, values)
        self._marks = {row: _mark(each) for row, each in self._rows()}
        self._marks.pop(("settings", 0))  # this start may have switched one on

    def _load_counters(self, values: dict[str, Any]) -> None:
        for name in COUNTERS:
            setattr(self._store, name, values.pop(name))
        for name, last in values.items():
            self._collection(name).last_id = last

    def _resource(self, kind: str, values: dict[str, Any]) -> Any:
        made = self._collection(kind).kind(**values)
        if isinstance(made, Company):  # JSON has no keys but texts
            made.members = {int(each): since for each, since in made.members.items()}
        return made

    def _collection(self, name: str) -> Collection[Any]:
        if name not in COLLECTIONS:
            raise KeyError(name)
        return cast("Collection[Any]", getattr(self._store, name))

    def _run(self) -> None:
        took = 0.0
        while not self._stopping.is_set():
            self._changed.wait(max(_IDLE_INTERVAL, _IDLE_FACTOR * took))
            self._stopping.wait(max(_DELAY, min(_BUSY_FACTOR * took, _MAX_DELAY)))
            self._changed.clear()
            began = time.monotonic()
            try:
                self.flush()
                self._failed = False
            except (sqlite3.Error, RuntimeError, TypeError, ValueError) as error:
                # RuntimeError: a test changed a record without the lock meanwhile.
                if not self._failed and not isinstance(error, RuntimeError):
                    _logger.warning("Sandbox cannot write its file and retries: %s", error)
                    self._failed = True
                self._changed.set()
                self._stopping.wait(_DELAY)
            took = time.monotonic() - began

    def _write(self) -> None:
        with self._store.lock:
            rows = [(row, each, _mark(each)) for row, each in self._rows()]
            changed = {r: _encode(each) for r, each, m in rows if self._marks.get(r) != m}
            new, gone = self._records()
        marks = {row: mark for row, _, mark in rows}
        removed = [*self._marks.keys() - marks.keys(), *(each.row for each in gone)]
        if not (changed or new or removed):
            return
        with transaction(self._file):
            self._file.executemany("DELETE FROM records WHERE kind = ? AND id = ?", removed)
            self._file.executemany(
                "REPLACE INTO records VALUES (?, ?, ?)",
                [
                    *((*row, text) for row, text in changed.items()),
                    *((*row, text) for _, row, text in new),
                ],
            )
        self._marks = marks
        for each in gone:
            del self._written[id(each.record)]
        for record, row, _ in new:
            self._remember(record, row)

    def _rows(self) -> Iterator[tuple[Row, Any]]:
        """Yield all that may have changed: users, resources, counters, switches."""
        store = self._store
        for user in store.users.values():
            yield ("users", user.id), user
        counters = {name: getattr(store, name) for name in COUNTERS}
        for name in COLLECTIONS:
            collection = self._collection(name)
            counters[name] = collection.last_id
            for number, each in collection.items():
                yield (name, number), each
        yield ("counters", 0), counters
        settings = {name: getattr(self._workspace, name) for name in SWITCHES}
        yield ("settings", 0), settings

    def _records(self) -> tuple[list[tuple[Any, Row, str]], list[Written]]:
        """Return the records to write, and those that the store has no more."""
        new: list[tuple[Any, Row, str]] = []
        present: set[int] = set()
        for kind in RECORDS:
            for record in getattr(self._store, kind):
                present.add(id(record))
                written = self._written.get(id(record))
                if written is None:
                    new.append((record, (kind, self._next), _encode(record)))
                    self._next += 1
                elif record.key != written.key:  # merged into another user
                    new.append((record, written.row, _encode(record)))
        gone = [each for identity, each in self._written.items() if identity not in present]
        return new, gone

    def _remember(self, record: Any, row: Row) -> None:
        self._written[id(record)] = Written(record, row, record.key)


class FileMiddleware:
    """Middleware that lets the file be written after each request."""

    def __init__(self, app: ASGIApp, file: StoreFile) -> None:
        self._app = app
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application; the page reads the state often and changes nothing."""

        async def receive_frame() -> Message:
            self._file.mark_changed()  # by the frame before
            return await receive()

        if scope["type"] == "websocket":
            await self._app(scope, receive_frame, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            if scope["type"] == "http" and (scope["method"], scope["path"][:9]) != (
                "GET",
                "/sandbox/",
            ):
                self._file.mark_changed()


def _values(record: Any) -> dict[str, Any]:
    # A dataclass, or the counters and switches.
    return cast("dict[str, Any]", vars(record) if hasattr(record, "__dict__") else record)


def _encode(record: Any) -> str:
    return _ENCODER.encode(_values(record))


def _mark(record: Any) -> bytes:
    """Return what changes with a record, in a seventh of the time of its JSON."""
    try:
        return marshal.dumps(_values(record), 2)  # later versions depend on references
    except ValueError:
        return _encode(record).encode()
