"""Splices bytes into a stream before its last ``</body>``, with a bounded hold-back."""

from __future__ import annotations

import re

#: A ``</body>`` with more than this behind it was text in a script; let it go (design.md, "Decisions on pages").
HOLD = 64 * 1024

# A tag's name ends at white space, a slash or ">" (HTML standard, 13.2.5.10). Only "<" and "/" are literal, so that the
# engine can skip from one closing tag to the next.
_CLOSE = re.compile(rb"</[bB][oO][dD][yY][\t\n\f\r />]")
_DOCUMENT = re.compile(rb"<(?:[hH][tT][mM][lL]|[bB][oO][dD][yY])[\t\n\f\r />]")
# One byte less than the longest of the two, so that one over a chunk's edge is seen whole next time.
_OVERLAP = len(b"</body>") - 1


class Injector:
    """Takes a body in chunks of any size and gives it back with the snippet in it.

    What is given back is, joined, the body with the snippet before its last ``</body>``; at the end if there is none but the
    body is a document (it has ``<html`` or ``<body``); and unchanged if it is a fragment.
    """

    __slots__ = ("_holds_candidate", "held", "injected", "is_document", "snippet")

    def __init__(self, snippet: bytes) -> None:
        self.snippet = snippet
        #: The snippet has been given out.
        self.injected = False
        #: ``<html``, ``<body`` or ``</body`` was seen: the snippet will go in, at the end if nowhere else.
        self.is_document = False
        #: Bytes of the body that were taken and not given back yet.
        self.held = b""
        self._holds_candidate = False

    def feed(self, chunk: bytes, *, last: bool) -> list[bytes]:
        """Take the next bytes of the body; return those that may go out, in order."""
        known = len(self.held)
        data = self.held + chunk if known else chunk
        # What was searched already is not searched again, but for the edge.
        found = self._last_close(data, max(0, known - _OVERLAP))
        if found is not None:
            self.is_document = self._holds_candidate = True
            ready, self.held = data[:found], data[found:]
        elif self._holds_candidate and len(data) <= HOLD:
            ready, self.held = b"", data
        else:
            ready, self.held = self._without_edge(data, last=last)
            self._holds_candidate = False
        if not self.is_document:
            self.is_document = _DOCUMENT.search(data) is not None
        return self._finish(ready) if last else [ready] if ready else []

    def _finish(self, ready: bytes) -> list[bytes]:
        rest, self.held = self.held, b""
        if not self.is_document:
            return [ready + rest] if ready or rest else []
        self.injected = True
        return [part for part in (ready, self.snippet, rest) if part]

    @staticmethod
    def _last_close(data: bytes, start: int) -> int | None:
        found = None
        for match in _CLOSE.finditer(data, start):
            found = match.start()
        return found

    @staticmethod
    def _without_edge(data: bytes, *, last: bool) -> tuple[bytes, bytes]:
        """Split off what may be the beginning of a tag that the next chunk ends."""
        edge = data.rfind(b"<", max(0, len(data) - _OVERLAP))
        if last or edge < 0:
            return data, b""
        return data[:edge], data[edge:]
