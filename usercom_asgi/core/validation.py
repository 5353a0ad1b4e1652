"""Validation and conversion of values for User.com.

The formats are those of ``window.civchat`` (User.com's developer guide, "customer
identification" and "JavaScript integration"). The limits are those of its REST
reference, because the browser SDK documents none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast
from uuid import UUID

from .exceptions import InvalidCommand, InvalidValue
from .log import warn_once
from .problems import Problems, repair

if TYPE_CHECKING:
    from decimal import Decimal

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

#: Names that the widget or its ping uses, so that attributes cannot have them (SDK
#: page; vendor's bundle of 2022-05).
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
#: Most characters of a string and of an attribute's name (REST reference).
STRING_LIMIT = 255
#: Most characters of the attributes with limits of their own (REST reference).
LIMITS = {"first_name": 40, "last_name": 40, "phone_number": 64, "city": 64}
# A truncated identifier would identify another person or product.
_NEVER_TRUNCATED = frozenset({"email", "user_id", "product_id", "company.company_id"})

_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]+")
_UNSENDABLE = re.compile("[\x00\ud800-\udfff]")
# JavaScript rounds larger integers: 9007199254740993 would arrive as ...992.
_MAX_INT = 2**53 - 1
_MAX_DIGITS = len(str(_MAX_INT))
_MAX_DEPTH = 16


_MISSPELT = {
    name.replace("_", ""): name
    for name in ("user_id", "email", "first_name", "last_name", "phone_number")
}


class _Standard(NamedTuple):
    """The format of a standard attribute; ``text`` is the rule of its error."""

    types: tuple[type, ...]
    text: str
    pattern: re.Pattern[str] | None = None
    choices: tuple[int, ...] = ()


_STANDARD = {
    "email": _Standard((str,), "must be an e-mail address", pattern=_EMAIL),
    "phone_number": _Standard(
        (str,),
        "must be in E.164 form: + and up to 15 digits, such as '+48123456789'",
        pattern=_E164,
    ),
    "gender": _Standard((int,), "must be 1 (unknown), 2 (male) or 3 (female)", choices=(1, 2, 3)),
    "status": _Standard((int,), "must be 1 (visitor) or 2 (user)", choices=(1, 2)),
    "score": _Standard((int, float), "must be a number"),
    "name": _Standard((str,), "must be a string"),
    "first_name": _Standard((str,), "must be a string"),
    "last_name": _Standard((str,), "must be a string"),
}


def clean_attributes(
    given: Mapping[str, object], problems: Problems | None = None
) -> dict[str, Json]:
    """Check and convert a visitor's attributes.

    Values of None are left out. ``company`` and ``source_context`` are nested objects.
    A value that may come from a visitor is repaired or left out, and added to
    ``problems``; without a list it raises.

    Raises:
        InvalidCommand: If a name is reserved or a value has a wrong type.

    """
    cleaned: dict[str, Json] = {}
    for name, value in given.items():
        if name in RESERVED_NAMES:
            raise InvalidCommand(
                name,
                f"must be another name, such as my_{name.strip('_')}: the widget uses this one",
            )
        _warn_misspelt(name)
        try:
            _check_name(name)
            if value is not None:
                cleaned[name] = _attribute(name, value, problems)
        except InvalidValue as error:
            repair(problems, error)
    return cleaned


def clean_data(
    given: Mapping[str, object], where: str = "data", problems: Problems | None = None
) -> dict[str, Json]:
    """Check and convert the data of an event, which may hold nested objects.

    Raises:
        InvalidCommand: If a value has a wrong type. The field is ``where.name``.

    """
    return _object(where, given, problems, depth=0)


def clean_text(field: str, value: object, problems: Problems | None = None) -> str:
    """Check a string that must not be empty, such as an event's name.

    Raises:
        InvalidCommand: If the value is not a string, or is empty.

    """
    value = _text(field, value)
    if _UNPRINTABLE.search(value):
        repair(problems, InvalidValue(field, "must not hold a control character", "cleaned"))
        value = _UNPRINTABLE.sub(" ", value)
        if not value.strip():
            raise InvalidValue(field, "must hold more than control characters")
    return _string(field, value, problems)


def clean_id(field: str, value: object) -> str:
    """Check an identifier of the application, such as ``user_id``.

    It is never repaired, because that would identify another person or product.

    Raises:
        InvalidCommand: If the value is not a string, an int or a UUID, or is invalid.

    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() > STRING_LIMIT * 4:  # str() has a limit of digits, too
            raise _unusable(field, value, f"must have at most {STRING_LIMIT} digits")
        value = str(value)
    elif isinstance(value, UUID):
        value = str(value)
    value = _text(field, value, "must be a string, an int or a UUID")
    if _CONTROL.search(value):
        raise InvalidValue(field, "must not hold a control character")
    return _string(field, value, None)


def _text(field: str, value: object, rule: str = "must be a string that is not empty") -> str:
    if isinstance(value, Enum):
        value = value.value
    if not isinstance(value, str):
        raise _invalid(field, value, rule)
    if not value.strip():
        raise _unusable(field, value, "must be a string that is not empty")
    return value


def _attribute(name: str, value: object, problems: Problems | None) -> Json:
    if name == "user_id":
        return clean_id(name, value)
    if name in ("company", "source_context"):
        if not isinstance(value, Mapping):
            raise _invalid(name, value, "must be a mapping")
        return _object(name, cast("Mapping[Any, object]", value), problems, depth=0)
    if isinstance(value, Mapping):
        raise _invalid(
            name,
            value,
            "must be one value or a list of choices; only data of an event may be a mapping",
        )
    converted = _value(name, value, None if name in _NEVER_TRUNCATED else problems, depth=0)
    _check_standard(name, converted)
    return converted


