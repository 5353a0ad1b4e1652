"""Splices bytes into a document: before the ``</body>`` that ends it, in one piece or in a stream."""

from __future__ import annotations

import re
import sys
from collections import deque

from .markup import is_markup, read

#: A ``</body>`` with more than this behind it does not end the document any more; let it go (design.md, "Decisions on pages").
HOLD = 64 * 1024
#: So much before the end of a document is looked at; if that is innocent it is the end, else all of it is read.
_LOOK_BACK = 4 * 1024
#: Where in a long document a snippet of its own is looked for: so far from its beginning, and from its end.
_WHERE_SNIPPETS_ARE = 16 * 1024

_CLOSE = re.compile(rb"</[bB][oO][dD][yY][\t\n\f\r />]")
_HEAD_END = re.compile(rb"<(?:/head|body)[\t\n\f\r />]", re.IGNORECASE)
_DOCUMENT = re.compile(rb"<(?:html|(body)|(frameset))[\t\n\f\r />]", re.IGNORECASE)
# What stands before "/widget.js" in a page that loads the widget by itself: by a tag, or by a script that makes one.
_LOADS = re.compile(rb"[\"'=]\s*(?:https?:)?//[^\"'<>\s=]+\Z", re.IGNORECASE)
_WIDGET = b"/widget.js"
_LONGEST_ADDRESS = 256
_CLEAN_TAILS = frozenset({b"</html>", b""})
_CLOSE_LENGTH = len(b"</body>")
#: Of a tag that is not finished at a chunk's end or at the document's so much is held back.
_LONGEST_REST = 1024
# Above this, sending three pieces costs less than joining them.
_JOIN_BELOW = 64 * 1024

FRAGMENT = "the body is a fragment, without <html>, <body> or </body>"
FRAMES = "the body is a frameset, which shows no scripts"
OPEN = "the document ends inside of a comment, a script or the like"
OWN = "the page brings the widget by itself"
_DONE = "the snippet stands in the head"


class Document:
    """What of a document has been seen so far."""

    __slots__ = ("has_body", "has_frames", "has_html", "has_own")

    def __init__(self) -> None:
        self.has_html = self.has_body = self.has_frames = self.has_own = False

    def look(self, data: bytes, start: int = 0, end: int = sys.maxsize) -> None:
        """Look at the next bytes; what is cut by their edges is to come again."""
        if not self.has_body and _DOCUMENT.search(data, start, end):
            for tag in _DOCUMENT.finditer(data, start, end):
                self.has_html = True
                if tag[1]:
                    self.has_body = True
                    break
                self.has_frames = self.has_frames or tag[2] is not None
        at = start - 1
        while not self.has_own and (at := data.find(_WIDGET, at + 1, end)) >= 0:
            self.has_own = _LOADS.search(data[max(0, at - _LONGEST_ADDRESS) : at]) is not None

    def why_not(self) -> str | None:
        """Return the reason to add nothing, as far as it is known."""
        if self.has_own:
            return OWN
        return FRAMES if self.has_frames and not self.has_body else None

    def opened(self, snippet: bytes) -> bytes:
        """Return the snippet so that it stands in the body: a page may leave out the tag, and end with its head."""
        return snippet if self.has_body else b"<body>" + snippet


def inject(page: bytes, snippet: bytes, *, in_head: bool = False) -> list[bytes] | str:
    """Return a whole page with the snippet in it, in one piece or more; or why not."""
    document = Document()
    if len(page) <= 2 * _WHERE_SNIPPETS_ARE:
        document.look(page)
    else:
        document.look(page, 0, _WHERE_SNIPPETS_ARE)
        document.look(page, len(page) - _WHERE_SNIPPETS_ARE)
    reason = document.why_not()
    if reason is not None:
        return reason
    place = -1
    if in_head:
        place = read(page, for_head=True).head
    if place < 0:
        place, reason = find_place(page, 0, document, is_whole=True)
        snippet = document.opened(snippet)
    if reason is not None:
        return reason
    if len(page) < _JOIN_BELOW:
        view = memoryview(page)
        return [b"".join((view[:place], snippet, view[place:]))]
    return [part for part in (page[:place], snippet, page[place:]) if part]


def find_place(data: bytes, held: int, document: Document, *, is_whole: bool) -> tuple[int, str | None]:
    """Return where the snippet goes, not before ``held``; or why it does not.

    ``data`` is a whole document, or what is remembered of its end.
    """
    clean = _clean_end(data)
    if clean >= held and _looks_innocent(data, clean):
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
    rest = data[end:]
    if markup.is_open or len(rest) > _LONGEST_REST or b">" in rest or end < held:
        return -1, OPEN
    return end, None


def _looks_innocent(data: bytes, clean: int) -> bool:
    """Tell whether what stands before the end of a document leaves no doubt that it is the end."""
    begin = data.find(b">", clean - _LOOK_BACK, clean) + 1 if clean > _LOOK_BACK else 0
    return is_markup(data, clean, begin)


