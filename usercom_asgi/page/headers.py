"""Helpers on raw ASGI header lists.

Starlette's ``Headers`` compare raw names as they come, and Django sends them capitalised; the list may also be a tuple, a
generator, missing, or shared by all responses of the application (asgi-checklist, facts 3 and 4). So: make a list once, compare
lower-cased, and never change what we were given.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.types import Message

HeaderList: TypeAlias = list[tuple[bytes, bytes]]

#: They describe the bytes that the application made, and no longer those that go out (RFC 9110, RFC 9530, RFC 9421).
VALIDATORS = frozenset({b"etag", b"last-modified"})
_INVALIDATED = frozenset(
    {b"content-md5", b"digest", b"content-digest", b"repr-digest", b"signature", b"signature-input"}
    | {b"accept-ranges", b"content-length", b"etag"}
)
#: The headers that hold a Content-Security-Policy; the other one is not enforced.
ENFORCED = b"content-security-policy"
POLICIES = frozenset({ENFORCED, b"content-security-policy-report-only"})
# What else decides whether a response may be changed, or is changed with it.
_RELEVANT = frozenset({b"content-encoding", b"content-disposition", b"cache-control"}) | POLICIES
_SHARED_CACHE_HEADERS = frozenset({b"surrogate-control", b"edge-control", b"x-accel-expires"})
_STRICT_ENOUGH = frozenset({b"private", b"no-store"})


def header_list(message: Message) -> HeaderList:
    """Return the message's headers as a list of our own."""
    headers: Iterable[Any] = message.get("headers") or ()
    return [(pair[0], pair[1]) if type(pair) is list else pair for pair in headers]


class HeaderLayout(NamedTuple):
    """What the names of a response's headers tell.

    Most responses of an application have the same names, so that is found once for all of them.
    """

    #: Where the ``content-type`` stands, and the ``content-length``; -1 if there is none, or more than one.
    content_type: int
    content_length: int
    #: Nothing in the headers but the type forbids a change, and nothing but the length becomes untrue by one.
    is_plain: bool


def header_layout(headers: HeaderList) -> HeaderLayout:
    """Look at the names of headers."""
    try:
        return _layout(tuple([pair[0] for pair in headers]))
    except TypeError:  # names that are no bytes are the server's to refuse
        return _UNKNOWN


_UNKNOWN = HeaderLayout(-1, -1, is_plain=False)


@lru_cache(256)
def _layout(names: tuple[bytes, ...]) -> HeaderLayout:
    lower = [name.lower() for name in names]
    types, lengths = lower.count(b"content-type"), lower.count(b"content-length")
    others = _RELEVANT | (_INVALIDATED - {b"content-length"})
    return HeaderLayout(
        lower.index(b"content-type") if types == 1 else -1,
        lower.index(b"content-length") if lengths == 1 else -1,
        types == 1 and lengths <= 1 and others.isdisjoint(lower),
    )


def by_name(headers: HeaderList) -> dict[bytes, bytes]:
    """Return the headers by their names in lower case; the values of those of one name are joined by commas."""
    found = {name.lower(): value for name, value in headers}
    if len(found) == len(headers):
        return found
    found.clear()
    for name, value in headers:
        lower = name.lower()
        found[lower] = found[lower] + b"," + value if lower in found else value
    return found


def relevant_headers(headers: HeaderList, layout: HeaderLayout) -> dict[bytes, bytes]:
    """Return, as :func:`by_name` does, those headers at least that decide whether a response may be changed."""
    if not layout.is_plain:
        return by_name(headers)
    found = {b"content-type": headers[layout.content_type][1]}
    if layout.content_length >= 0:
        found[b"content-length"] = headers[layout.content_length][1]
    return found


