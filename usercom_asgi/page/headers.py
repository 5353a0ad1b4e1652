"""Helpers on raw ASGI header lists.

Starlette's ``Headers`` compare raw names as they come, and Django sends them capitalised; the list may also be a tuple, a
generator, missing, or shared by all responses of the application (asgi-checklist, facts 3 and 4). So: make a list once, compare
lower-cased, and never change what we were given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Message

HeaderList: TypeAlias = list[tuple[bytes, bytes]]

# They describe the bytes that the application made, and no longer those that go out (RFC 9110, RFC 9530, RFC 9421).
_VALIDATORS = frozenset({b"etag", b"last-modified"})
_UNTRUE = frozenset(
    {b"content-md5", b"digest", b"content-digest", b"repr-digest", b"signature", b"signature-input"}
    | {b"accept-ranges", b"content-length", b"etag"}
)
_STRICTER_THAN_PRIVATE = frozenset({b"private", b"no-store"})


def header_list(message: Message) -> HeaderList:
    """Return the message's headers as a list of our own."""
    return [(name, value) for name, value in message.get("headers") or ()]


def values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Return all values of a header; ``name`` in lower case."""
    return [value for each, value in headers if each.lower() == name]


def without(headers: Iterable[tuple[bytes, bytes]], names: Iterable[bytes]) -> HeaderList:
    """Return the headers but for those with these lower-case names, in their order."""
    return [(name, value) for name, value in headers if name.lower() not in names]


def for_changed_body(headers: HeaderList, added: int | None) -> HeaderList:
    """Return headers that are true of a page with the same snippet for everybody: no digests, no ranges, a weak ETag.

    ``added`` is by how many bytes the body grows; None if that is not known yet, then the length is left out.
    """
    changed: HeaderList = []
    for pair in headers:
        lower = pair[0].lower()
        if lower not in _UNTRUE:
            changed.append(pair)
        elif lower == b"content-length":
            if added is not None and pair[1].strip().isdigit():
                changed.append((pair[0], b"%d" % (int(pair[1]) + added)))
        elif lower == b"etag":
            value = pair[1].lstrip()
            changed.append((pair[0], value if value.startswith(b"W/") else b"W/" + value))
    return changed


def for_person(headers: HeaderList) -> HeaderList:
    """Return headers that keep a page with a visitor's data out of shared caches, and out of the next visitor's."""
    return vary_on_cookie(private(without(headers, _VALIDATORS)))


def private(headers: HeaderList) -> HeaderList:
    """Return headers that forbid a shared cache to keep the response; stricter ones stay as they are."""
    directives = [
        directive
        for value in values(headers, b"cache-control")
        for directive in value.split(b",")
        if directive.strip()
    ]  # fmt: skip
    names = [directive.strip().split(b"=")[0].lower() for directive in directives]
    if _STRICTER_THAN_PRIVATE.intersection(names):
        return headers
    kept = [
        directive.strip()
        for directive, name in zip(directives, names, strict=True)
        if name not in (b"public", b"s-maxage")
    ]  # fmt: skip
    return [*without(headers, {b"cache-control"}), (b"cache-control", b", ".join([b"private", *kept]))]


def vary_on_cookie(headers: HeaderList) -> HeaderList:
    """Return headers whose ``Vary`` has ``Cookie`` (or is ``*``)."""
    named = [each.strip().lower() for value in values(headers, b"vary") for each in value.split(b",")]
    if b"cookie" in named or b"*" in named:
        return headers
    return [*headers, (b"vary", b"Cookie")]
