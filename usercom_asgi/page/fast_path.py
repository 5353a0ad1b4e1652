"""The positions of the tags that count in a whole, ordinary page.

The patterns and helpers of :mod:`.tokenizer` find the places that matter. Where one
needs more than a search for its end, there is no answer, and the tokenizer reads
the page. An answer is always the tokenizer's: ``tests/page/test_fast_path.py``
compares the two.

Instructions for a page of 10 KB with 558 tags (callgrind, CPython 3.11):

- ``inject()``, all by the tokenizer: 375,000
- ``inject()``, with this module: 279,000
- of that, :func:`read_ordinary_page`: 246,000
- of that, one search of ``IN_BODY``: 126,000
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .syntax import NAME_END, RAW_TEXT_ENDS, TAG, after_comment
from .tokenizer import BEFORE_BODY, IN_BODY, NAMED, is_unsafe, may_be_in_tag

_COMMENT = b"!--"
_HEAD_ENDS = frozenset({b"/head", b"body"})
_LANDMARKS = _HEAD_ENDS | {b"html"}
_SCRIPT_END = re.compile(rb"</script" + NAME_END, re.IGNORECASE)
_TEXT_ENDS = {**RAW_TEXT_ENDS, b"script": _SCRIPT_END}


class OrdinaryPage(NamedTuple):
    """The positions in a page with a ``<body>`` and its end, and nothing in doubt."""

    #: The position of the first ``</head>`` or ``<body>``.
    head_end: int
    #: The position of the last ``</body>``.
    body_end: int


def read_ordinary_page(page: bytes) -> OrdinaryPage | None:
    """Return the positions in a page; None if only the tokenizer can find them."""
    close = page.rfind(b"</body")
    if close < 0 or page.find(b"</BODY", close) >= 0 or is_unsafe(page):
        return None
    # All bytes before `known` are read, and it is outside of any tag and text.
    known, look, head_end, pattern = 0, 0, -1, BEFORE_BODY
    while (place := pattern.search(page, look)) is not None:
        start = place.start()
        named = NAMED.match(page, start)
        if named is None and not page.startswith(b"<!--", start):
            look = start + 1  # another tag
            continue
        name = named[0][1:].lower() if named is not None else _COMMENT
        known = -1 if may_be_in_tag(page, known, start) else _end_of(page, start, name)
        if known < 0:
            return None
        look = known
        if head_end < 0 and name in _HEAD_ENDS:
            head_end = start
        if name == b"body":
            pattern = IN_BODY
    is_end = (
        pattern is IN_BODY
        and close >= known
        and NAMED.match(page, close) is not None
        and TAG.match(page, close) is not None
        and not may_be_in_tag(page, known, close)
    )
    return OrdinaryPage(head_end, close) if is_end else None


def _end_of(page: bytes, start: int, name: bytes) -> int:
    """Return the end of a tag, or of an element with text; -1 if it is not ordinary."""
    if name == _COMMENT:
        return after_comment(page, start)
    tag = TAG.match(page, start)
    if tag is None or name in _LANDMARKS:
        return tag.end() if tag is not None else -1
    ends = _TEXT_ENDS.get(name)
    end = ends.search(page, tag.end()) if ends is not None else None
    if end is None:
        return -1
    # A "<!--" in a script may change where the script ends.
    if name == b"script" and page.find(b"<!--", tag.end(), end.start()) >= 0:
        return -1
    end_tag = TAG.match(page, end.start())
    return end_tag.end() if end_tag is not None else -1
