"""Bodies on their way out, whatever hostile thing they quote."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from usercom_asgi.sandbox.parsing import RefusedError, read_object

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_QUOTE = 2_000
_WITHOUT_BODY = (204, 304)


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """JSON in ASCII: what a request brought may hold lone surrogates, which UTF-8 cannot."""
    content = b"" if status in _WITHOUT_BODY else json.dumps(value)
    answer = Response(content, status, headers=dict(headers or {}), media_type="application/json")
    answer.headers["Cache-Control"] = "no-store"
    return answer


def peek(raw: bytes) -> dict[str, Any]:
    """A body before it is checked; empty if it is none."""
    try:
        return read_object(raw)
    except RefusedError:
        return {}


def readable(raw: bytes) -> Any:
    """A refused body as one would like to read it: parsed if it can be, else its beginning."""
    return peek(raw) or raw[:_LONGEST_QUOTE].decode("utf-8", "replace")
