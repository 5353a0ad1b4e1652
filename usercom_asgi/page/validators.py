"""Validators of pages: ETags that change with the snippet, and requests that repeat them.

The application knows its own page only. So the ETag of a page with the snippet
names both, and a request gets its condition translated back, if the snippet is
still the same.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from mimetypes import guess_type
from typing import TYPE_CHECKING

from .headers import VALIDATORS, by_name, without

if TYPE_CHECKING:
    from .headers import HeaderList

_IF_NONE_MATCH, _IF_MODIFIED_SINCE = b"if-none-match", b"if-modified-since"
#: The request headers that this module changes.
CONDITIONS = frozenset({_IF_NONE_MATCH, _IF_MODIFIED_SINCE})
_TAG = re.compile(rb'(W/)?"([^"]*)"')
_TAG_OR_STAR = re.compile(rb'(?:W/)?"[^"]*"|\*')
# The letter keeps whether the application's ETag was weak or strong, because
# some frameworks (BlackSheep) compare it letter by letter; none stands for a
# page without one.
_DATE_ALONE = b"n"
_MARKED = re.compile(rb'(?:W/)?"([^"]*)\.uc([nsw])([0-9a-f]{12})"')

#: The ETag of a page that is to be sent whole next time.
OUTDATED = (b"etag", b'W/".ucn000000000000"')


@lru_cache(16)
def snippet_mark(snippet: bytes, *, in_head: bool) -> bytes:
    """Return the mark of a snippet that is the same for all visitors, for ETags."""
    return hashlib.sha256(snippet + b"%d" % in_head).hexdigest()[:12].encode()


def mark_validators(headers: HeaderList, mark: bytes) -> HeaderList:
    """Return a page's headers with an ETag that names the snippet as well.

    A page with a ``Last-Modified`` alone gets such an ETag, since its date does not
    change with the snippet. An invalid ETag is removed with the date.
    """
    found = by_name(headers)
    if VALIDATORS.isdisjoint(found):
        return headers
    if b"etag" not in found:
        return [*headers, (b"etag", b'W/".ucn%b"' % mark)]
    tag = _TAG.fullmatch(found[b"etag"].strip())
    if tag is None:
        return without(headers, VALIDATORS)
    marked = b'W/"%b.uc%b%b"' % (tag[2], b"w" if tag[1] else b"s", mark)
    return [(name, marked if name.lower() == b"etag" else value) for name, value in headers]


@lru_cache(16)
def placed_mark(snippet: bytes) -> bytes:
    """Return the mark of a snippet that the application places in its page."""
    return hashlib.sha256(b"placed" + snippet).hexdigest()[:12].encode()


def translate_conditions(headers: HeaderList, mark: bytes | None, path: str = "/") -> HeaderList:
    """Return a request's headers with conditions that the application can answer.

    ``mark`` is that of the snippet which the page will have; None if it cannot be known
    yet. A condition on a page with another snippet is removed. So is one on a page
    without any, if a browser opens the address: the page may get a snippet now.
    """
    found = by_name(headers)
    opens_page = found.get(b"accept", b"").lower().startswith(b"text/html") and (
        guess_type(path)[0] in (None, "text/html")  # else a document or picture, in a tab
    )
    condition = found.get(_IF_NONE_MATCH, b"")
    if not opens_page and b".uc" not in condition:
        return headers  # unchanged, even if it is invalid
    given = _TAG_OR_STAR.findall(condition)
    originals = [_original(tag, mark, b"" if opens_page else tag) for tag in given]
    tags = [tag for tag in originals if tag not in (b"", _DATE_ALONE)]
    keeps_date = (
        not opens_page if _IF_NONE_MATCH not in found else bool(tags) or _DATE_ALONE in originals
    )
    dropped = {_IF_NONE_MATCH} if keeps_date else {_IF_NONE_MATCH, _IF_MODIFIED_SINCE}
    others = without(headers, dropped)
    return [*others, (_IF_NONE_MATCH, b", ".join(tags))] if tags else others


def _original(tag: bytes, mark: bytes | None, unmarked: bytes) -> bytes:
    """Return the application's ETag; ``unmarked`` for one without a mark, empty for an old one."""
    found = _MARKED.fullmatch(tag)
    if found is None:
        return unmarked
    if found[3] != mark:
        return b""
    if found[2] == _DATE_ALONE:
        return _DATE_ALONE
    return b'%b"%b"' % (b"W/" if found[2] == b"w" else b"", found[1])
