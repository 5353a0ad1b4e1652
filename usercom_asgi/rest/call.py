"""One call: its route, query and body, and whether it is repeated."""

from __future__ import annotations

import json
import logging
import random
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final, NoReturn
from urllib.parse import quote, urlencode
from uuid import UUID

from ..core.exceptions import DeliveryError, InvalidCommand, UnavailableError

logger = logging.getLogger("usercom_asgi")

#: The path that all routes are under, and where the token may go.
PREFIX: Final = "/api/public"
HEADERS = {
    # Without the version, User.com answers in the shapes of version 1.
    "Accept": "*/*; version=2",
    "Accept-Encoding": "gzip",
}
JSON_HEADERS = {"Content-Type": "application/json"}
#: Bytes of an answer, as received and as unpacked. A page of 100 users has up to 1 MB.
MAX_BODY = 16 * 1024 * 1024
_MAX_DIGITS = 15  # of a number that a float holds
INITIAL_DELAY, MAX_DELAY = 0.5, 8.0  # seconds
#: The longest ``Retry-After`` that is waited for, in seconds.
MAX_RETRY_AFTER = 60.0


class Unset(Enum):
    """The type of :data:`UNSET`."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


#: A value that is left out of the call. None is sent, as null.
UNSET: Final = Unset.UNSET


class Token:
    """The token, which no ``repr``, pickle or traceback shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def headers(self) -> dict[str, str]:
        """Return the header that authorizes a call."""
        return {"Authorization": f"Token {self._value}"}

    def hide(self, text: str) -> str:
        """Return a text without the token, which a server may quote in capitals."""
        return re.sub(re.escape(self._value), "...", text, flags=re.IGNORECASE)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a UserComRest cannot be pickled: it holds the token and connections")


@dataclass(frozen=True, slots=True)
class Route:
    """A verb and the template of a path, such as ``/users/:id/``.

    ``is_repeatable`` is true if a call may be made twice with the effect of one. The
    operation decides that, and not the verb: ``update_or_create`` is a POST.
    """

    method: str
    template: str
    is_repeatable: bool = True
    #: True if the caller needs no more than the status, as of an event. The answer to
    #: another call, which a kept connection may bring, does no harm then.
    is_record: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """What :meth:`.UserComRest.with_options` changes."""

    timeout: float
    retries: int


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt of a call, for ``on_call``: it holds no ids and no values.

    ``route`` is the template of the path, ``status`` None if there was no response, and
    ``attempt`` begins with 1.
    """

    method: str
    route: str
    status: int | None
    seconds: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of 2xx. ``json`` is None if the body is empty or not JSON."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    json: Any = field(repr=False)


def retry_delay(
    error: DeliveryError, attempt: int, retries: int, *, is_repeatable: bool
) -> float | None:
    """Return the seconds to wait before a call is repeated, or None to raise the error.

    429, and a call that did not reach User.com, are repeated whatever the call does.
    After another failure the call may have been carried out, so only one that is
    repeatable is made again.
    """
    if attempt > retries or not isinstance(error, UnavailableError):
        return None
    if 300 <= (error.status or 0) < 400 or not (error.not_sent or is_repeatable):
        return None
    if (error.retry_after or 0.0) > MAX_RETRY_AFTER:
        return None
    ceiling = min(MAX_DELAY, INITIAL_DELAY * 2.0 ** min(attempt - 1, 10))
    delay = random.uniform(0.0, ceiling)  # noqa: S311  jitter keeps no secret
    return max(delay, error.retry_after or 0.0)


def encode_query(query: Mapping[str, object]) -> str:
    """Return a query with its question mark; None and UNSET are left out.

    A space is ``%20`` and a plus ``%2B``, so that phone numbers arrive.

    Raises:
        InvalidCommand: If a value cannot be sent.

    """
    pairs = [
        (name, str(value).lower() if isinstance(value, bool) else str(_plain(value)))
        for name, value in query.items()
        if value is not None and value is not UNSET
    ]
    try:
        return "?" + urlencode(pairs, quote_via=quote) if pairs else ""
    except UnicodeEncodeError:
        raise InvalidCommand("query", "must be text that UTF-8 can encode") from None


def encode_body(body: Mapping[str, object]) -> bytes:
    """Return a body as JSON, without the values that are UNSET.

    Raises:
        InvalidCommand: If a value cannot be sent.

    """
    given = {name: value for name, value in body.items() if value is not UNSET}
    with suppress(InvalidCommand, ValueError, TypeError, RecursionError):
        return _dump(given)
    for name, value in given.items():  # which one is it?
        try:
            _dump(value)
        except InvalidCommand as error:
            problem = error.problem
        except (ValueError, TypeError, RecursionError):
            problem = "must be finite numbers, text, bools, dates, lists and mappings of text"
        else:
            continue
        raise InvalidCommand(name, problem)
    raise InvalidCommand("body", "must have names that are text")


def mapping(field: str, value: Mapping[str, object] | None) -> dict[str, object]:
    """Return a mapping that was passed as an argument as a dict; None is an empty one.

    Raises:
        InvalidCommand: If it is something else.

    """
    if value is not None and not isinstance(value, Mapping):
        raise InvalidCommand(field, f"must be a mapping, got {type(value).__name__}")
    return dict(value or {})


def check_aware(value: datetime) -> None:
    """Check that a datetime is one moment.

    Raises:
        InvalidCommand: If it has no time zone.

    """
    if value.utcoffset() is None:
        raise InvalidCommand(
            "datetime", "must have a time zone, such as datetime.now(timezone.utc)"
        )


def _dump(value: object) -> bytes:
    return json.dumps(value, default=_plain, allow_nan=False).encode()


def _plain_decimal(value: Decimal) -> int | float | str:
    if not value.is_finite():
        raise InvalidCommand("value", "must be a finite number")
    if abs(value.adjusted()) > _MAX_DIGITS or len(value.as_tuple().digits) > _MAX_DIGITS:
        return str(value)  # a float would round it
    return int(value) if value == value.to_integral_value() else float(value)


def _plain(value: object) -> object:
    """Return a value as JSON has it."""
    if value is UNSET:
        raise InvalidCommand("value", "must not hold UNSET: leave its name out of the mapping")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        check_aware(value)
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        return _plain_decimal(value)
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, (str, int, float)):
        return value
    raise InvalidCommand(
        "value",
        "must be text, a number, a bool, a date, an aware datetime, a UUID, an Enum, a list or a "
        f"mapping, got {type(value).__name__}",
    )
