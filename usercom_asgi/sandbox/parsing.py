"""Parsing and validation of the widget's requests (`docs/usercom.md`, 3)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn, cast

from usercom_asgi.sandbox.vendor import PRODUCT_EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable


_MAX_DEPTH = 100


class RefusedError(Exception):
    """A request that User.com would refuse."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def read_object(raw: bytes | str) -> dict[str, Any]:
    """Parse a JSON object."""
    try:
        value: object = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise RefusedError(400, "not a JSON object")
    read = cast("dict[str, Any]", value)
    if _is_deep(read):
        # Python stops at some 1,000 calls in each other, when the page shows the value.
        raise RefusedError(400, f"nested in more than {_MAX_DEPTH} levels")
    return read


def require_key(body: dict[str, Any], name: str, expected: str) -> None:
    """Check the app key, which is in the body of every request."""
    if body.get(name) != expected:
        raise RefusedError(
            403, f"{name} is missing" if name not in body else f"{name} is not this workspace's"
        )


def text(body: dict[str, Any], name: str) -> str:
    """Return a required string."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise RefusedError(400, f"{name} must be a string that is not empty")
    return value


def optional_text(body: dict[str, Any], name: str) -> str:
    """Return an optional string; empty if missing."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RefusedError(400, f"{name} must be a string")
    return value


def encoded_object(body: dict[str, Any], name: str) -> dict[str, Any]:
    """Parse an object in a string of JSON, because the widget encodes data twice."""
    try:
        return read_object(optional_text(body, name) or "{}")
    except RefusedError as refused:
        raise RefusedError(
            400, f"{name} must be an object, encoded as a string of JSON: {refused.reason}"
        ) from None


def check_ping(body: dict[str, Any]) -> None:
    """Check the fields of a ping that are not free attributes."""
    for name in ("userKey", "email", "url", "domain", "referrer"):
        optional_text(body, name)
    user_id = body.get("user_id")
    if user_id is not None and (isinstance(user_id, bool) or not isinstance(user_id, str | int)):
        raise RefusedError(400, "user_id must be a string")
    check_company(body)


def check_company(values: dict[str, Any]) -> None:
    """Check the company of a ping or an update."""
    if not isinstance(values.get("company") or {}, dict):
        raise RefusedError(400, "company must be an object")


def event_of_ping(body: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return name and data of the event in a page hit, if there is one."""
    event = body.get("event")
    if event is None:
        return None
    if not isinstance(event, dict):
        raise RefusedError(400, "event must be an object with an event_name")
    data = dict(cast("dict[str, Any]", event))
    name = data.pop("event_name", None) or data.pop("name", None)
    if not isinstance(name, str) or not name:
        raise RefusedError(400, "event.event_name must be a string that is not empty")
    return name, data


def product_event(body: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Return product id, event type and the rest of a product event."""
    data = encoded_object(body, "data")
    product_id, event_type = data.pop("product_id", None), data.pop("event_type", None)
    if (
        product_id is None
        or isinstance(product_id, bool)
        or not isinstance(product_id, str | int)
        or product_id == ""
    ):
        raise RefusedError(400, "data.product_id is required")
    if not isinstance(event_type, str) or event_type not in PRODUCT_EVENT_TYPES:
        raise RefusedError(
            400, f"data.event_type must be one of: {', '.join(sorted(PRODUCT_EVENT_TYPES))}"
        )
    return str(product_id), event_type, data


def updates(body: dict[str, Any]) -> dict[str, Any]:
    """Merge the list of objects of a `client.update`; later ones take precedence."""
    data = body.get("data")
    if not isinstance(data, list):
        raise RefusedError(400, "data must be a list of objects")
    merged: dict[str, Any] = {}
    for part in cast("list[object]", data):
        if not isinstance(part, dict):
            raise RefusedError(400, "data must be a list of objects")
        merged.update(cast("dict[str, Any]", part))
    return merged


def _is_deep(value: object) -> bool:
    level: list[object] = [value]
    for _ in range(_MAX_DEPTH):
        level = [part for each in level for part in _parts(each)]
        if not level:
            return False
    return True


def _parts(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


def _no_constant(name: str) -> NoReturn:
    message = f"{name} is not a JSON value"
    raise ValueError(message)
