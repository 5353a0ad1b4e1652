"""What the dashboard shows, by pages. User keys are shortened."""

from __future__ import annotations

import dataclasses
import heapq
import re
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

from usercom_asgi.sandbox.identification import SWITCHES
from usercom_asgi.sandbox.journal import short, visible
from usercom_asgi.sandbox.objects import standard_name
from usercom_asgi.sandbox.vendor import STANDARD_USER_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from usercom_asgi.sandbox.journal import Entry, Exchange
    from usercom_asgi.sandbox.store import Store, User
    from usercom_asgi.sandbox.workspace import Workspace

T = TypeVar("T")

KINDS = (
    "view", "reset", "event", "product", "update", "chat", "code", "identity", "refused", "fault",
    "ignored",
)  # fmt: skip
MAX_ROWS = 200
_SLOW = 1_000.0  # milliseconds
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")


def state(workspace: Workspace) -> dict[str, Any]:
    """Return totals, faults and settings, with the moment at which they held.

    A dashboard gets states over several connections, and drops one that is older than
    what it shows.
    """
    store = workspace.store
    with store.lock:
        journal = store.journal
        return {
            "moment": time.monotonic(),
            "seq": journal.seq,
            "api_key": workspace.api_key,
            "settings": {name: getattr(workspace, name) for name in SWITCHES},
            "faults": workspace.faults.describe(),
            "visitors": len(store.active_users()),
            "entries": len(journal.entries),
            "requests": len(journal.exchanges),
            "totals": {kind: journal.totals[kind] for kind in KINDS},
        }


def visitors(workspace: Workspace, query: Mapping[str, str]) -> dict[str, Any]:
    """Return a page of visitors, those seen last first."""
    store, offset, limit = workspace.store, _number(query, "offset", 0), _limit(query)
    wanted, which = query.get("q", "").casefold().strip(), query.get("which", "")
    with store.lock:
        found = [
            user
            for user in store.users.values()
            if (not wanted or wanted in _text_of(user)) and (not which or which == _kind_of(user))
        ]
        rows = heapq.nlargest(offset + limit, found, key=lambda user: user.last_seen)[offset:]
        keys = _merged_keys(store)
        return {
            "rows": [_row(store, user, keys) for user in rows],
            "matches": len(found),
            "of": len(store.users),
            "first": offset + 1 if rows else 0,
        }


def visitor(workspace: Workspace, number: int) -> dict[str, Any] | None:
    """Return the page of one visitor."""
    store = workspace.store
    with store.lock:
        user = _find(store, number)
        if user is None:
            return None
        merged = _merged_keys(store)
        keys = [user.key, *merged[user.key]]
        of_visitor = _of_keys(store, keys)
        definitions = store.definitions("clientuser")
        attributes: list[dict[str, Any]] = []
        for name, value in user.attributes.items():
            definition = definitions.get(standard_name(name))
            origin = "standard" if name in STANDARD_USER_FIELDS else "custom"
            if origin == "custom" and definition is not None:
                by = "created automatically" if definition.is_automatic else "defined by REST"
                origin = f"custom, {by}"
            attributes.append(
                {"name": name, "value": value, "type": _type(value), "origin": origin}
            )
        return _row(store, user, merged) | {
            "keys": [short(each) for each in keys],
            "attributes": attributes,
            "company": user.company,
            "conversation": user.conversation,
            "listens": any(workspace.pushes.listeners[key] > 0 for key in keys),
            "totals": Counter(each.kind for each in of_visitor),
            "history": [_entry(store, e) for e in of_visitor if e.kind == "identity"][-50:],
            "refused": [_entry(store, e) for e in of_visitor if e.kind == "refused"][-50:],
        }


def entries(workspace: Workspace, query: Mapping[str, str]) -> dict[str, Any]:
    """Return a page of the time line, newest first.

    `before` is the number that the page begins before. `kind`, `mark`, `q` and
    `visitor` select.
    """
    store = workspace.store
    with store.lock:
        found = _select(store, query)
        rows, first = _page(found, query, lambda each: each.seq)
        return {
            "rows": [_entry(store, each) for each in rows],
            "matches": len(found),
            "of": len(store.journal.entries),
            "first": first,
        }


def requests(workspace: Workspace, query: Mapping[str, str]) -> dict[str, Any]:
    """Return a page of the requests, newest first."""
    wanted, which = query.get("q", "").casefold().strip(), query.get("which", "")
    store = workspace.store
    with store.lock:
        every = store.journal.exchanges
        found = every
        if wanted or which:
            found = [
                each
                for each in every
                if (not wanted or wanted in f"{each.method} {each.path} {each.status}".casefold())
                and (not which or which in _classes(each))
            ]
        rows, first = _page(found, query, lambda each: each.id)
        return {
            "rows": [dataclasses.asdict(each) for each in rows],
            "matches": len(found),
            "of": len(every),
            "first": first,
        }


