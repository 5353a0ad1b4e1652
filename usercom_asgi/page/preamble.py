"""What a document's beginning shows: a doctype, AMP, and policies in ``<meta>`` tags."""

from __future__ import annotations

import re
from html import unescape

from .syntax import TAG, after_comment, attributes

#: So many bytes of a document are looked at.
PREAMBLE_BYTES = 32 * 1024

_SPACE = b" \t\n\f\r"
_DOCTYPE = re.compile(rb"<!doctype[ \t\n\f\r>]", re.IGNORECASE)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_META = re.compile(rb"<meta(?=[ \t\n\f\r/])", re.IGNORECASE)
_AMP = re.compile(rb"(?:amp|\xe2\x9a\xa1(?:\xef\xb8\x8f)?)(?:4ads|4email)?", re.IGNORECASE)


def has_doctype(begin: bytes) -> bool:
    """Return True if a document begins with a doctype, as no fragment does."""
    at = len(_BYTE_ORDER_MARK) if begin.startswith(_BYTE_ORDER_MARK) else 0
    while at < len(begin):
        if begin[at] in _SPACE:
            at += 1
        elif _DOCTYPE.match(begin, at):
            return True
        elif begin[at : at + 2] in (b"<!", b"<?"):
            at = after_comment(begin, at)
            if at < 0:
                return False
        else:
            return False
    return False


def is_amp(begin: bytes) -> bool:
    """Return True for AMP pages, which are invalid with any script of their own."""
    start = begin.find(b"<html")
    if start < 0:
        start = begin.find(b"<HTML")
    # Most tags are without it, so they are not parsed.
    text = begin[start : begin.find(b">", start) + 1].lower() if start >= 0 else b""
    if text.find(b"amp") < 0 and text.find(b"\xe2\x9a\xa1") < 0:
        return False
    tag = TAG.match(begin, start)
    return tag is not None and any(_AMP.fullmatch(name) for name, _ in attributes(tag[0]))


def meta_policies(head: bytes) -> list[str]:
    """Return the Content-Security-Policies in ``<meta>`` tags of a head.

    Those in comments are returned as well, because their nonces do no harm.
    """
    if head.find(b"ecurity-") < 0 and head.find(b"ECURITY-") < 0:
        return []  # most heads have no policy, and are not searched for tags
    found: list[str] = []
    for start in _META.finditer(head):
        tag = TAG.match(head, start.start())
        if tag is None:
            continue
        given = dict(reversed(list(attributes(tag[0]))))  # the first of two counts
        if given.get(b"http-equiv", b"").strip().lower() == b"content-security-policy":
            found.append(unescape(given.get(b"content", b"").decode("latin-1")))
    return found
