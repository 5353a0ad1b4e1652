"""Splices bytes into a document: before the ``</body>`` that ends it, in one piece or in a stream."""

from __future__ import annotations

import re
from collections import deque

from .document import HOLD, LONGEST_ADDRESS, LONGEST_REST, WIDGET, Document, find_place
from .markup import read

_CLOSE = re.compile(rb"</[bB][oO][dD][yY][\t\n\f\r />]")
_HEAD_END = re.compile(rb"<(?:/head|body)[\t\n\f\r />]", re.IGNORECASE)
# Above this, sending three pieces costs less than joining them.
_JOIN_BELOW = 64 * 1024

_DONE = "the snippet stands in the head"


def inject(page: bytes, snippet: bytes, *, in_head: bool = False) -> list[bytes] | str:
    """Return a whole page with the snippet in it, in one piece or more; or why not."""
    document = Document.of(page)
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
        if not self.document.has_body or WIDGET in data:
            self.document.look(data)
        if self._before and not self.document.has_own:
            edge = self._before + data[:LONGEST_ADDRESS]
            if WIDGET in edge:
                self.document.look(edge)
        self._before = data[-LONGEST_ADDRESS:]
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
        edge = max(data.rfind(b">") + 1, size - LONGEST_REST)
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
