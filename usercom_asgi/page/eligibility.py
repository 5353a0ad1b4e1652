"""Decides from its headers whether a response may get the snippet."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .headers import HeaderList

#: A reason that depends on the request: another one for the same address
#: gets the snippet.
HTMX = "htmx asked for a fragment"
_TYPE_LENGTH = len(b"content-type")
_STATUSES_WITHOUT_PAGE = frozenset({204, 205, 206, 304})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
# In these charsets an ASCII character is not its ASCII byte, or the meaning of a byte
# depends on those before it. So the position of a tag cannot be found by its bytes.
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
    # Labels of the same charsets (Encoding Standard, 4.2).
    # "unicode-1-1-utf-8" is UTF-8.
    *("csunicode", "iso-10646-ucs", "unicodefe", "unicodeff", "csiso2022"),
)


def may_be_html(headers: HeaderList) -> bool:
    """Return False for responses that certainly are not HTML."""
    for name, value in headers:
        # The length first, because every response is asked, and most names
        # differ in it.
        if (
            len(name) == _TYPE_LENGTH
            and name.lower() == b"content-type"
            and _content_type_reason(value) is None
        ):
            return True
    return False


def skip_reason(
    method: str,
    request_headers: Mapping[bytes, bytes],
    status: int,
    response_headers: Mapping[bytes, bytes],
    *,
    force: bool | None = None,
) -> str | None:
    """Return the reason to leave a response unchanged; None if it may get the snippet.

    Args:
        method: The request's method.
        request_headers: The request's headers by lower-case name.
        status: The response's status.
        response_headers: The response's headers by lower-case name.
        force: The answer of ``should_inject``. True overrules all reasons but those
            that make the snippet impossible, False is a reason of its own.

    """
    reason = _content_type_reason(response_headers.get(b"content-type"))
    if reason is not None:
        return reason
    has_page = status >= 200 and status not in _STATUSES_WITHOUT_PAGE and not 300 <= status < 400
    if not has_page:
        return f"responses of status {status} have no complete page"
    if method not in _METHODS:
        return f"responses to {method} have no page"
    # `in` takes five times as long as `find` (CPython 3.11), since it tries
    # a number first.
    if (length := response_headers.get(b"content-length")) and length.find(b",") >= 0:
        return "the response has more than one content-length"
    if force is not None:
        return None if force else "should_inject returned False"
    if asks_for_fragment(request_headers):
        return HTMX
    return _opt_out_reason(response_headers)


@lru_cache(256)
def _content_type_reason(content_type: bytes | None) -> str | None:
    if content_type is None:
        return "the response has no content-type"
    # The last of several types counts, with a charset of any (Fetch, "extract
    # a MIME type").
    types = content_type.split(b",") if b'"' not in content_type else [content_type]
    media_type = types[-1].partition(b";")[0].strip().lower()
    if media_type != b"text/html":
        return f"{media_type.decode('latin-1')} is not text/html"
    for charset in map(_charset, types):
        if charset.startswith(_UNSAFE_CHARSETS) or charset == "unicode":
            return f"the charset {charset} is not a superset of ASCII"
    return None


def asks_for_fragment(request_headers: Mapping[bytes, bytes]) -> bool:
    """Return True if htmx asks for a part of a page."""
    return request_headers.get(b"hx-request") == b"true" and not _wants_whole_page(request_headers)


def _wants_whole_page(request_headers: Mapping[bytes, bytes]) -> bool:
    """Return True if htmx follows a boosted link, or restores a page of its history."""
    return (
        request_headers.get(b"hx-boosted") == b"true"
        or b"hx-history-restore-request" in request_headers
    )


def _opt_out_reason(response_headers: Mapping[bytes, bytes]) -> str | None:
    disposition = response_headers.get(b"content-disposition")
    if disposition and disposition.split(b";")[0].strip().lower() == b"attachment":
        return "the response is a download"
    cache_control = response_headers.get(b"cache-control")
    if cache_control and b"no-transform" in cache_control.lower():
        return "the response forbids changes (Cache-Control: no-transform)"
    return None


def _charset(content_type: bytes) -> str:
    for parameter in content_type.decode("latin-1").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'").lower()
    return ""
