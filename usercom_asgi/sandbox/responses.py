"""Bodies of responses, which may quote malformed requests."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, cast

from starlette.responses import Response

from usercom_asgi.sandbox.parsing import RefusedError, read_object

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_QUOTE = 2_000
_WITHOUT_BODY = (204, 304)


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response of ASCII JSON.

    A request may hold lone surrogates, which UTF-8 cannot encode, and numbers such as
    1e999, which JSON cannot write.
    """
    content = b"" if status in _WITHOUT_BODY else encode(value)
    answer = Response(content, status, headers=dict(headers or {}), media_type="application/json")
    answer.headers["Cache-Control"] = "no-store"
    return answer


def parse_leniently(raw: bytes) -> dict[str, Any]:
    """Parse a body that is not validated; return an empty dict if it is malformed."""
    try:
        return read_object(raw)
    except RefusedError:
        return {}


def quote_body(raw: bytes) -> Any:
    """Return a refused body for display: parsed if possible, else its beginning."""
    return parse_leniently(raw) or raw[:_MAX_QUOTE].decode("utf-8", "replace")


def quote_frame(frame: str) -> str:
    """Return the beginning of a refused frame of a socket for display."""
    return frame[:_MAX_QUOTE]


def encode(value: Any) -> str:
    """Return ASCII JSON, with null for numbers that JSON cannot write."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value))


def _finite(value: Any) -> Any:
    """Replace infinite numbers by null, as the browsers' own JSON does."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value).items()
        return {name: _finite(each) for name, each in pairs}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in cast("list[object]", value)]
    return value
