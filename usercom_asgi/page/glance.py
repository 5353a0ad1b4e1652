"""Where the snippet goes in a page that leaves no doubt, as most do: a few searches that run in C tell.

In doubt there is no answer here, and :mod:`.document` has the page read.
"""

from __future__ import annotations

import re

from .markup import LONGEST_NAME, NAMED, may_be_in_tag, may_be_in_value
from .texts import NAME_ENDS, after_comment, after_text

#: Where in a long document a snippet of its own is looked for: so far from its beginning, and from its end.
WHERE_SNIPPETS_ARE = 16 * 1024
# So much before the end of a document is looked at tag by tag; if that is innocent it is the end, else all of it is read.
_LOOK_BACK = 1024 + LONGEST_NAME
_LOOK_FOR_COMMENT = 16 * 1024
_LOOK_FOR_SCRIPT = 4 * 1024
_LOOK_FOR_QUOTE = 4 * 1024
# A place where text may begin, in an ordinary document: without a branch it costs a third less than what `read` looks for.
_TEXT = re.compile(rb"<[!sStTnNiIxXpPmM][-\[cCtTeEiIoOfFmMlLvVaA]")
_BANG = ord("!")
_SCRIPT = b"<script"
_BODY = b"<body"
_CLOSE = b"</body>"
# What stands behind it, mostly as here.
_TAILS = frozenset({b"</html>\n", b"\n</html>\n", b"</html>", b"\n</html>", b"", b"\n"})
_CLEAN_TAILS = frozenset({b"</html>", b""})
# With more white space behind it, a ``</body>`` is looked at closely.
_FARTHEST_CLOSE = -(1024 + len(_CLOSE))
_WIDGET = b"/widget.js"
_BEFORE_J = _WIDGET.index(b"j")
_DOT = ord(".")
_J = ord("j")
# So often one rare letter is found faster than the whole word.
_MOST_TRIES = 16


def find_place_at_a_glance(page: bytes) -> int:
    """Return where the snippet goes in a whole page that leaves no doubt; -1 where a closer look is due."""
    close = clean_end(page)
    if close < 0 or not _opens_body(page, 0, WHERE_SNIPPETS_ARE):
        return -1
    if len(page) <= WHERE_SNIPPETS_ARE:
        has_own = _J in page and _names_widget(page, 0, close)
    else:
        has_own = _names_widget(page, 0, WHERE_SNIPPETS_ARE) or _names_widget(page, len(page) - WHERE_SNIPPETS_ARE, close)
    return -1 if has_own or not is_surely_markup(page, close) else close


def clean_end(data: bytes) -> int:
    """Return where a ``</body>`` begins with nothing behind it but ``</html>``; -1 if the document does not end so."""
    found = data.rfind(_CLOSE, _FARTHEST_CLOSE)
    if found < 0:
        return -1
    tail = data[found + len(_CLOSE) :]
    return found if tail in _TAILS or tail.strip().lower() in _CLEAN_TAILS else -1


class Ends:
    """Ends of documents in which nothing is left open. A site's pages end alike, so most were looked at before.

    What it knows is what two documents had; of the rest it remembers the last few, to recognise the second.
    """

    def __init__(self, most: int = 8) -> None:
        #: For ``bytes.endswith``.
        self.known: tuple[bytes, ...] = ()
        self._seen: tuple[bytes, ...] = ()
        self._most = most

    def add(self, end: bytes) -> None:
        """Take note of an end in which nothing is left open."""
        if end in self._seen:
            self.known = (end, *self.known[: self._most - 1])
        else:
            self._seen = (end, *self._seen[: self._most - 1])


_ENDS = Ends()


def is_surely_markup(data: bytes, position: int) -> bool:
    """Tell whether a place is surely in no text; False if only :func:`~.markup.read` can tell.

    Most documents have a few scripts and comments, each with its end, and every quote has its pair: that is quickly seen. So
    far as they begin shortly before, the last ones alone are looked at.
    """
    begin = position - _LOOK_BACK
    if begin <= 0:
        return _leads_to_markup(data, 0, 0, position)
    look = _behind_text(data, begin, position)
    if look != begin:
        return look > begin and _leads_to_markup(data, look, look, position)
    known = begin - _LOOK_FOR_QUOTE if begin > _LOOK_FOR_QUOTE else 0
    if data.endswith(_ENDS.known):
        return not may_be_in_value(data, known, position)
    if not _leads_to_markup(data, known, begin, position):
        return False
    _ENDS.add(data[begin:])
    return True


def _leads_to_markup(data: bytes, known: int, look: int, position: int) -> bool:
    """Tell whether all text that begins from ``look`` on has ended at ``position``; at ``known`` none was open."""
    while (place := _TEXT.search(data, look, position)) is not None:
        start = place.start()
        after = _behind(data, start, position)
        if after == start:
            look = start + 1
            continue
        if after < 0 or may_be_in_tag(data, known, start):
            return False
        known = look = after
    return not may_be_in_tag(data, known, position)


def _behind(data: bytes, start: int, position: int) -> int:
    """Return where a text that begins here ends, ``start`` if none does; negative if that is not before ``position``."""
    if data[start + 1] == _BANG:
        after = after_comment(data, start, is_foreign=False)
    else:
        named = NAMED.match(data, start)
        if named is None:
            return start
        if not named["text"]:
            return -1  # a template, a drawing
        after = after_text(data, start, named["text"].lower())
    return after if after <= position else -1


def _behind_text(data: bytes, begin: int, end: int) -> int:
    """Return a place from ``begin`` on where no comment or script from before it is open; -1 if one may be."""
    place, closed = begin, -1
    # Most text has few exclamation marks, and one byte is found ten times faster than several.
    since = begin - _LOOK_FOR_COMMENT if begin > _LOOK_FOR_COMMENT else 0
    mark = data.rfind(b"!", since, begin + 1)
    comment = data.rfind(b"<!--", since, mark + 3) if mark > 0 else -1
    if comment >= 0:
        closed = data.find(b"-->", comment + 2, end)
        if closed < 0:
            return -1
        place = max(place, closed + 3)
    since = begin - _LOOK_FOR_SCRIPT if begin > _LOOK_FOR_SCRIPT else 0
    script = data.rfind(_SCRIPT, since, begin + len(_SCRIPT))
    if script >= 0:
        if comment < script < closed:
            return -1  # it is none, and what is before it was not looked at
        closed = data.find(b"</script", script, end)
        if closed < 0 or data[closed + len(b"</script")] not in NAME_ENDS:
            return -1
        place = max(place, data.find(b">", closed, end) + 1)
    return place


def _opens_body(data: bytes, start: int, end: int) -> bool:
    """Tell whether there is a ``<body>`` in a part of a document, as nearly everybody writes it."""
    at = data.find(_BODY, start, end - 1)  # with what ends the name
    return 0 <= at < len(data) - len(_BODY) and data[at + len(_BODY)] in NAME_ENDS


def _names_widget(data: bytes, start: int, end: int) -> bool:
    """Tell whether "/widget.js" stands in a part of a document.

    Its one rare letter is looked for first: a page has about one in a kilobyte, and one byte is found ten times faster than
    several.
    """
    at = data.find(b"j", start, end)
    for _ in range(_MOST_TRIES):
        if at < 0:
            return False
        if data[at - 1] == _DOT and data[max(0, at - _BEFORE_J) : at + 2] == _WIDGET:
            return True
        at = data.find(b"j", at + 1, end)
    return at >= 0 and data.find(_WIDGET, at - _BEFORE_J, end) >= 0