def _check_standard(name: str, value: Json) -> None:
    """Check the formats of standard attributes ("customer identification")."""
    rule = _STANDARD.get(name)
    if rule is None:
        return
    if isinstance(value, bool) or not isinstance(value, rule.types):
        raise _invalid(name, value, rule.text)
    is_malformed = rule.pattern is not None and not rule.pattern.fullmatch(str(value))
    if is_malformed or (rule.choices and value not in rule.choices):
        raise _unusable(name, value, rule.text)


def _value(field: str, value: object, problems: Problems | None, *, depth: int) -> Json:
    if depth > _MAX_DEPTH:
        raise InvalidValue(field, f"must be nested at most {_MAX_DEPTH} levels deep")
    if type(value) is str:  # the most common type
        return _string(field, value, problems)
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, (bool, str, int, float)) or value is None:
        return _plain(field, value, problems)
    if isinstance(value, (datetime, date)):
        return _moment(field, value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return _object(field, cast("Mapping[Any, object]", value), problems, depth=depth)
    if isinstance(value, (list, tuple)):
        return _list(field, cast("Iterable[object]", value), problems, depth=depth)
    # Not at the top, because its import takes 2 ms and most applications send none.
    from decimal import Decimal

    if isinstance(value, Decimal):
        return _plain(field, _number(field, value), problems)
    raise _invalid(
        field,
        value,
        "must be text, a number, a bool, a date, an aware datetime, a UUID, an Enum, "
        "or a list of them",
    )


def _list(
    field: str, values: Iterable[object], problems: Problems | None, *, depth: int
) -> list[Json]:
    cleaned: list[Json] = []
    for n, value in enumerate(values):
        try:
            cleaned.append(_value(f"{field}[{n}]", value, problems, depth=depth + 1))
        except InvalidValue as error:
            repair(problems, error)
    return cleaned


def _number(field: str, value: Decimal) -> float:
    if not value.is_finite():
        raise _unusable(field, value, "must be a finite number")
    # Check before int(): that of 1E+1000000 takes 40 s and blocks all threads.
    if value.adjusted() > _MAX_DIGITS:
        raise _too_large(field, value)
    return int(value) if value == value.to_integral_value() else float(value)


def _plain(field: str, value: str | float | None, problems: Problems | None) -> Json:
    if isinstance(value, str):
        return _string(field, value, problems)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        if abs(value) > _MAX_INT:
            raise _too_large(field, value)
        return int(value)
    if not math.isfinite(value):
        raise _unusable(field, value, "must be a finite number")
    return float(value)


def _too_large(field: str, value: object) -> InvalidValue:
    return _unusable(
        field,
        value,
        "must be at most 2**53 - 1, JavaScript rounds larger ones; send it as a string",
    )


def _moment(field: str, value: date) -> str:
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise _invalid(field, value, "must have a time zone, such as datetime.now(timezone.utc)")
    return value.isoformat()


def _object(
    field: str, given: Mapping[Any, object], problems: Problems | None, *, depth: int
) -> dict[str, Json]:
    cleaned: dict[str, Json] = {}
    for name, value in given.items():
        try:
            _check_name(name, within=field)
            if value is not None:
                inner = f"{field}.{name}"
                repairs = None if inner in _NEVER_TRUNCATED else problems
                cleaned[name] = _value(inner, value, repairs, depth=depth + 1)
        except InvalidValue as error:
            repair(problems, error)
    return cleaned


def _check_name(name: object, within: str = "attribute") -> None:
    if not isinstance(name, str):
        raise InvalidCommand(
            within, f"names must be strings that are not empty, got {type(name).__name__}"
        )
    if not name or len(name) > STRING_LIMIT or not _is_name(name):
        raise InvalidValue(
            within,
            f"must have names of 1 to {STRING_LIMIT} characters, none of them a control character",
            "sent without one name",
        )
    if name == "__proto__":  # reserved for attributes; the body of a request may hold it
        raise InvalidValue(
            within,
            "must not hold the name __proto__, which would change the object in the browser",
            "sent without one name",
        )


@lru_cache(512)
def _warn_misspelt(name: object) -> None:
    """Warn of a custom attribute such as ``userId``, which identifies no user."""
    plain = name.lower().replace("_", "").replace("-", "") if isinstance(name, str) else ""
    meant = _MISSPELT.get(plain)
    if meant is not None and meant != name:
        warn_once(
            "attribute_misspelt", f"The attribute {name} is a custom one; did you mean {meant!r}?"
        )


@lru_cache(512)
def _is_name(name: str) -> bool:
    # Cached, because an application sends the same few dozen names at every request.
    return not _UNPRINTABLE.search(name)


def _string(field: str, value: str, problems: Problems | None) -> str:
    if _UNSENDABLE.search(value):
        raise InvalidValue(field, "must not hold a NUL or a lone surrogate, which databases refuse")
    limit = LIMITS.get(field, STRING_LIMIT)
    if len(value) <= limit:
        return str(value)
    error = InvalidValue(
        field,
        f"must have at most {limit} characters, got {len(value)}",
        "left out" if field in _NEVER_TRUNCATED else "truncated",
    )
    repair(problems, error)
    return value[:limit]


def _describe(value: Any) -> str:
    # Without the value, because errors are logged and the value is personal data.
    given = type(value).__name__
    return f"{given} of {len(value)} characters" if isinstance(value, str) else given


def _invalid(field: str, value: Any, rule: str) -> InvalidCommand:
    """Return the error of a mistake in the code, which is always raised."""
    return InvalidCommand(field, f"{rule}, got {_describe(value)}")


def _unusable(field: str, value: Any, rule: str) -> InvalidValue:
    """Return the error of a value that may come from a visitor."""
    return InvalidValue(field, f"{rule}, got {_describe(value)}")
