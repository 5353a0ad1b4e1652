"""Base class of models, and the readers of their fields.

A reader returns None for a value of an unexpected type, and never raises: User.com's
answers differ by version and by resource, and have nulls almost anywhere. The value
itself stays in ``raw``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, ClassVar, Self, cast

Reader = Callable[[object], Any]
_LONGEST_NUMBER = 18  # digits; a Decimal of "1e999999999" would block at its first use


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Model:
    """An object of User.com. All fields may be None.

    ``raw`` is the JSON as it came, with the fields that this library does not know.
    Custom attributes are in ``attributes``. The ``repr`` hides personal data.
    """

    #: Names of further standard fields, which are not custom attributes.
    STANDARD: ClassVar[frozenset[str]] = frozenset()

    raw: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)

    @classmethod
    def parse(cls, data: object) -> Self:
        """Build an object from JSON; without an object, all fields are empty."""
        given, model = as_object(data), cast("Any", cls)
        raw: Mapping[str, Any] = dict[str, Any]() if given is None else given
        values = {name: read_from(raw) for name, read_from in _readers(model)}
        return cls(raw=raw, **values)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Custom attributes by name (v2: flat beside the others; v1: a list)."""
        listed = as_list(self.raw.get("attributes"))
        if listed:
            return dict(_listed_attributes(listed))
        model: Any = type(self)
        known = {_source(self.raw, names) for names in _names(model)} | self.STANDARD
        return {name: value for name, value in self.raw.items() if name not in known}

    def __repr__(self) -> str:
        shown = [
            f"{each.name}={value!r}"
            for each in fields(self)
            if each.metadata.get("is_shown") and (value := getattr(self, each.name)) is not None
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def read(*names: str, by: Reader, is_shown: bool = False, empty: object = None) -> Any:
    """Return a field that is read from the first of these names that has a value.

    Args:
        names: Keys of the JSON, of v2 first. Defaults to the name of the field.
        by: The reader.
        is_shown: Show it in the ``repr``: it is no personal data.
        empty: The value where there is none.

    """
    metadata = {"names": names, "by": by, "is_shown": is_shown}
    # A dict has no hash.
    return field(default=empty, hash=False if by is as_object else None, metadata=metadata)


def _source(raw: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return the first of the names that the object has.

    The name of v1 counts only if that of v2 is missing: it may be a custom attribute.
    """
    return next((name for name in names if name in raw), names[0])


@cache
def _names(cls: Any) -> tuple[tuple[str, ...], ...]:
    """Return the keys of each field."""
    return tuple(
        each.metadata["names"] or (each.name,) for each in fields(cls) if "by" in each.metadata
    )


@cache
def _readers(cls: Any) -> tuple[tuple[str, Reader], ...]:
    """Return each field's name and a function that reads it from the object."""
    known = [each for each in fields(cls) if "by" in each.metadata]
    return tuple(
        (each.name, _reader(names, each.metadata["by"], each.default))
        for each, names in zip(known, _names(cls), strict=True)
    )


def _reader(names: tuple[str, ...], by: Reader, empty: object) -> Reader:
    def read_first(raw: Any) -> Any:
        value = by(raw.get(_source(raw, names)))
        return empty if value is None else value

    return read_first


def _listed_attributes(listed: list[object]) -> Iterator[tuple[str, Any]]:
    for each in listed:
        row = as_object(each) or {}
        name = row.get("name_std") or row.get("name")
        if isinstance(name, str):
            yield name, row.get("value")


def as_object(value: object) -> Mapping[str, Any] | None:
    """Return a JSON object, or None for another value."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else None


def as_list(value: object) -> list[Any]:
    """Return a JSON array, or an empty list for another value."""
    return cast("list[Any]", cast("object", value)) if isinstance(value, list) else []


def text(value: object) -> str | None:
    """Read text; a number, such as a custom id of v1, becomes text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if value.bit_length() < 4000 else None
    return value if isinstance(value, str) else None


def integer(value: object) -> int | None:
    """Read a whole number, also from text."""
    if isinstance(value, str):
        value = value.strip()
        is_number = value.removeprefix("-").isdecimal() and len(value) <= _LONGEST_NUMBER
        return int(value) if is_number else None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def decimal(value: object) -> Decimal | None:
    """Read an amount: a deal's value is text, such as ``"1250.00"``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    with suppress(InvalidOperation, ValueError):
        number = Decimal(str(value))
        if number.is_finite() and abs(number.adjusted()) <= _LONGEST_NUMBER:
            return number
    return None


def flag(value: object) -> bool | None:
    """Read a bool, also from 0 and 1."""
    if isinstance(value, bool):
        return value
    return bool(value) if type(value) is int and value in (0, 1) else None


def moment(value: object) -> datetime | None:
    """Read a time as an aware ``datetime``: ISO 8601, or unix seconds.

    Answers have UTC with ``Z``; a time without a zone is taken as UTC.
    """
    with suppress(ValueError, OverflowError, OSError, TypeError):
        if isinstance(value, str):
            found = datetime.fromisoformat(value.strip())
            return found if found.tzinfo else found.replace(tzinfo=UTC)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    return None


def day(value: object) -> date | None:
    """Read a date, also from the beginning of a time."""
    with suppress(ValueError):
        if isinstance(value, str):
            return date.fromisoformat(value.strip()[:10])
    return None


def choice(*words: str) -> Reader:
    """Return a reader of a word, which writes have as a number: the first one is 1."""

    def read_word(value: object) -> str | None:
        number = integer(value)
        if number is not None and 1 <= number <= len(words):
            return words[number - 1]
        return text(value)

    return read_word


def many(by: Reader) -> Reader:
    """Return a reader of a list, in which what ``by`` cannot read is left out."""

    def read_list(value: object) -> tuple[Any, ...]:
        found = (by(each) for each in as_list(value))
        return tuple(each for each in found if each is not None)

    return read_list


def nested(model: type[Model]) -> Reader:
    """Return a reader of an object within an object."""

    def read_object(value: object) -> Model | None:
        return None if as_object(value) is None else model.parse(value)

    return read_object
