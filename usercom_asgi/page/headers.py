"""Helpers on raw ASGI header lists.

Starlette's ``Headers`` compare names as they are, and Django capitalises them. The list
may also be a tuple, a generator, missing, or shared by all responses of the
application. So these helpers compare lower-case names, and never change the list that
they are given.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.types import Message

HeaderList: TypeAlias = list[tuple[bytes, bytes]]

#: Headers that identify a version of the body (RFC 9110).
VALIDATORS = frozenset({b"etag", b"last-modified"})
# Headers that a change of the body makes wrong (RFC 9110, RFC 9421, RFC 9530).
_INVALIDATED = frozenset(
    {b"content-md5", b"digest", b"content-digest", b"repr-digest", b"signature", b"signature-input"}
    | {b"accept-ranges", b"content-length", b"etag"}
)
#: The header of a policy that browsers enforce.
ENFORCED = b"content-security-policy"
#: The headers of all policies.
POLICIES = frozenset({ENFORCED, b"content-security-policy-report-only"})
#: The header that may keep scripts of other hosts from loading.
EMBEDDER_POLICY = b"cross-origin-embedder-policy"
# Further headers that decide whether and how a response is changed.
_RELEVANT = (
    frozenset({b"content-encoding", b"content-disposition", b"cache-control", EMBEDDER_POLICY})
    | POLICIES
)
_SHARED_CACHE_HEADERS = frozenset({b"surrogate-control", b"edge-control", b"x-accel-expires"})
_STRICT_ENOUGH = frozenset({b"private", b"no-store"})


def header_list(message: Message) -> HeaderList:
    """Return a new list of the message's headers."""
    headers: Iterable[Any] = message.get("headers") or ()
    return [(pair[0], pair[1]) if type(pair) is list else pair for pair in headers]


class HeaderLayout(NamedTuple):
    """Facts about a response's headers that follow from their names alone.

    Most responses of an application have the same names, so the facts are
    cached by them.
    """

    #: The index of ``content-type`` and of ``content-length``; -1 if there is
    #: not exactly one.
    content_type: int
    content_length: int
    #: True if only the type can forbid a change, and a change affects only the length.
    is_plain: bool


def header_layout(headers: HeaderList) -> HeaderLayout:
    """Return the layout of a response's headers."""
    try:
        return _layout(tuple([pair[0] for pair in headers]))
    except TypeError:  # unhashable names: rejecting them is the server's job
        return _UNKNOWN


_UNKNOWN = HeaderLayout(-1, -1, is_plain=False)


@lru_cache(256)
def _layout(names: tuple[bytes, ...]) -> HeaderLayout:
    lower = [name.lower() for name in names]
    types, lengths = lower.count(b"content-type"), lower.count(b"content-length")
    others = _RELEVANT | VALIDATORS | (_INVALIDATED - {b"content-length"})
    return HeaderLayout(
        lower.index(b"content-type") if types == 1 else -1,
        lower.index(b"content-length") if lengths == 1 else -1,
        types == 1 and lengths <= 1 and others.isdisjoint(lower),
    )


def by_name(headers: HeaderList) -> dict[bytes, bytes]:
    """Return the headers by lower-case name, equal names joined by commas."""
    found = {name.lower(): value for name, value in headers}
    if len(found) == len(headers):
        return found
    found.clear()
    for name, value in headers:
        lower = name.lower()
        found[lower] = found[lower] + b"," + value if lower in found else value
    return found


def relevant_headers(headers: HeaderList, layout: HeaderLayout) -> dict[bytes, bytes]:
    """Return the headers that decide about a change, by lower-case name."""
    if not layout.is_plain:
        return by_name(headers)
    found = {b"content-type": headers[layout.content_type][1]}
    if layout.content_length >= 0:
        found[b"content-length"] = headers[layout.content_length][1]
    return found


def values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Return all values of a header, given its lower-case name."""
    return [value for each, value in headers if each.lower() == name]


def without(headers: Iterable[tuple[bytes, bytes]], names: Iterable[bytes]) -> HeaderList:
    """Return the headers in order, except those with these lower-case names."""
    return [(name, value) for name, value in headers if name.lower() not in names]


def update_entity_headers(
    headers: HeaderList, length: int | None, layout: HeaderLayout | None = None
) -> HeaderList:
    """Return headers that fit a changed body: no digests, no ranges, a weak ETag.

    ``length`` replaces the ``Content-Length``; None removes it, for a body whose length
    is not known yet. ``layout`` is the layout of the headers, if it is known.
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
    """Return headers for a page with a visitor's data.

    Shared caches must not store it, and a browser must not reuse it for
    the next visitor.
    """
    return vary_on_cookie(set_private(without(headers, VALIDATORS)))


def set_private(headers: HeaderList) -> HeaderList:
    """Return headers that forbid shared caches to store the response.

    Stricter directives, such as ``no-store``, stay.
    """
    others: HeaderList = []
    given: list[bytes] = []
    for pair in headers:
        name = pair[0].lower()
        if name == b"cache-control":
            given += [each.strip() for each in pair[1].split(b",")]
        elif not _is_shared_cache_header(name):
            others.append(pair)
    given = [each for each in given if each]
    if not given:
        return [*others, (b"cache-control", b"private")]
    # `private="name"` covers one header only, so the bare directive is required.
    is_strict = any(each.lower() in _STRICT_ENOUGH for each in given)
    kept = [each for each in given if each.split(b"=")[0].lower() not in (b"public", b"s-maxage")]
    if is_strict and kept == given:
        return [pair for pair in headers if not _is_shared_cache_header(pair[0].lower())]
    directives = kept if is_strict else [b"private", *kept]
    return [*others, (b"cache-control", b", ".join(directives))]


def with_cookies(start: Message, cookies: Sequence[bytes]) -> Message:
    """Return a response's start with these ``Set-Cookie`` values, as a private one."""
    if not cookies:
        return start
    headers = vary_on_cookie(set_private(start["headers"]))
    return {**start, "headers": [*headers, *((b"set-cookie", cookie) for cookie in cookies)]}


def set_no_store(headers: HeaderList) -> HeaderList:
    """Return headers that forbid every cache to store the response."""
    kept = [pair for pair in headers if not _is_shared_cache_header(pair[0].lower())]
    return [*without(kept, {b"cache-control", b"expires"}), (b"cache-control", b"no-store")]


def _is_shared_cache_header(name: bytes) -> bool:
    """Return True for headers that overrule Cache-Control at a CDN (RFC 9213)."""
    return name in _SHARED_CACHE_HEADERS or name.endswith(b"cdn-cache-control")


def vary_on_cookie(headers: HeaderList) -> HeaderList:
    """Return headers whose ``Vary`` contains ``Cookie`` or ``*``."""
    return vary_on(headers, b"Cookie")


def vary_on(headers: HeaderList, name: bytes) -> HeaderList:
    """Return headers whose ``Vary`` contains a name or ``*``."""
    named = [
        each.strip().lower() for value in values(headers, b"vary") for each in value.split(b",")
    ]
    if name.lower() in named or b"*" in named:
        return headers
    return [*headers, (b"vary", name)]
