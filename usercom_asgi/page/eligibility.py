"""May this response be rewritten? One function answers, with the reason if not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .headers import HeaderList, first, values

if TYPE_CHECKING:
    from starlette.types import Message, Scope

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
# Their bytes are not ASCII where the characters are, or a byte's meaning depends on what came before (asgi-checklist 28).
_UNSAFE_CHARSETS = ("utf-16", "utf16", "utf-32", "utf32", "ucs-2", "ucs2", "utf-7", "utf7", "iso-2022", "hz-gb", "hz")


def why_not(scope: Scope, message: Message, headers: HeaderList) -> str | None:
    """Return the reason to leave a response as it is, or None if the snippet may go into it."""
    return _status(message["status"]) or _content(headers) or _request(scope) or _wishes(headers)


def _status(status: int) -> str | None:
    if status < 200 or status in (204, 205, 206, 304) or 300 <= status < 400:
        return f"a response of status {status} shows no whole page"
    return None


def _request(scope: Scope) -> str | None:
    if scope["method"] not in _METHODS:
        return f"the answer to {scope['method']} is no page"
    names = {name.lower(): value for name, value in scope["headers"] if name[:3].lower() == b"hx-"}
    if names and names.get(b"hx-request") == b"true" and names.get(b"hx-boosted") != b"true":
        return "htmx asked for a fragment"
    return None


def _content(headers: HeaderList) -> str | None:
    content_type = first(headers, b"content-type")
    if content_type is None:
        return "the response has no content-type"
    media_type, _, parameters = content_type.partition(b";")
    if media_type.strip().lower() != b"text/html":
        return f"{media_type.strip().decode('latin-1')} is not text/html"
    charset = _charset(parameters)
    if charset.startswith(_UNSAFE_CHARSETS):
        return f"the charset {charset} cannot be spliced by bytes"
    encodings = [each.strip().lower() for value in values(headers, b"content-encoding") for each in value.split(b",")]
    if any(each not in (b"", b"identity") for each in encodings):
        return "the body is encoded already; put UserComMiddleware inside the compressing middleware"
    if len(values(headers, b"content-length")) > 1:
        return "the response has more than one content-length"
    return None


def _charset(parameters: bytes) -> str:
    for parameter in parameters.decode("latin-1").split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'").lower()
    return ""


def _wishes(headers: HeaderList) -> str | None:
    disposition = first(headers, b"content-disposition")
    if disposition is not None and disposition.split(b";")[0].strip().lower() == b"attachment":
        return "the response is a download"
    if any(b"no-transform" in value.lower() for value in values(headers, b"cache-control")):
        return "the response forbids changes (Cache-Control: no-transform)"
    return None
