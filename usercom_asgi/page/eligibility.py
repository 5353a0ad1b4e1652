"""May this response be rewritten? One function answers, with the reason if not."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .headers import HeaderLayout, HeaderList

#: The reason that is the request's alone: another one for the same address gets the snippet.
HTMX = "htmx asked for a fragment"
_NO_PAGE = frozenset({204, 205, 206, 304})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
# Their bytes are not ASCII where the characters are, or a byte's meaning depends on what came before (asgi-checklist 28).
_UNSAFE_CHARSETS = (
    *(
        "utf-16",
        "utf16",
        "utf-32",
        "utf32",
        "ucs-2",
        "ucs2",
        "utf-7",
        "utf7",
        "iso-2022",
        "hz-gb",
        "hz",
    ),
    # Other names of the same (Encoding Standard, 4.2); "unicode-1-1-utf-8" is one of UTF-8.
    *("csunicode", "iso-10646-ucs", "unicodefe", "unicodeff", "csiso2022"),
)


def may_be_html(headers: HeaderList, shape: HeaderLayout) -> bool:
    """Tell, for the price of a glance, whether a closer look is worth while: most responses are no pages."""
    if shape.content_type >= 0:
        return _kind(headers[shape.content_type][1]) is None
    return any(name.lower() == b"content-type" and _kind(value) is None for name, value in headers)


def why_not(
    method: str,
    asked: Mapping[bytes, bytes],
    status: int,
    found: Mapping[bytes, bytes],
    *,
    is_wished: bool | None = None,
) -> str | None:
    """Return the reason to leave a response as it is, or None if the snippet may go into it.

    ``asked`` are the request's headers, and ``found`` the response's: by their names in lower case. If the application has
    wished for the snippet, only what makes it impossible is a reason; and if it has wished for none, that is.
    """
    why = _kind(found.get(b"content-type"))
    if why is not None:
        return why
    if status != 200 and (status < 200 or status in _NO_PAGE or 300 <= status < 400):
        return f"a response of status {status} shows no whole page"
    if method not in _METHODS:
        return f"the answer to {method} is no page"
    # Not "in", which takes bytes for a number first, and costs ten times as much.
    if b"content-length" in found and found[b"content-length"].find(b",") >= 0:
        return "the response has more than one content-length"
    if is_wished is not None:
        return None if is_wished else "should_inject says no"
    if b"hx-request" in asked and asked[b"hx-request"] == b"true" and not _asks_for_page(asked):
        return HTMX
    return _wishes(found) if b"cache-control" in found or b"content-disposition" in found else None


@lru_cache(256)
def _kind(content_type: bytes | None) -> str | None:
    if content_type is None:
        return "the response has no content-type"
    # Of several the last counts, with the charset of one before it (Fetch, "extract a MIME type").
    kinds = content_type.split(b",") if b'"' not in content_type else [content_type]
    media_type = kinds[-1].partition(b";")[0].strip().lower()
    if media_type != b"text/html":
        return f"{media_type.decode('latin-1')} is not text/html"
    for charset in map(_charset, kinds):
        if charset.startswith(_UNSAFE_CHARSETS) or charset == "unicode":
            return f"the charset {charset} cannot be spliced by bytes"
    return None


def _asks_for_page(asked: Mapping[bytes, bytes]) -> bool:
    """Tell whether htmx asks for a whole page: for a boosted link, or one that has left its history."""
    return asked.get(b"hx-boosted") == b"true" or b"hx-history-restore-request" in asked


def _wishes(found: Mapping[bytes, bytes]) -> str | None:
    if (how := found.get(b"content-disposition")) and how.split(b";")[
        0
    ].strip().lower() == b"attachment":
        return "the response is a download"
    if (caching := found.get(b"cache-control")) and b"no-transform" in caching.lower():
        return "the response forbids changes (Cache-Control: no-transform)"
    return None


def _charset(kind: bytes) -> str:
    for parameter in kind.decode("latin-1").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'").lower()
    return ""