def entry(workspace: Workspace, seq: int) -> Entry | None:
    """Return the entry of a number."""
    every = workspace.store.journal.entries
    place = seq - every[0].seq if every else -1
    return every[place] if 0 <= place < len(every) else None


def _find(store: Store, number: int) -> User | None:
    """Return the visitor of an id, who may be merged into another."""
    return next((each for each in store.users.values() if each.id == number), None)


def _select(store: Store, query: Mapping[str, str]) -> Sequence[Entry]:
    journal = store.journal
    found: Sequence[Entry] = journal.entries
    if query.get("visitor"):
        user = _find(store, _number(query, "visitor", 0))
        found = _of_keys(store, [user.key, *_merged_keys(store)[user.key]]) if user else []
    kinds = set(filter(None, query.get("kind", "").split(",")))
    mark, wanted = query.get("mark", ""), query.get("q", "").casefold().strip()
    if kinds:
        found = [each for each in found if each.kind in kinds]
    if mark:
        found = [each for each in found if mark in each.marks]
    if wanted:
        named = _merged_keys(store)
        keys = {
            key
            for user in store.users.values()
            if user.merged_into is None and wanted in _text_of(user)
            for key in (user.key, *named[user.key])
        }
        found = [each for each in found if wanted in each.text or each.key in keys]
    return found


def _page(
    found: Sequence[T], query: Mapping[str, str], number: Callable[[T], int]
) -> tuple[list[T], int]:
    """Return the rows before a number, newest first, and the place of the first."""
    before = _number(query, "before", 0)
    end = bisect_left(found, before, key=number) if before else len(found)
    rows = found[max(0, end - _limit(query)) : end]
    return list(reversed(rows)), len(found) - end + 1 if rows else 0


def _of_keys(store: Store, keys: Iterable[str]) -> list[Entry]:
    lists = [store.journal.by_key[key] for key in keys if key in store.journal.by_key]
    return list(heapq.merge(*lists, key=lambda each: each.seq))


def _merged_keys(store: Store) -> defaultdict[str, list[str]]:
    """Return the keys that were merged into each key."""
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for user in store.users.values():
        if user.merged_into is not None and (survivor := store.find(user.key)) is not None:
            keys[survivor.key].append(user.key)
    return keys


def _entry(store: Store, each: Entry) -> dict[str, Any]:
    record = each.record
    user, previous = store.find(each.key), store.find(each.previous)
    return {
        "seq": each.seq,
        "kind": each.kind,
        "at": each.at,
        "dated": record.at if abs(record.at - each.at) > 2 else None,
        "visitor": {"id": user.id, "name": user.name, "key": short(user.key)} if user else None,
        "previous": {"id": previous.id, "name": previous.name} if previous else None,
        "is_new": _is_new(store, each),
        "what": record.summary(),
        "data": visible(record.content()),
        "marks": each.marks,
        "request": dataclasses.asdict(each.exchange) if each.exchange else None,
    }


def _is_new(store: Store, each: Entry) -> bool:
    """Return whether the request of an entry created its visitor."""
    of_key = store.journal.by_key.get(each.key)
    return bool(of_key and each.exchange and of_key[0].exchange is each.exchange)


def _row(store: Store, user: User, merged: Mapping[str, list[str]]) -> dict[str, Any]:
    survivor = store.find(user.key) if user.merged_into else None
    counts = Counter(
        each.kind
        for key in (user.key, *merged.get(user.key, ()))
        for each in store.journal.by_key.get(key, ())
    )
    return {
        "id": user.id,
        "key": short(user.key),
        "name": user.name,
        "user_id": user.user_id,
        "email": user.email,
        "is_known": user.is_known,
        "created_at": user.created_at,
        "last_seen": user.last_seen,
        "hits": counts["view"] + counts["reset"],
        "events": counts["event"] + counts["product"],
        "merged_into": {"id": survivor.id, "name": survivor.name} if survivor else None,
    }


def _text_of(user: User) -> str:
    return f"{user.name}\n{user.user_id or ''}\n{user.email or ''}\n{user.key[:4]}".casefold()


def _kind_of(user: User) -> str:
    if user.merged_into is not None:
        return "merged"
    return "known" if user.is_known else "anonymous"


def _classes(exchange: Exchange) -> set[str]:
    status = exchange.status
    return {
        "waiting" if status is None else "failed" if status >= 300 else "fine",
        "slow" if (exchange.ms or 0) >= _SLOW else "",
    }


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "date" if _DATE.fullmatch(value) else "text"
    return {"NoneType": "empty", "list": "list", "dict": "object"}.get(type(value).__name__, "text")


def _limit(query: Mapping[str, str]) -> int:
    return max(1, min(_number(query, "limit", 50), MAX_ROWS))


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else default
