"""Errors of calls: which class an answer is, and a text without the values sent.

The shapes of errors are those of recorded answers of 2018 (``{"detail": ...}`` and
``{"errors": {field: [sentences]}}``); an unknown route answers with a page of HTML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote

from ..core.exceptions import (
    BadRequestError,
    DeliveryError,
    ForbiddenError,
    NoResponseError,
    NotFoundError,
    RateLimitError,
    RedirectError,
    RejectedError,
    ServerError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedResponseError,
)
from ..core.text import printable

if TYPE_CHECKING:
    from ..api.client import Response

E = TypeVar("E", bound=DeliveryError)
Scrub = Callable[[str], str]

#: Headers that hold nothing of the call.
_HEADERS = ("allow", "content-type", "date", "retry-after", "server", "x-request-id")
_HIDDEN = "..."
_EMAIL = re.compile(r"[^\s@\"'<>]+@[^\s@\"'<>]+")
# Django quotes the value that it rejects: "x" is not a valid choice.
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|(?<!\w)'[^']*'(?!\w)")
_MAX_FIELDS, _MAX_SENTENCES, _MAX_TEXT = 50, 10, 300
_MAX_READ, _MAX_VALUES = 2000, 1000  # bound the time that a text takes
_REJECTED: Mapping[int, type[RejectedError]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
}
_REMEDIES = {
    401: "check the token",
    403: "check what the token may do",
}


def scrubber(*sent: object, hide: Scrub) -> Scrub:
    """Return a function that hides the values sent in a text of the server.

    A text may quote the address of the call, in which they are percent-encoded.
    Short values are hidden as whole words, and texts of one or two letters only where
    they are quoted: ``"a"`` is in every sentence. After a call with very many values,
    the whole text is hidden.
    """
    plain = set(islice(_values(sent), _MAX_VALUES + 1))
    if len(plain) > _MAX_VALUES:
        return lambda _: _HIDDEN
    encoded = {quote(each, safe=safe, errors="replace") for each in plain for safe in ("", "/")}
    values = sorted(plain | encoded, key=len, reverse=True)
    patterns = "|".join(
        rf"(?<!\w){re.escape(each)}(?!\w)" if len(each) <= 3 else re.escape(each) for each in values
    )
    found = re.compile(patterns, re.IGNORECASE) if values else None

    def scrub(text: str) -> str:
        text, is_cut = hide(text)[:_MAX_READ], len(text) > _MAX_READ
        text = found.sub(_HIDDEN, text) if found else text
        text = _QUOTED.sub(f'"{_HIDDEN}"', _EMAIL.sub(_HIDDEN, text))
        if is_cut and values:  # the cut may have left the beginning of a value
            text = text[: -len(values[0])]
        return printable(text[:_MAX_TEXT])

    return scrub


def _values(sent: object) -> Iterator[str]:
    if isinstance(sent, Mapping):
        for each in cast("Mapping[object, object]", sent).values():
            yield from _values(each)
    elif isinstance(sent, (list, tuple, set, frozenset)):
        for each in cast("list[object]", sent):
            yield from _values(each)
    elif isinstance(sent, Enum):
        yield from _values(sent.value)
    elif isinstance(sent, date):
        yield sent.isoformat()
    elif sent is not None and not isinstance(sent, bool):
        text = str(sent)
        if not isinstance(sent, str) or len(text) > 2:
            yield text


def failure_of(method: str, path: str, response: Response, scrub: Scrub) -> DeliveryError:
    """Return the error of an answer, which is one of 2xx only if it is too large.

    Args:
        method: The verb.
        path: The template of the route.
        response: The response.
        scrub: Hides the values sent.

    """
    status, reason = response.status, f"{method} {path} answered {response.status}"
    if 200 <= status < 300:
        text = f"{reason} with a body over the limit of size"
        return _filled(UnexpectedResponseError(text, status=status), method, path, response)
    data = parse_json(response.body)
    detail, errors = _detail(data, scrub), dict(_errors(data, scrub))
    if not detail and errors:
        detail = "; ".join(f"{name}: {' '.join(each)}" for name, each in errors.items())
    detail = detail[:_MAX_TEXT]
    remedy = _REMEDIES.get(status)
    text = reason + (f": {detail}" if detail else "") + (f" ({remedy})" if remedy else "")
    error: DeliveryError
    if 300 <= status < 400:
        text = f"{reason}, a redirect, which is not followed: check subdomain and base_url"
        error = RedirectError(text, status=status, not_sent=True)
    elif status == 429:
        error = RateLimitError(text, status=status, retry_after=response.retry_after, not_sent=True)
    elif status in {408, 425} or status >= 500 or status < 200:
        error = ServerError(text, status=status, retry_after=response.retry_after)
    elif status == 404 and (is_html(response.headers) or _is_other_text(response, data)):
        # The page of an unknown route: it must not pass for "no such user".
        # Servers decode the %2F of an id before they look for the route.
        kind = "HTML" if is_html(response.headers) else "a text"
        text = (
            f"{reason} with {kind}, so the route is unknown: check subdomain, base_url and path, "
            "and that no custom id holds a slash"
        )
        error = UnexpectedResponseError(text, status=status)
    else:
        error = _REJECTED.get(status, RejectedError)(text, status=status)
        if isinstance(error, BadRequestError):
            error.errors = errors
    if detail:  # which may name other people than those of the call
        error.detail, error.reason = detail, error.reason.replace(f": {detail}", "", 1)
    return _filled(error, method, path, response)


def no_response(error: DeliveryError, method: str, path: str) -> DeliveryError:
    """Return the REST client's error for one of the transport."""
    if isinstance(error, UnavailableError):
        error = NoResponseError(error.reason, status=error.status, not_sent=error.not_sent)
    return _filled(error, method, path)


