"""Where in a document the snippet goes, and why not; of a whole one, or of what is remembered of its end."""

from __future__ import annotations

import re
import sys

from .glance import WHERE_SNIPPETS_ARE, clean_end, is_surely_markup
from .markup import read
from .texts import NAME_END

#: A ``</body>`` with more than this behind it does not end the document any more; let it go (design.md, "Decisions on pages").
HOLD = 64 * 1024

_DOCUMENT = re.compile(rb"<(?:!--|(?:html|(body)|(frameset)|(noframes))" + NAME_END + rb")", re.IGNORECASE)
# What stands before "/widget.js" in a page that loads the widget by itself: by a tag, or by a script that makes one.
_LOADS = re.compile(rb"[\"'`=]\s*(?:https?:)?\\?/\\?/([^\"'`<>\s=]+)\Z", re.IGNORECASE)
# Where User.com has its widgets, and had them (docs/usercom.md). Others call theirs widget.js as well.
_VENDORS = (b".user.com", b".userengage.com", b".userengage.io")
_SCRIPT = re.compile(rb"<(/?)script" + NAME_END, re.IGNORECASE)
_COMMENT = re.compile(rb"<!--|(-->)|<script" + NAME_END, re.IGNORECASE)
_WIDGET = b"/widget.js"
_LONGEST_ADDRESS = 256
_CLOSE_BEGUN = b"</body"
FRAGMENT = "the body is a fragment, without <html>, <body> or </body>"
FRAMES = "the body is a frameset, which shows no scripts"
OPEN = "the document ends inside of a tag, a comment, a script or the like"
OWN = "the page brings the widget by itself"


class Document:
    """What of a document has been seen so far."""

    __slots__ = ("_snippet", "has_body", "has_frames", "has_html", "has_own")

    def __init__(self, snippet: bytes) -> None:
        self._snippet = snippet
        self.has_html = self.has_body = self.has_frames = self.has_own = False

    @classmethod
    def of(cls, page: bytes, snippet: bytes) -> Document:
        """Look at a whole page; if it is long, at its two ends."""
        document = cls(snippet)
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
            found = _LOADS.search(data[max(0, at - _LONGEST_ADDRESS) : at])
            self.has_own = found is not None and self._is_ours(found[1].rstrip(b"\\").lower())

    def _is_ours(self, place: bytes) -> bool:
        """Tell whether a host, with its port, is one that the widget comes from."""
        return place.endswith(_VENDORS) or b"//%b/widget.js" % place in self._snippet

    def _look_for_body(self, data: bytes, start: int, end: int) -> None:
        at, has_noframes = start, False
        while at >= 0 and not self.has_body and (tag := _DOCUMENT.search(data, at, end)) is not None:
            at = tag.end()
            if tag[0] == b"<!--":
                at = data.find(b"-->", at - 2, end)  # "<!-->" ends at once
                continue
            self.has_html = self.has_html or not tag[3]
            has_noframes = has_noframes or (self.has_frames and tag[3] is not None)
            self.has_frames = self.has_frames or tag[2] is not None
            self.has_body = tag[1] is not None and not has_noframes  # which is where a frameset has its <body>

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
    begin = 0 if is_whole else _markup_in_the_middle(data)
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


def _markup_in_the_middle(data: bytes) -> int:
    """Return where markup begins in what is remembered of a document's end: behind the script or comment that it is in.

    Else behind a tag. Whether that is in another text nobody knows; the reader finds the end of it, or none.
    """
    begin = 0
    script = _SCRIPT.search(data)
    if script is not None and script[1]:
        begin = data.find(b">", script.end()) + 1
    comment = _COMMENT.search(data, begin)
    if comment is not None and comment[1]:
        begin = comment.end()
    return begin or data.find(b">") + 1
