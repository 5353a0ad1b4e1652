"""Names and fields of log records: :func:`event`.

``docs/observability.md`` lists every event; ``tests/test_log_events.py`` compares it
with the code.
"""

from __future__ import annotations


def event(name: str, **fields: str | float | None) -> dict[str, str | float | None]:
    """Return the ``extra`` of a log record: ``usercom_event``, and its fields.

    Names are stable; texts of records may change. A field is a count, a status, a
    number of seconds, the name of a class, a setting or a hook, or a reason that holds
    no value of a command.
    """
    return {"usercom_event": name, **{f"usercom_{each}": fields[each] for each in fields}}