def broken_off(method: str, path: str, status: int) -> NoResponseError:
    """Return the error of an answer of 2xx whose body was lost."""
    error = NoResponseError(f"{method} {path}: the response broke off", status=status)
    return _filled(error, method, path)


def held_back(method: str, path: str, seconds: float) -> RateLimitError:
    """Return the error of a call that the pause after a 429 holds back."""
    text = f"{method} {path} not sent: the rate limit pauses all calls for {seconds:.3g} s"
    return _filled(RateLimitError(text, retry_after=seconds, not_sent=True), method, path)


def unexpected(method: str, path: str, status: int, problem: str) -> UnexpectedResponseError:
    """Return the error of a 2xx answer that cannot be used."""
    error = UnexpectedResponseError(f"{method} {path} answered {status} {problem}", status=status)
    return _filled(error, method, path)


def not_found(method: str, path: str) -> NotFoundError:
    """Return the error of an answer of 2xx that names nothing."""
    error = NotFoundError(f"{method} {path} answered with nothing", status=404)
    return _filled(error, method, path)


def may_be_taken(error: RejectedError) -> bool:
    """Return whether the error may be about a custom id that another object has.

    A 400 may be about any other value as well.
    """
    return error.status in (400, 409)


def is_html(headers: Mapping[str, str]) -> bool:
    """Return whether the body is a page."""
    return "html" in headers.get("content-type", "").lower()


def _is_other_text(response: Response, data: object) -> bool:
    """Return whether a body is a proxy's: the API answers JSON, which may break off."""
    is_json = data is not None or "json" in response.headers.get("content-type", "").lower()
    return not is_json and bool(response.body.strip())


def parse_json(body: bytes) -> Any:
    """Return the JSON of a body, or None without any."""
    try:
        return json.loads(body) if body.strip() else None
    except (ValueError, RecursionError):
        return None


def _filled(error: E, method: str, path: str, response: Response | None = None) -> E:
    error.method, error.path = method, path
    if response is not None:
        headers = response.headers
        error.headers = {name: headers[name] for name in _HEADERS if name in headers}
    return error


def _detail(data: object, scrub: Scrub) -> str:
    detail = cast("Mapping[str, object]", data).get("detail") if isinstance(data, dict) else None
    return scrub(detail) if isinstance(detail, str) else ""


def _errors(data: object, scrub: Scrub) -> Iterator[tuple[str, tuple[str, ...]]]:
    if not isinstance(data, dict):
        return
    given = cast("dict[str, object]", data)
    for n, (name, found) in enumerate(_sentences(given.get("errors", given), "")):
        if n == _MAX_FIELDS:
            return
        if name != "detail":
            yield scrub(name), tuple(map(scrub, found[:_MAX_SENTENCES]))


def _sentences(given: object, name: str, depth: int = 0) -> Iterator[tuple[str, list[str]]]:
    """Yield the sentences of each field, with a dotted name where it is nested."""
    if isinstance(given, str):
        yield name, [given]
    elif isinstance(given, dict) and depth < 5:
        for key, value in cast("dict[str, object]", given).items():
            yield from _sentences(value, f"{name}.{key}" if name else str(key), depth + 1)
    elif isinstance(given, list) and depth < 5:
        rows = cast("list[object]", given)
        if texts := [each for each in rows if isinstance(each, str)]:
            yield name, texts
        for n, each in enumerate(rows):
            if isinstance(each, (dict, list)):
                yield from _sentences(cast("object", each), f"{name}[{n}]", depth + 1)
