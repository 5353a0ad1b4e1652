"""Splices bytes into a stream before its last ``</body>``, with a bounded hold-back."""

from __future__ import annotations

import re

#: A ``</body>`` with more than this behind it was text in a script; let it go (design.md, "Decisions on pages").
HOLD = 64 * 1024

# A tag's name ends at white space, a slash or ">" (HTML standard, 13.2.5.10).
_AFTER_NAME = frozenset({b"\t", b"\n", b"\f", b"\r", b" ", b"/", b">"})
_DOCUMENT = re.compile(rb"<(?:[hH][tT][mM][lL]|[bB][oO][dD][yY])[\t\n\f\r />]")
_CLOSE_LENGTH = len(b"</body>")
_ENDS = frozenset({b"</html>", b""})
# One byte less than the tag, so that one over a chunk's edge is seen whole next time.
_OVERLAP = _CLOSE_LENGTH - 1
# Above this, sending three pieces costs less than joining them.
_JOIN_BELOW = 64 * 1024


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
        found = _last_close(data, max(0, known - _OVERLAP))
        if found >= 0:
            self.is_document = self._holds_candidate = True
            ready, self.held = data[:found], data[found:]
        elif self._holds_candidate and len(data) <= HOLD:
            ready, self.held = b"", data
        else:
            ready, self.held = (data, b"") if last else _without_edge(data)
            self._holds_candidate = False
        if not self.is_document:
            self.is_document = _DOCUMENT.search(data) is not None
        return self._finish(ready) if last else [ready] if ready else []

    def flush(self) -> bytes:
        """Give back what is held, with no more to come before something else."""
        held, self.held = self.held, b""
        self._holds_candidate = False
        return held

    def _finish(self, ready: bytes) -> list[bytes]:
        rest, self.held = self.held, b""
        if not self.is_document:
            return [ready + rest] if ready or rest else []
        self.injected = True
        return [part for part in (ready, self.snippet, rest) if part]


def inject(page: bytes, snippet: bytes) -> list[bytes] | None:
    """Return a whole page with the snippet in it, in one piece or more; None if it is no document.

    What :class:`Injector` does, for the page that comes in one chunk: most do, and so it is copied only once.
    """
    place = _last_close(page)
    if place < 0:
        if not _DOCUMENT.search(page):
            return None
        place = len(page)
    if len(page) < _JOIN_BELOW:
        view = memoryview(page)
        return [b"".join((view[:place], snippet, view[place:]))]
    return [part for part in (page[:place], snippet, page[place:]) if part]


def _last_close(data: bytes, start: int = 0) -> int:
    """Return where the last ``</body>`` begins, or -1. From the end: in a whole page it is the last tag but one."""
    found = data.rfind(b"</body>", start)
    if found >= 0 and data[found + _CLOSE_LENGTH :].strip() in _ENDS:
        return found  # nine pages of ten
    end = len(data)
    while (found := data.rfind(b"</", start, end)) >= 0:
        tag = data[found + 2 : found + _CLOSE_LENGTH]
        if tag == b"body>" or (tag[:4].lower() == b"body" and tag[4:] in _AFTER_NAME):
            return found
        end = found
    return -1


def _without_edge(data: bytes) -> tuple[bytes, bytes]:
    """Split off what may be the beginning of a tag that the next chunk ends."""
    edge = data.rfind(b"<", max(0, len(data) - _OVERLAP))
    return (data, b"") if edge < 0 else (data[:edge], data[edge:])
