"""Envelopes of lists: pages of 100 with a cursor, and absolute links [D].

A cursor names the id that a page begins after, or ends before.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from usercom_asgi.sandbox.rest.call import RestError, not_found, ok

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from usercom_asgi.sandbox.rest.call import Call

PAGE_SIZE = 100


@dataclass(frozen=True)
class Cursor:
    """Place between two rows."""

    id: int
    is_before: bool = False

    def encode(self) -> str:
        """Return the text for a link."""
        text = f"{'before' if self.is_before else 'after'} {self.id}"
        return base64.urlsafe_b64encode(text.encode()).decode()

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Parse the text of a link, or raise a 404 [I]."""
        try:
            decoded = base64.urlsafe_b64decode(text.encode()).decode()
        except (binascii.Error, ValueError):
            decoded = ""
        match = re.fullmatch(r"(before|after) ([0-9]{1,19})", decoded)
        if match is None:
            raise RestError(404, {"detail": "Invalid cursor"})
        return cls(int(match[2]), match[1] == "before")


def page(call: Call, rows: Sequence[dict[str, Any]]) -> Response:
    """Answer one page of rows, which have an `id` and are in its order."""
    text = call.query.get("cursor")
    cursor = Cursor.decode(text) if text else None
    shown, has_more_before, has_more_after = _select(rows, cursor)
    if cursor and not shown and call.workspace.rest_last_page_has_next:
        raise not_found()
    has_more_after |= bool(shown) and call.workspace.rest_last_page_has_next
    return ok(
        {
            "count": len(rows),
            "next": _link(call, Cursor(shown[-1]["id"])) if has_more_after else None,
            "previous": (
                _link(call, Cursor(shown[0]["id"], is_before=True)) if has_more_before else None
            ),
            "results": shown,
        }
    )


def _select(
    rows: Sequence[dict[str, Any]], cursor: Cursor | None
) -> tuple[list[dict[str, Any]], bool, bool]:
    """Return the rows of a page, and whether there are rows before and after it."""
    if cursor and cursor.is_before:
        found = [row for row in rows if row["id"] < cursor.id]
        shown = found[-PAGE_SIZE:]
        return shown, len(found) > len(shown), bool(shown)
    found = [row for row in rows if cursor is None or row["id"] > cursor.id]
    shown = found[:PAGE_SIZE]
    return shown, cursor is not None and bool(shown), len(found) > len(shown)


def _link(call: Call, cursor: Cursor) -> str:
    others = [(name, value) for name, value in call.query.multi_items() if name != "cursor"]
    query = urlencode([*others, ("cursor", cursor.encode())])
    return f"{call.origin}{quote(call.path)}?{query}"
