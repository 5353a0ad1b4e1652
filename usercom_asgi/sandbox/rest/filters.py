"""Filters of lists: `<field>__<lookup>=<value>` in the query [C net]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.datastructures import QueryParams

_TEXT: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda value, wanted: wanted in value,
    "icontains": lambda value, wanted: wanted.casefold() in value.casefold(),
    "startswith": lambda value, wanted: value.startswith(wanted),
    "istartswith": lambda value, wanted: value.casefold().startswith(wanted.casefold()),
    "endswith": lambda value, wanted: value.endswith(wanted),
    "iendswith": lambda value, wanted: value.casefold().endswith(wanted.casefold()),
}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "lt": lambda value, wanted: value < wanted,
    "lte": lambda value, wanted: value <= wanted,
    "gt": lambda value, wanted: value > wanted,
    "gte": lambda value, wanted: value >= wanted,
}


def select(
    rows: Iterable[dict[str, Any]], query: QueryParams, is_field: Callable[[str], bool]
) -> list[dict[str, Any]] | None:
    """Return the rows that pass every filter of a query, or None without a filter."""
    filters = [
        (name, lookup, value)
        for key, value in query.multi_items()
        for name, _, lookup in [key.rpartition("__") if "__" in key else (key, "", "")]
        if is_field(name) and (not lookup or lookup in _TEXT or lookup in _ORDER)
    ]
    if not filters:
        return None
    return [row for row in rows if all(_passes(row.get(n), look, v) for n, look, v in filters)]


def _passes(value: Any, lookup: str, wanted: str) -> bool:
    if value is None:
        return False
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    if lookup in _TEXT:
        return _TEXT[lookup](shown, wanted)
    if not lookup:
        return shown == (wanted.lower() if isinstance(value, bool) else wanted)
    try:
        return _ORDER[lookup](float(shown), float(wanted))
    except ValueError:
        return _ORDER[lookup](shown, wanted)
