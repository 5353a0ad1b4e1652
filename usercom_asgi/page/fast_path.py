"""The positions of the tags that count in a whole, ordinary page.

Patterns describe what is ordinary: a head of known tags, then a body whose comments,
scripts and other texts end plainly. Where a page is not like that, there is no answer,
and the tokenizer reads it. An answer is always the tokenizer's:
``tests/page/test_fast_path.py`` compares the two.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from .syntax import NAME_END, RAW_TEXT_ENDS, TAG_REST
from .tokenizer import IN_BODY, NAMED, is_unsafe, may_be_in_tag

_REST = NAME_END + TAG_REST
# "<!-->" and "<!--->" are whole comments, and not ordinary.
_COMMENT = rb"<!--(?!-?>)[^-]*+(?:-(?!-!?>)[^-]*+)*+--!?>"


def _element(name: bytes, forbidden: bytes = b"") -> bytes:
    """Return the pattern of an element with text, from its start tag to its end tag."""
    text = rb"[^<]*+(?:<(?!/" + name + NAME_END + forbidden + rb")[^<]*+)*+"
    return b"<" + name + _REST + text + b"</" + name + _REST


class _Patterns(NamedTuple):
    text_element: re.Pattern[bytes]
    head: re.Pattern[bytes]
    body_end: re.Pattern[bytes]


@cache
def patterns() -> _Patterns:
    """Return the patterns, which take a fifth of the package's import to compile.

    The middleware asks for them when it is made, so that no request compiles them.
    """
    # A "<!--" in a script may change where the script ends.
    texts = [_element(b"script", rb"|!--"), *map(_element, sorted(RAW_TEXT_ENDS)), _COMMENT]
    text = b"|".join(texts)
    # Read tag by tag after a byte order mark, so nothing in it can stand in an attribute.
    head = (
        rb"(?:\xef\xbb\xbf)?+(?:[ \t\n\f\r]++|<!doctype [^>]*+>|<(?:meta|link|html|head|base)"
        + _REST
        + b"|"
        + text
        + rb")*+(?P<end>(?:</head"
        + _REST
        + rb"[ \t\n\f\r]*+)?<body"
        + _REST
        + b")"
    )
    return _Patterns(
        text_element=re.compile(text, re.IGNORECASE),
        head=re.compile(head, re.IGNORECASE),
        body_end=re.compile(b"</body" + _REST),
    )


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
    text_element, head_pattern, body_end = patterns()
    head = head_pattern.match(page)
    if head is None:
        return None
    # All bytes before `known` are read, and it is outside of any tag and text.
    known = look = head.end()
    # One search of a body with 558 tags in 10 KB takes 126,000 instructions.
    while (place := IN_BODY.search(page, look)) is not None:
        start = place.start()
        element = text_element.match(page, start)
        if element is not None and not may_be_in_tag(page, known, start):
            known = look = element.end()
        elif element is not None or page.startswith(b"<!--", start) or NAMED.match(page, start):
            return None
        else:
            look = start + 1  # another tag
    is_end = (
        close >= known
        and body_end.match(page, close) is not None
        and not may_be_in_tag(page, known, close)
    )
    return OrdinaryPage(head.start("end"), close) if is_end else None
