"""Splices bytes into a document: before the ``</body>`` that ends it, in one piece or in a stream."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING

from .document import HOLD, Document, find_place
from .glance import WHERE_SNIPPETS_ARE, find_place_at_a_glance
from .markup import read

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLOSE = re.compile(rb"</[bB][oO][dD][yY][\t\n\f\r />]")
_HEAD_END = re.compile(rb"<(?:/head|body)[\t\n\f\r />]", re.IGNORECASE)
# What is looked for may have begun with these.
_BEGINNINGS = frozenset(name[:n] for name in (b"</body", b"</head", b"<body") for n in range(1, len(name) + 1))
_LONGEST_BEGINNING = len(b"</body")
# Above this, sending several pieces costs less than joining them.
_JOIN_BELOW = 64 * 1024
# So much of a long page is copied at a time: a copy that goes to where the last one was is still in the processor's cache.
_PIECE = 256 * 1024
# So often the end of the head is looked for in a stream.
_MOST_TRIES = 32


class Splice:
    """A long page with the snippet in it: its pieces in order, each made when it is asked for.

    So a page of 100 MB is not in memory twice.
    """

    __slots__ = ("_page", "_place", "_snippet")

    def __init__(self, page: bytes, place: int, snippet: bytes) -> None:
        self._page = page
        self._place = place
        self._snippet = snippet

    def __len__(self) -> int:
        return len(self._page) + len(self._snippet)

    def __iter__(self) -> Iterator[bytes]:
        page, place = self._page, self._place
        for at in range(0, place, _PIECE):
            yield page[at : min(at + _PIECE, place)]
        if len(page) - place < _JOIN_BELOW:
            yield self._snippet + page[place:]
            return
        yield self._snippet
        for at in range(place, len(page), _PIECE):
            yield page[at : at + _PIECE]


def inject(page: bytes, snippet: bytes, *, in_head: bool = False) -> bytes | Splice | str:
    """Return a whole page with the snippet in it, in one piece or more; or why not."""
    place = -1 if in_head else find_place_at_a_glance(page)
    if place < 0:
        document = Document.of(page, snippet)
        reason = document.why_not()
        if in_head and reason is None:
            place = read(page, for_head=True).head
        if place < 0 and reason is None:
            place, reason = find_place(page, 0, document, is_whole=True)
            snippet = document.opened(snippet)
        if reason is not None:
            return reason
    if len(page) < _JOIN_BELOW:
        return b"".join((memoryview(page)[:place], snippet, page[place:]))
    return Splice(page, place, snippet)


# Of what is remembered: each is an object of its own.
_MOST_PIECES = 512


def _may_hold_close(data: bytes) -> bool:
    # Nobody writes it in other letters; in a stream it would not be seen, and the snippet stands behind it (and works).
    return data.rfind(b"</body", -HOLD) >= 0 or (data.rfind(b"Y", -HOLD) >= 0 and data.rfind(b"</BODY", -HOLD) >= 0)


def _begun(data: bytes) -> int:
    """Return how many bytes at the end may be the beginning of what is looked for."""
    start = data.rfind(b"<", -_LONGEST_BEGINNING)
    return len(data) - start if start >= 0 and data[start:].lower() in _BEGINNINGS else 0


class Injector:
    """Takes a body in chunks of any size and gives it back with the snippet in it.

    Bytes are held back from a ``</body>`` on, as long as it may be the one that ends the document, and at most ``HOLD`` of
    them. Whether it is one is decided at the end, by what has gone out last, of which as much is remembered. So in the middle
    of a stream there is nothing to do to a chunk but to see that no ``</body>`` is in it.
    """

    __slots__ = (
        "_document", "_holds", "_is_past_head", "_remembered", "_remembered_size", "_remembers_all", "_size", "_tries",
        "held", "is_done", "reason", "snippet",
    )  # fmt: skip

    def __init__(self, snippet: bytes, *, in_head: bool = False) -> None:
        self.snippet = snippet
        #: Why the snippet was left out, if it was.
        self.reason: str | None = None
        #: The snippet stands in the head: the rest may pass as it comes.
        self.is_done = False
        #: What was taken of the body and not given back yet.
        self.held: list[bytes] = []
        self._size = 0
        self._holds = False  # a ``</body>``, and not just a tag that is not finished
        self._is_past_head = not in_head
        self._tries = 0
        self._document = Document(snippet)
        self._remembered: deque[bytes] = deque()
        self._remembered_size = 0
        self._remembers_all = True

    def feed(self, chunk: bytes, *, last: bool) -> list[bytes]:
        """Take the next bytes of the body; return those that may go out, in order."""
        if self.is_done:
            return [chunk] if chunk else []
        if self._holds and not last and self._size + len(chunk) <= HOLD:
            self.held.append(chunk)
            self._size += len(chunk)
            return []
        if self.held:
            # Mostly it is the rest of a tag.
            chunk = self.held[0] + chunk if len(self.held) == 1 else b"".join((*self.held, chunk))
            self.held = []
        if not self._is_past_head and (place := self._find_head(chunk)) >= 0:
            self.is_done = True
            return [part for part in (chunk[:place], self.snippet, chunk[place:]) if part]
        return self._finish(chunk) if last else self._pass_on(chunk)

    def flush(self) -> bytes:
        """Give back what is held, with no more to come before something else."""
        held = b"".join(self.held)
        self.held, self._holds = [], False
        self._remembered.append(held)
        self._remembered_size += len(held)
        return held

    def lets_pass(self, chunk: bytes) -> bool:
        """Tell whether a chunk in the middle of a body may go out as it is, and remember it if so.

        Most may: nothing is held of what came before them, and there is nothing in them that is looked for.
        """
        # Written out, and not in terms of the functions below: a stream of tiny chunks pays for every call.
        if self.held or not self._is_past_head or (chunk.find(b"</") >= 0 and _may_hold_close(chunk)):
            return False
        begun = chunk.rfind(b"<", -_LONGEST_BEGINNING)
        if begun >= 0 and chunk[begun:].lower() in _BEGINNINGS:
            return False
        self._remembered.append(chunk)
        self._remembered_size += len(chunk)
        if self._remembered_size > 2 * HOLD or len(self._remembered) > _MOST_PIECES:
            self._forget()
        return True

    def _pass_on(self, data: bytes) -> list[bytes]:
        size, cut = len(data), -1
        if _may_hold_close(data):
            # Once too much is held, half of it goes: or a hostile page would have all of it searched again for every byte.
            found = _CLOSE.search(data, max(0, size - (HOLD // 2 if self._holds else HOLD)))
            cut = found.start() if found else -1
        self._holds = cut >= 0
        if cut < 0 and (begun := _begun(data)):
            cut = size - begun
        if cut >= 0:
            self.held, self._size = [data[cut:]], size - cut
            data = data[:cut]
        if not data:
            return []
        self._remember(data)
        return [data]

    def _remember(self, data: bytes) -> None:
        self._remembered.append(data)
        self._remembered_size += len(data)
        if self._remembered_size > 2 * HOLD or len(self._remembered) > _MOST_PIECES:
            self._forget()

    def _forget(self) -> None:
        """Keep what is needed of what was remembered."""
        if len(self._remembered) > _MOST_PIECES:
            self._remembered = deque((b"".join(self._remembered),))
        if self._remembered_size <= 2 * HOLD:
            return
        if self._remembers_all:
            self._remembers_all = False
            self._document.begins(self._beginning())
        if len(self._remembered[-1]) > 2 * HOLD:
            self._remembered = deque((self._remembered[-1][-HOLD:],))
            self._remembered_size = HOLD
        while self._remembered_size - len(self._remembered[0]) >= HOLD:
            self._remembered_size -= len(self._remembered.popleft())

    def _beginning(self) -> bytes:
        # Not all of it joined: of a stream in large chunks that would be a copy of one of them.
        parts: list[bytes] = []
        missing = WHERE_SNIPPETS_ARE
        for part in self._remembered:
            parts.append(part[:missing])
            missing -= len(parts[-1])
            if not missing:
                break
        return b"".join(parts)

    def _find_head(self, data: bytes) -> int:
        """Return where the head ends in this; -1 if it does not. After 64 KiB nobody expects it any more."""
        if not self._remembers_all:
            self._is_past_head = True
        elif _HEAD_END.search(data):
            # For each of these all of it is read; a page with so many in its scripts has the snippet at its end.
            self._tries += 1
            if self._tries > _MOST_TRIES:
                self._is_past_head = True
                return -1
            before = b"".join(self._remembered)
            if Document.of(before + data, self.snippet).why_not() is None:
                return read(before + data, for_head=True).head - len(before)
            self._is_past_head = True
        return -1

    def _finish(self, data: bytes) -> list[bytes]:
        whole = b"".join((*self._remembered, data))
        if self._remembers_all:
            self._document = Document.of(whole, self.snippet)
        else:
            self._document.ends(whole)
        self.reason = self._document.why_not()
        place, before = -1, len(whole) - len(data)
        if self.reason is None:
            place, self.reason = find_place(whole, before, self._document, is_whole=self._remembers_all)
        if self.reason is not None:
            return [data] if data else []
        place -= before
        return [part for part in (data[:place], self._document.opened(self.snippet), data[place:]) if part]
