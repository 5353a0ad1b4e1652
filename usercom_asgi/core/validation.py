"""Python values become what User.com takes, or are refused where they were said.

The shapes are those of ``window.civchat`` (User.com's developer guide, "customer identification" and "JavaScript
integration"); the limits are those of its REST reference, since the browser SDK documents none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias, cast
from uuid import UUID

from .exceptions import InvalidCommand

#: User.com's developer guide, "widget callbacks".
CALLBACKS = ("onLoad", "onPayloadReceived", "onMessage", "onOpen", "onClose")

_PATH = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*(?:\.[A-Za-z_$][A-Za-z0-9_$]*)*")
# They turn a string into code: what the widget hands a callback would become it.
_CODE = frozenset(
    {"eval", "Function", "setTimeout", "setInterval", "setImmediate", "execScript", "importScripts"}
)
# The ways to reach them, and to change every object of the page.
_ROOTS = frozenset({"constructor", "prototype", "__proto__"})


class WidgetState(StrEnum):
    """How the widget appears on page load (user.com, "JavaScript integration"; ``expanded`` by the vendor's GTM template)."""

    SIMPLE = "simple"
    STANDARD = "standard"
    HIDDEN = "hidden"
    EXPANDED = "expanded"


def check_state(value: str) -> str:
    """Return a state as the widget takes it.

    Raises:
        ValueError: There is no such state.

    """
    try:
        return WidgetState(value).value
    except ValueError:
        raise ValueError(f"must be one of: {', '.join(WidgetState)}") from None


def check_callbacks(given: Mapping[str, str]) -> Mapping[str, str]:
    """Return callbacks that name functions of the page, and hold no code.

    Raises:
        ValueError: A callback does not exist, or what it names is no dotted path such as ``"shop.chat.opened"``.

    """
    if not isinstance(given, Mapping):
        raise ValueError("must be a mapping, such as {'onOpen': 'shop.chat.opened'}")  # noqa: TRY004
    for name, path in given.items():
        if name not in CALLBACKS:
            raise ValueError(f"there are only: {', '.join(CALLBACKS)}")
        if not isinstance(path, str) or not _PATH.fullmatch(path):
            raise ValueError(
                f"{name} must be the dotted path of a function on the page, such as 'shop.chat.opened'"
            )
        if (_CODE | _ROOTS).intersection(path.split(".")):
            raise ValueError(
                f"{name} must be a function of your own: {path} makes code of what it is given"
            )
    return MappingProxyType(dict(given))


Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

#: Names that mean something to the widget or its ping, and so can be no attribute (SDK page; vendor's bundle of 2022-05).
RESERVED_NAMES = frozenset(
    {
        "apiKey",
        "userKey",
        "create_new_gu",
        "widget_ready",
        "domain",
        "timezone",
        "resolution",
        "url",
        "referrer",
        "event",
    }
    | {"state", "widget", "__internal", "__ca__chat", "__proto__"}
    | {"onLoad", "onPayloadReceived", "onMessage", "onOpen", "onClose", "onDestroy"}
)
#: REST reference: names 40, phone and city 64, every other string and an attribute's own name 255 characters.
STRING_LIMIT = 255
LIMITS = {"first_name": 40, "last_name": 40, "phone_number": 64, "city": 64}
# Half of one is another one.
_NEVER_TRUNCATED = frozenset({"email", "user_id", "product_id"})

_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNSENDABLE = re.compile("[\x00\ud800-\udfff]")
# Beyond this JavaScript rounds: 9007199254740993 would arrive as ...992.
_LARGEST_INT = 2**53 - 1
_MOST_DIGITS = len(str(_LARGEST_INT))
_DEEPEST = 16


def clean_attributes(given: Mapping[str, object], *, truncate: bool = False) -> dict[str, Json]:
    """Check and convert a visitor's attributes; ``company`` and ``source_context`` are nested objects.

    A value of None says nothing and is left out. ``truncate=True`` shortens strings that are too long instead of refusing them.

    Raises:
        InvalidCommand: A name is reserved or a value cannot be sent.

    """
    cleaned: dict[str, Json] = {}
    for name, value in given.items():
        _check_name(name)
        if name in RESERVED_NAMES:
            raise InvalidCommand(name, "is a name that the widget itself uses; choose another one")
        if value is not None:
            cleaned[name] = _attribute(name, value, truncate=truncate)
    return cleaned


def clean_data(
    given: Mapping[str, object], where: str = "data", *, truncate: bool = False
) -> dict[str, Json]:
    """Check and convert the data of an event: as attributes, and JSON objects are allowed.

    Raises:
        InvalidCommand: A value cannot be sent; ``where`` and the name tell which.

    """
    return _object(where, given, truncate=truncate, depth=0)


def clean_text(field: str, value: object, *, truncate: bool = False) -> str:
    """Check a string that must not be empty, such as an event's name.

    Raises:
        InvalidCommand: It is no string, empty, too long, or holds control characters.

    """
    if isinstance(value, Enum):
        value = value.value
    if not isinstance(value, str) or not value.strip():
        raise _refused(field, value, "must be a string that is not empty")
    if _CONTROL.search(value):
        raise InvalidCommand(field, "holds a control character")
    return _string(field, value, truncate=truncate)


def clean_id(field: str, value: object) -> str:
    """Check an identifier of the application's own, such as ``user_id``: a string, an int or a UUID.

    Raises:
        InvalidCommand: It is something else, or empty.

    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() > STRING_LIMIT * 4:  # str() does not take any number of digits either
            raise _refused(field, value, f"has more digits than User.com takes ({STRING_LIMIT})")
        value = str(value)
    elif isinstance(value, UUID):
        value = str(value)
    return clean_text(field, value)


def _attribute(name: str, value: object, *, truncate: bool) -> Json:
    if name == "user_id":
        return clean_id(name, value)
    if name in ("company", "source_context"):
        if not isinstance(value, Mapping):
            raise _refused(name, value, "must be a mapping")
        return _object(name, cast("Mapping[Any, object]", value), truncate=truncate, depth=0)
    if isinstance(value, Mapping):
        raise _refused(
            name,
            value,
            "an attribute holds one value or a list of choices, no mapping; send an event's data so",
        )
    converted = _value(name, value, truncate=truncate and name not in _NEVER_TRUNCATED, depth=0)
    _check_standard(name, converted)
    return converted


def _check_standard(name: str, value: Json) -> None:
    """The standard attributes have formats of their own (User.com's developer guide, "customer identification")."""
    if name == "email" and not (isinstance(value, str) and _EMAIL.fullmatch(value)):
        raise _refused(name, value, "must be an e-mail address")
    if name == "phone_number" and not (isinstance(value, str) and _E164.fullmatch(value)):
        raise _refused(
            name, value, "must be in E.164 form: + and up to 15 digits, such as '+48123456789'"
        )
    if name == "gender" and not (value in (1, 2, 3) and type(value) is int):
        raise _refused(name, value, "must be 1 (unknown), 2 (male) or 3 (female)")
    if name == "status" and not (value in (1, 2) and type(value) is int):
        raise _refused(name, value, "must be 1 (visitor) or 2 (user)")
    if name == "score" and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise _refused(name, value, "must be a number")
    if name in ("name", "first_name", "last_name") and not isinstance(value, str):
        raise _refused(name, value, "must be a string")


def _value(field: str, value: object, *, truncate: bool, depth: int) -> Json:
    if depth > _DEEPEST:
        raise InvalidCommand(field, f"is nested deeper than {_DEEPEST} levels")
    if type(value) is str:  # as most are
        return _string(field, value, truncate=truncate)
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, (bool, str, int, float, Decimal)) or value is None:
        return _plain(field, value, truncate=truncate)
    if isinstance(value, (datetime, date)):
        return _moment(field, value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return _object(field, cast("Mapping[Any, object]", value), truncate=truncate, depth=depth)
    if isinstance(value, (list, tuple)):
        items = cast("Iterable[object]", value)
        return [
            _value(f"{field}[{n}]", item, truncate=truncate, depth=depth + 1)
            for n, item in enumerate(items)
        ]
    raise _refused(
        field,
        value,
        "can be text, a number, a bool, a date, an aware datetime, a UUID, an Enum or a list of them",
    )


def _plain(field: str, value: str | float | Decimal | None, *, truncate: bool) -> Json:
    if isinstance(value, str):
        return _string(field, value, truncate=truncate)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise _refused(field, value, "must be a finite number")
        # Before it is written out: 1E+1000000 takes 40 s for that, and holds up all threads.
        if value.adjusted() > _MOST_DIGITS:
            raise _too_large(field, value)
        value = int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, int):
        if abs(value) > _LARGEST_INT:
            raise _too_large(field, value)
        return int(value)
    if not math.isfinite(value):
        raise _refused(field, value, "must be a finite number")
    return float(value)


def _too_large(field: str, value: object) -> InvalidCommand:
    return _refused(
        field, value, "is larger than JavaScript can hold exactly (2**53 - 1); send it as a string"
    )


def _moment(field: str, value: date) -> str:
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise _refused(
            field, value, "has no time zone; give it one, such as datetime.now(timezone.utc)"
        )
    return value.isoformat()


def _object(
    field: str, given: Mapping[Any, object], *, truncate: bool, depth: int
) -> dict[str, Json]:
    cleaned: dict[str, Json] = {}
    for name, value in given.items():
        _check_name(name, within=field)
        if name == "__proto__":
            raise InvalidCommand(
                field,
                "must not hold the name __proto__, which would change the object in the browser",
            )
        if value is not None:
            cleaned[name] = _value(f"{field}.{name}", value, truncate=truncate, depth=depth + 1)
    return cleaned


def _check_name(name: object, within: str = "attribute") -> None:
    if not isinstance(name, str) or not name:
        raise InvalidCommand(
            within, f"names must be strings that are not empty, not {type(name).__name__}"
        )
    if len(name) > STRING_LIMIT or not _is_name(name):
        raise InvalidCommand(
            within,
            f"a name must have at most {STRING_LIMIT} characters, none of them a control character",
        )


@lru_cache(512)
def _is_name(name: str) -> bool:
    # An application has a few dozens of them, and says them at every request.
    return not (_CONTROL.search(name) or _UNSENDABLE.search(name))


def _string(field: str, value: str, *, truncate: bool) -> str:
    if _UNSENDABLE.search(value):
        raise InvalidCommand(field, "holds a NUL or a lone surrogate, which no database takes")
    limit = LIMITS.get(field, STRING_LIMIT)
    if len(value) <= limit:
        return str(value)
    if truncate:
        return value[:limit]
    hint = (
        ""
        if field in _NEVER_TRUNCATED
        else "; shorten it, or truncate all such strings with UserComConfig(truncate_strings=True)"
    )
    raise InvalidCommand(field, f"has {len(value)} characters, User.com takes {limit}{hint}")


def _refused(field: str, value: Any, rule: str) -> InvalidCommand:
    # The type, never the value: errors end in logs, and the value is somebody's.
    what = type(value).__name__
    return InvalidCommand(
        field,
        f"{rule} (got {what if not isinstance(value, str) else f'{what} of {len(value)} characters'})",
    )
