"""Validation of fields by tables.

The 400 of a choice is recorded [C rec]. The other sentences are those of Django REST
Framework, which the API looks like [I].
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, cast

from usercom_asgi.sandbox.rest.call import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Check = Callable[[Any], Any]
    TextCheck = Callable[[Any], str]

REQUIRED = "This field is required."
NULL = "This field may not be null."
BLANK = "This field may not be blank."
_MAX_INTEGER = 2**63 - 1
_MAX_NUMBER = 10**15
_MAX_TIME = 253_402_300_799  # the end of the year 9999
_MAX_DEPTH = 50
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


class FieldError(Exception):
    """A value that a field does not take, with the sentence of the answer."""


@dataclass(frozen=True)
class Field:
    """Field of a body; `check` returns the value or raises a FieldError."""

    check: Check
    required: bool = False
    nullable: bool = True


def validate(
    body: Mapping[str, Any], table: Mapping[str, Field], *, partial: bool = False
) -> dict[str, Any]:
    """Return the values of the fields in a body, or raise a 400 with all errors."""
    values: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    for name, field in table.items():
        if name not in body:
            if field.required and not partial:
                errors[name] = [REQUIRED]
        elif body[name] is None:
            if field.required or not field.nullable:
                errors[name] = [NULL]
            else:
                values[name] = None
        else:
            try:
                values[name] = field.check(body[name])
            except FieldError as error:
                errors[name] = [str(error)]
    if errors:
        raise invalid(errors)
    return values


def check_values(body: Mapping[str, Any]) -> None:
    """Refuse what no field may hold, in the names and values of a body."""
    errors: dict[str, list[str]] = {}
    for name, value in body.items():
        problem = _problem(name) or _problem(value)
        if problem:
            errors[name] = [problem]
    if errors:
        raise invalid(errors)


def _problem(value: Any) -> str:
    left = [(value, 0)]
    while left:
        each, depth = left.pop()
        if isinstance(each, str) and not each.isascii() and re.search("[\ud800-\udfff]", each):
            return "Surrogate characters are not allowed."
        if isinstance(each, str) and "\0" in each:
            return "Null characters are not allowed."
        if isinstance(each, float) and not math.isfinite(each):
            return "A valid number is required."
        if isinstance(each, int) and abs(each) > _MAX_INTEGER:
            return f"Ensure this value is less than or equal to {_MAX_INTEGER}."
        if depth > _MAX_DEPTH:
            return "This value is nested too deeply."
        if isinstance(each, dict):
            pairs = cast("dict[object, object]", each).items()
            left += [(part, depth + 1) for pair in pairs for part in pair]
        elif isinstance(each, list):
            left += [(part, depth + 1) for part in cast("list[object]", each)]
    return ""


def text(limit: int = 255, *, blank: bool = True) -> TextCheck:
    """Check a text; numbers become texts."""

    def check(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise FieldError("Not a valid string.")
        string = str(value)
        if not blank and not string.strip():
            raise FieldError(BLANK)
        if len(string) > limit:
            raise FieldError(f"Ensure this field has no more than {limit} characters.")
        return string

    return check


def email(value: Any) -> str:
    """Check an email address."""
    string = text()(value)
    if string and not _EMAIL.fullmatch(string):
        raise FieldError("Enter a valid email address.")
    return string


def integer(value: Any) -> int:
    """Check an integer, which may be a text of digits."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise FieldError("A valid integer is required.")
    if abs(value) > _MAX_INTEGER:
        raise FieldError(f"Ensure this value is less than or equal to {_MAX_INTEGER}.")
    return value


def number(value: Any) -> float:
    """Check a number, which may be a text."""
    try:
        converted = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        converted = math.nan
    if math.isnan(converted):
        raise FieldError("A valid number is required.")
    if not abs(converted) < _MAX_NUMBER:
        raise FieldError("Ensure that there are no more than 15 digits in total.")
    return converted


def boolean(value: Any) -> bool:
    """Check a boolean, which may be the text of one."""
    known = {"true": True, "false": False, "1": True, "0": False}
    if str(value).lower() not in known:
        raise FieldError("Must be a valid boolean.")
    return known[str(value).lower()]


def choice(*values: Any) -> Check:
    """Check one of some values."""

    def check(value: Any) -> Any:
        found = [each for each in values if str(each) == str(value)]
        if isinstance(value, bool) or not found:
            raise FieldError(f'"{value}" is not a valid choice.')
        return found[0]

    return check


def many(check: Check) -> Check:
    """Check a list."""

    def check_all(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise FieldError(f'Expected a list of items but got type "{type(value).__name__}".')
        return [check(each) for each in cast("list[object]", value)]

    return check_all


def mapping(value: Any) -> dict[str, Any]:
    """Check an object."""
    if not isinstance(value, dict):
        raise FieldError(f'Expected a dictionary of items but got type "{type(value).__name__}".')
    return cast("dict[str, Any]", value)


def anything(value: Any) -> Any:
    """Accept every JSON value."""
    return value


def moment(value: Any) -> float:
    """Check a time, in unix seconds or in ISO 8601; return unix seconds."""
    seconds = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str):
        seconds = _seconds(value)
    if not 0 <= seconds <= _MAX_TIME:
        raise FieldError("Datetime has wrong format.")
    return seconds


def day(value: Any) -> str:
    """Check a date of ISO 8601."""
    try:
        return date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        raise FieldError("Date has wrong format.") from None


def iso(seconds: float | None) -> str | None:
    """Return a time as answers hold it: UTC with microseconds and `Z` [C rec]."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now_if_none(seconds: float | None) -> float:
    """Return the time of a body, or now."""
    return time.time() if seconds is None else seconds


def _seconds(value: str) -> float:
    if _INTEGER.fullmatch(value):
        return float(value)
    try:
        read = datetime.fromisoformat(value)
    except ValueError:
        return math.nan
    zone = read if read.tzinfo else read.replace(tzinfo=UTC)
    return (zone - datetime.fromtimestamp(0, UTC)).total_seconds()
