"""``Journal``: all that happened in a workspace, in the order of its arrival.

The store keeps records by kind. The journal keeps one list of all of them, with the
request that brought each, so that the dashboard can show and search them by pages.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections import Counter, OrderedDict, defaultdict
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Generator

_CURRENT: ContextVar[Exchange | None] = ContextVar("usercom_sandbox_exchange", default=None)
_MAX_FINGERPRINTS = 20_000
_TWICE_WITHIN = 600.0
"""Seconds within which an equal record is a duplicate; retries end before that."""

_KEYS = ("userKey", "user_key", "client_user")
_OWN = ("apiKey", "api_key", "domain", "timezone", "resolution", "url", "referrer", *_KEYS)


class Record(Protocol):
    """Record that the journal lists; `key` is empty if it is of no visitor."""

    @property
    def kind(self) -> str:
        """Kind of the entry."""
        ...

    @property
    def key(self) -> str:
        """Key of the visitor, or empty."""
        ...

    @property
    def at(self) -> float:
        """Time of the record."""
        ...

    def summary(self) -> str:
        """Return what the record is, in one line."""
        ...

    def content(self) -> Any:
        """Return the data of the record."""
        ...


@dataclass(kw_only=True, eq=False)
class Exchange:
    """Request to the API and its response; `status` is None while it waits."""

    id: int
    method: str
    path: str
    sender: str
    at: float = field(default_factory=time.time)
    status: int | None = None
    ms: float | None = None


@dataclass(kw_only=True, eq=False, slots=True)
class Entry:
    """Record of the store in the order of its arrival."""

    seq: int
    kind: str
    key: str
    at: float
    record: Record
    exchange: Exchange | None
    marks: tuple[str, ...]
    text: str
    previous: str = ""


@dataclass(kw_only=True)
class Identified:
    """Change of who a visitor is, with its reason."""

    kind = "identity"

    key: str
    what: str
    why: str
    other: str = ""
    at: float = field(default_factory=time.time)

    def summary(self) -> str:
        """Return the change."""
        return self.what

    def content(self) -> dict[str, str]:
        """Return the reason."""
        return {"why": self.why}


@dataclass(kw_only=True)
class Message:
    """Line of the chat, or a payload of the "Send Code" automation."""

    key: str
    line: str
    is_admin: bool
    kind: str = "chat"
    data: Any = None
    at: float = field(default_factory=time.time)

    def summary(self) -> str:
        """Return the line."""
        return self.line

    def content(self) -> Any:
        """Return the payload, or the author of the line."""
        return self.data if self.kind == "code" else {"isAdmin": self.is_admin}


class Journal:
    """Entries by number, by visitor and by kind."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.exchanges: list[Exchange] = []
        self.by_key: defaultdict[str, list[Entry]] = defaultdict(list)
        self.totals: Counter[str] = Counter()
        self.seq = 0
        self.version = 0
        """Counts the changes of entries and of requests."""
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._seen: OrderedDict[int, float] = OrderedDict()
        self._browsers: dict[tuple[str, str], str] = {}

    def clear(self) -> None:
        """Remove all entries. Numbers are not used again."""
        for each in (self.entries, self.exchanges, self.by_key, self.totals, self._seen):
            each.clear()
        self._browsers.clear()
        self.touch()

    def touch(self) -> None:
        """Let the dashboards read again."""
        self.version += 1

    def add(self, record: Record) -> None:
        """List a record."""
        with self._lock:  # the server's thread and those of tests add records
            self._add(record)

    def _add(self, record: Record) -> None:
        self.seq += 1
        exchange = _CURRENT.get()
        kind, key, content = record.kind, record.key, visible(record.content())
        data = json.dumps(content, default=str) if content else ""
        marks, previous = self._marks(record, data), ""
        browser = (getattr(record, "user_agent", ""), getattr(record, "domain", ""))
        if kind in ("view", "reset"):
            previous = self._browsers.get(browser, "") if kind == "reset" else ""
            self._browsers[browser] = key
        path = exchange.path if exchange else ""
        entry = Entry(
            seq=self.seq,
            kind=kind,
            key=key,
            at=time.time(),
            record=record,
            exchange=exchange,
            marks=marks,
            text=f"{kind} {record.summary()} {data} {path} {' '.join(marks)}".casefold(),
            previous=previous if previous != key else "",
        )
        self.entries.append(entry)
        self.totals[kind] += 1
        if key:
            self.by_key[key].append(entry)
        self.touch()

    def _marks(self, record: Record, data: str) -> tuple[str, ...]:
        """Return `duplicate`, `repeat` and `orphan` as they apply."""
        marks = ["orphan"] if getattr(record, "is_orphan", False) else []
        if record.kind in ("event", "product", "update"):
            now, fingerprint = time.time(), hash((record.kind, record.key, record.summary(), data))
            before = self._seen.pop(fingerprint, None)
            self._seen[fingerprint] = now
            if before is not None and now - before < _TWICE_WITHIN:
                # The widget sends the event of a page hit again with each later one.
                of_hit = record.kind == "event" and _is_hit(_CURRENT.get())
                marks.append("repeat" if of_hit else "duplicate")
            if len(self._seen) > _MAX_FINGERPRINTS:
                self._seen.popitem(last=False)
        return tuple(marks)

    @contextlib.contextmanager
    def exchange(self, method: str, path: str, sender: str) -> Generator[Exchange]:
        """Record a request; entries that are made in the block are of it."""
        made = Exchange(id=next(self._numbers), method=method, path=path, sender=sender)
        self.exchanges.append(made)
        self.touch()
        token, start = _CURRENT.set(made), time.perf_counter()
        try:
            yield made
        finally:
            made.ms = (time.perf_counter() - start) * 1000
            _CURRENT.reset(token)
            self.touch()

    def cause(self) -> str:
        """Return what is at work, for the reason of a change."""
        exchange = _CURRENT.get()
        return f"by {exchange.method} {exchange.path}" if exchange else "by the program"


R = TypeVar("R", bound=Record)


class Records(list[R]):
    """Records of one kind, which the journal lists too."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def append(self, record: R, /) -> None:
        """Add a record, here and to the journal."""
        super().append(record)
        self._journal.add(record)


def visible(content: Any) -> Any:
    """Return data without the widget's own fields; user keys give access to a chat."""
    if isinstance(content, dict):
        pairs = cast("dict[str, Any]", content).items()
        return {name: value for name, value in pairs if name not in _OWN}
    return content


def short(key: str) -> str:
    """Return the beginning of a key, because a whole one gives access to a chat."""
    return f"{key[:4]}…" if len(key) > 4 else key


def _is_hit(exchange: Exchange | None) -> bool:
    return exchange is not None and exchange.path.endswith("/user-chatping/")