def _clean_end(data: bytes) -> int:
    """Return where a ``</body>`` begins with nothing behind it but ``</html>``; -1 if the document does not end so."""
    found = data.rfind(b"</body>", -HOLD)
    return found if found >= 0 and data[found + _CLOSE_LENGTH :].strip().lower() in _CLEAN_TAILS else -1


class Injector:
    """Takes a body in chunks of any size and gives it back with the snippet in it.

    Bytes are held back from a ``</body>`` on, as long as it may be the one that ends the document, and at most ``HOLD`` of
    them. Whether it is one is decided at the end, by what has gone out last, of which as much is remembered.
    """

    __slots__ = (
        "_before",
        "_held", "_holds", "_is_past_head", "_remembered", "_remembered_size", "_remembers_all", "_size",
        "document", "reason", "snippet",
    )  # fmt: skip

    def __init__(self, snippet: bytes, *, in_head: bool = False) -> None:
        self.snippet = snippet
        self.document = Document()
        #: Why the snippet was left out, if it was.
        self.reason: str | None = None
        self._is_past_head = not in_head
        self._held: list[bytes] = []
        self._size = 0
        self._holds = False
        self._remembered: deque[bytes] = deque()
        self._remembered_size = 0
        self._remembers_all = True
        self._before = b""

    @property
    def held(self) -> list[bytes]:
        """What was taken of the body and not given back yet."""
        return self._held

    def feed(self, chunk: bytes, *, last: bool) -> list[bytes]:
        """Take the next bytes of the body; return those that may go out, in order."""
        if self.is_done:
            return [chunk] if chunk else []
        if self._holds and not last and self._size + len(chunk) <= HOLD:
            self._hold(chunk)
            return []
        data = b"".join((*self._held, chunk)) if self._held else chunk
        self._held, self._size = [], 0
        if not self.document.has_body or _WIDGET in data:
            self.document.look(data)
        if self._before and not self.document.has_own:
            edge = self._before + data[:_LONGEST_ADDRESS]
            if _WIDGET in edge:
                self.document.look(edge)
        self._before = data[-_LONGEST_ADDRESS:]
        if not self._is_past_head:
            place = self._find_head(data)
            if place >= 0:
                return [part for part in (data[:place], self.snippet, data[place:]) if part]
        return self._finish(data) if last else self._pass_on(data)

    def flush(self) -> bytes:
        """Give back what is held, with no more to come before something else."""
        held = b"".join(self._held)
        self._held, self._size, self._holds = [], 0, False
        self._remember(held)
        return held

    @property
    def is_done(self) -> bool:
        """True if the snippet stands in the head: the rest may pass as it comes."""
        return self.reason == _DONE

    def _pass_on(self, data: bytes) -> list[bytes]:
        size = len(data)
        # Once too much is held, half of it goes: or a hostile page would have all of it searched again for every byte.
        candidate = _CLOSE.search(data, max(0, size - (HOLD // 2 if self._holds else HOLD)))
        self._holds = candidate is not None
        # A tag that is not finished may become what is looked for with the next chunk.
        edge = max(data.rfind(b">") + 1, size - _LONGEST_REST)
        cut = data.find(b"<", edge) if candidate is None else candidate.start()
        if cut < 0:
            self._remember(data)
            return [data] if size else []
        self._held, self._size = [data[cut:]], size - cut
        if not cut:
            return []
        data = data[:cut]
        self._remember(data)
        return [data]

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._size += len(data)

    def _remember(self, data: bytes) -> None:
        self._remembered.append(data)
        self._remembered_size += len(data)
        if self._remembered_size > 2 * HOLD:
            self._forget()
        if len(self._remembered) > 512:  # each of them is an object of its own
            self._remembered = deque((b"".join(self._remembered),))

    def _forget(self) -> None:
        self._remembers_all = False
        if len(self._remembered[-1]) > 2 * HOLD:
            self._remembered = deque((self._remembered[-1][-HOLD:],))
            self._remembered_size = HOLD
        while self._remembered_size - len(self._remembered[0]) >= HOLD:
            self._remembered_size -= len(self._remembered.popleft())

    def _find_head(self, data: bytes) -> int:
        """Return where the head ends in this; -1 if it does not. After 64 KiB nobody expects it any more."""
        if self.document.why_not() is not None or not self._remembers_all:
            self._is_past_head = True
        elif _HEAD_END.search(data):
            before = b"".join(self._remembered)
            place = read(before + data, for_head=True).head - len(before)
            if place >= 0:
                self.reason = _DONE
                return place
        return -1

    def _finish(self, data: bytes) -> list[bytes]:
        self.reason = self.document.why_not()
        place = before = 0
        if self.reason is None:
            whole = b"".join((*self._remembered, data))
            before = len(whole) - len(data)
            place, self.reason = find_place(whole, before, self.document, is_whole=self._remembers_all)
        if self.reason is not None:
            return [data] if data else []
        place -= before
        return [part for part in (data[:place], self.document.opened(self.snippet), data[place:]) if part]
