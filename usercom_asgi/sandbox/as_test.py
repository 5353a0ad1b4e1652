"""An entry of the time line as a test, to be pasted into the application's suite."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from usercom_asgi.sandbox.activity import (
    Faulted,
    Hit,
    Ignored,
    RecordedEvent,
    RecordedProductEvent,
    RecordedUpdate,
    Rejected,
)
from usercom_asgi.sandbox.journal import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usercom_asgi.sandbox.journal import Entry


def as_test(entry: Entry) -> str:
    """Return a test that expects this record in the store of a sandbox."""
    record = entry.record
    name = re.sub(r"\W+", "_", f"{entry.kind}_{record.summary()[:40]}".lower()).strip("_")
    body = "\n".join(f"    {line}" for line in _assertions(record))
    return f"def test_{name if name.isascii() else entry.kind}(sandbox):\n{body}\n"


def _assertions(record: object) -> Iterable[str]:
    if isinstance(record, RecordedEvent):
        yield f"events = [each for each in sandbox.store.events if each.name == {record.name!a}]"
        yield f"assert [each.data for each in events] == [{record.data!a}]"
    elif isinstance(record, RecordedProductEvent):
        yield "found = [(e.product_id, e.event_type, e.data) for e in sandbox.store.product_events]"
        yield f"assert found == [{(record.product_id, record.event_type, record.data)!a}]"
    elif isinstance(record, RecordedUpdate):
        yield f"assert {record.data!a} in [each.data for each in sandbox.store.updates]"
    elif isinstance(record, Hit) and record.created_new_gu:
        yield "assert [hit for hit in sandbox.store.hits if hit.created_new_gu]"
    elif isinstance(record, Hit):
        yield f"hits = [hit for hit in sandbox.store.hits if hit.url == {record.url!a}]"
        yield "assert len(hits) == 1"
        data = {n: v for n, v in visible(record.payload).items() if n != "create_new_gu"}
        yield f"assert hits[0].payload.items() >= {data!a}.items()"
    elif isinstance(record, Rejected):
        yield "found = [(each.path, each.status) for each in sandbox.store.rejected]"
        yield f"assert found == [{(record.path, record.status)!a}]  # {record.reason!a}"
    elif isinstance(record, Ignored):
        yield f"assert [each.names for each in sandbox.store.ignored] == [{record.names!a}]"
    elif isinstance(record, Faulted):
        yield f"assert {record.path!a} in [each.path for each in sandbox.store.faulted]"
    else:
        yield "assert sandbox.store.users"
