"""Where in a document the snippet goes, and why not; of a whole one, or of what is remembered of its end."""

from __future__ import annotations

import re
import sys

from .glance import WHERE_SNIPPETS_ARE, clean_end, is_surely_markup, opens_body
from .markup import read

#: A ``</body>`` with more than this behind it does not end the document any more; let it go (design.md, "Decisions on pages").
HOLD = 64 * 1024

_DOCUMENT = re.compile(rb"<(?:html|(body)|(frameset))[\t\n\f\r />]", re.IGNORECASE)
# What stands before "/widget.js" in a page that loads the widget by itself: by a tag, or by a script that makes one.
_LOADS = re.compile(rb"[\"'`=]\s*(?:https?:)?\\?/\\?/[^\"'`<>\s=]+\Z", re.IGNORECASE)
_WIDGET = b"/widget.js"
_LONGEST_ADDRESS = 256
_CLOSE_BEGUN = b"</body"
FRAGMENT = "the body is a fragment, without <html>, <body> or </body>"
FRAMES = "the body is a frameset, which shows no scripts"
OPEN = "the document ends inside of a tag, a comment, a script or the like"
OWN = "the page brings the widget by itself"


class Document:
    """What of a document has been seen so far."""

    __slots__ = ("has_body", "has_frames", "has_html", "has_own")

    def __init__(self) -> None:
        self.has_html = self.has_body = self.has_frames = self.has_own = False

    @classmethod
    def of(cls, page: bytes) -> Document:
        """Look at a whole page; if it is long, at its two ends."""
        document = cls()
        if len(page) <= 2 * WHERE_SNIPPETS_ARE:
            document._look(page)
        else:
            document.begins(page)
            document.ends(page)
        return document

    def begins(self, data: bytes) -> None:
        """Look at the beginning of a long document."""
        self._look(data, 0, WHERE_SNIPPETS_ARE)

    def ends(self, data: bytes) -> None:
        """Look at the end of a long document."""
        self._look(data, len(data) - WHERE_SNIPPETS_ARE)

    def _look(self, data: bytes, start: int = 0, end: int = sys.maxsize) -> None:
        if not self.has_body:
            self._look_for_body(data, start, end)
        at = end
        # Backwards, since that is the faster search of the two.
        while not self.has_own and (at := data.rfind(_WIDGET, start, at)) >= 0:
            self.has_own = _LOADS.search(data[max(0, at - _LONGEST_ADDRESS) : at]) is not None

    def _look_for_body(self, data: bytes, start: int, end: int) -> None:
        if opens_body(data, start, end):
            self.has_html = self.has_body = True
            return
        for tag in _DOCUMENT.finditer(data, start, end):
            self.has_html = True
            if tag[1]:
                self.has_body = True
                break
            self.has_frames = self.has_frames or tag[2] is not None

    def why_not(self) -> str | None:
        """Return the reason to add nothing, as far as it is known."""
        if self.has_own:
            return OWN
        return FRAMES if self.has_frames and not self.has_body else None

    def opened(self, snippet: bytes) -> bytes:
        """Return the snippet so that it stands in the body: a page may leave out the tag, and end with its head."""
        return snippet if self.has_body else b"<body>" + snippet


def find_place(data: bytes, held: int, document: Document, *, is_whole: bool) -> tuple[int, str | None]:
    """Return where the snippet goes, not before ``held``; or why it does not.

    ``data`` is a whole document, or what is remembered of its end.
    """
    clean = clean_end(data)
    if clean >= held and is_surely_markup(data, clean):
        return clean, None
    # From the middle on, begin behind a tag; if that is in a script, say, the reader finds the end of it, or none.
    begin = 0 if is_whole else data.find(b">") + 1
    markup = read(data[begin:] if begin else data)
    if markup.bodies and begin + markup.bodies[-1] >= held:
        return begin + markup.bodies[-1], None
    if not (document.has_html or markup.bodies):
        return -1, FRAGMENT
    if clean >= held and not is_whole:
        return clean, None
    end = begin + markup.end - (2 if data.endswith(b"</", begin, begin + markup.end) else 0)  # text, until more follows
    # Of a tag that is not finished only this one is held back, so this one alone may have the snippet before it.
    if markup.is_open or end < held or not _CLOSE_BEGUN.startswith(data[end:].lower()):
        return -1, OPEN
    return end, None