def values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Return all values of a header; ``name`` in lower case."""
    return [value for each, value in headers if each.lower() == name]


def without(headers: Iterable[tuple[bytes, bytes]], names: Iterable[bytes]) -> HeaderList:
    """Return the headers but for those with these lower-case names, in their order."""
    return [(name, value) for name, value in headers if name.lower() not in names]


def update_entity_headers(
    headers: HeaderList, length: int | None, layout: HeaderLayout | None = None
) -> HeaderList:
    """Return headers that are true of a page with the same snippet for everybody: no digests, no ranges, a weak ETag.

    ``length`` is the body's, which replaces the one that is given; None if it is not known yet, then that is left out.
    ``layout`` is that of the headers, if somebody knows it.
    """
    _, place, is_plain = layout or header_layout(headers)
    changed: HeaderList = []
    if is_plain and length is not None:
        changed += headers
        if place >= 0:
            changed[place] = (changed[place][0], b"%d" % length)
        return changed
    for pair in headers:
        lower = pair[0].lower()
        if lower not in _INVALIDATED:
            changed.append(pair)
        elif lower == b"content-length":
            if length is not None:
                changed.append((pair[0], b"%d" % length))
        elif lower == b"etag":
            value = pair[1].lstrip()
            changed.append((pair[0], value if value.startswith(b"W/") else b"W/" + value))
    return changed


def make_private(headers: HeaderList) -> HeaderList:
    """Return headers that keep a page with a visitor's data out of shared caches, and out of the next visitor's."""
    return vary_on_cookie(set_private(without(headers, VALIDATORS)))


def set_private(headers: HeaderList) -> HeaderList:
    """Return headers that forbid a shared cache to keep the response; stricter ones stay as they are."""
    others: HeaderList = []
    given: list[bytes] = []
    for pair in headers:
        name = pair[0].lower()
        if name == b"cache-control":
            given += [each.strip() for each in pair[1].split(b",")]
        elif not _is_shared_cache_header(name):
            others.append(pair)
    given = [each for each in given if each]
    # `set_private="name"` is about that header alone: only the bare directive will do.
    is_strict = any(each.lower() in _STRICT_ENOUGH for each in given)
    kept = [each for each in given if each.split(b"=")[0].lower() not in (b"public", b"s-maxage")]
    if is_strict and kept == given:
        return [pair for pair in headers if not _is_shared_cache_header(pair[0].lower())]
    directives = kept if is_strict else [b"private", *kept]
    return [*others, (b"cache-control", b", ".join(directives))]


def with_cookies(start: Message, cookies: Sequence[bytes]) -> Message:
    """Return a response's start with these ``Set-Cookie`` values; no cache may give them to the next visitor then."""
    if not cookies:
        return start
    headers = vary_on_cookie(set_private(start["headers"]))
    return {**start, "headers": [*headers, *((b"set-cookie", cookie) for cookie in cookies)]}


def set_no_store(headers: HeaderList) -> HeaderList:
    """Return headers that forbid every cache to keep the response, the browser's own included."""
    kept = [pair for pair in headers if not _is_shared_cache_header(pair[0].lower())]
    return [*without(kept, {b"cache-control", b"expires"}), (b"cache-control", b"no-store")]


def _is_shared_cache_header(name: bytes) -> bool:
    """Headers that tell a CDN what Cache-Control does not (RFC 9213, and those before it)."""
    return name in _SHARED_CACHE_HEADERS or name.endswith(b"cdn-cache-control")


def vary_on_cookie(headers: HeaderList) -> HeaderList:
    """Return headers whose ``Vary`` has ``Cookie`` (or is ``*``)."""
    return vary_on(headers, b"Cookie")


def vary_on(headers: HeaderList, name: bytes) -> HeaderList:
    """Return headers whose ``Vary`` has a name (or is ``*``)."""
    named = [
        each.strip().lower() for value in values(headers, b"vary") for each in value.split(b",")
    ]
    if name.lower() in named or b"*" in named:
        return headers
    return [*headers, (b"vary", name)]
