"""Splices bytes into a document: before the ``</body>`` that ends it, in one piece or in a stream."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .locator import MAX_HELD_BYTES, Document

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD_END = re.compile(rb"<(?:/head|body)[\t\n\f\r />]", re.IGNORECASE)
# What is looked for may have begun with these.
_TAG_PREFIXES = frozenset(
    name[:n] for name in (b"</body", b"</head", b"<body") for n in range(1, len(name) + 1)
)
_MAX_PREFIX_BYTES = len(b"</body")
# A tag that is not complete is held back up to this size: a longer one is not the end of the body.
_MAX_TAG_BYTES = 1024
# Above this, sending several pieces costs less than joining them.
_JOIN_BELOW = 64 * 1024
# So much of a long page is copied at a time: a copy that goes to where the last one was is still in the processor's cache.
_COPY_BYTES = 256 * 1024
# A stream's chunks are read when they come to so much: to read each one costs more than the reading.
_BATCH_BYTES = 16 * 1024
_MAX_CHUNKS = 512


class Skipped(NamedTuple):
    """The outcome of a page that gets no snippet."""

    reason: str


class LongPage:
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
        for at in range(0, place, _COPY_BYTES):
            yield page[at : min(at + _COPY_BYTES, place)]
        if len(page) - place < _JOIN_BELOW:
            yield self._snippet + page[place:]
            return
        yield self._snippet
        for at in range(place, len(page), _COPY_BYTES):
            yield page[at : at + _COPY_BYTES]


#: A page with the snippet in it.
Injected: TypeAlias = bytes | LongPage


def inject(page: bytes, snippet: bytes, *, in_head: bool = False) -> Injected | Skipped:
    """Return a whole page with the snippet in it, in one piece or more; or why not."""
    document = Document(snippet)
    document.feed(page)
    reason = document.rejection_reason()
    place = document.markup.head_end if in_head and reason is None else -1
    if place < 0:
        place, reason = document.find_place(0)
        if reason is not None:
            return Skipped(reason)
        snippet = document.with_body_tag(snippet)
    if len(page) < _JOIN_BELOW:
        return b"".join((memoryview(page)[:place], snippet, page[place:]))
    return LongPage(page, place, snippet)


class Injector:
    """The body of one page in chunks of any size, with the snippet added.

    From a ``</body>`` on the bytes are held, up to ``MAX_HELD_BYTES``, as long as it may
    end the document. A chunk without such a tag goes out at once, and is read later
    together with others. So the tokenizer's state is known wherever it matters.
    """

    __slots__ = (
        "_document", "_holds", "_is_past_head", "_size", "_taken", "_unread", "_unread_size",
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
        self._size = 0  # of what is held
        self._holds = False  # a ``</body>``, and not just a tag that is not complete
        self._is_past_head = not in_head
        self._document = Document(snippet)
        self._taken = 0  # of the body, and read
        self._unread: list[bytes] = []
        self._unread_size = 0

    def feed(self, chunk: bytes, *, last: bool) -> list[bytes]:
        """Take the next bytes of the body; return those that may go out, in order."""
        if self.is_done:
            return [chunk] if chunk else []
        self._unread.append(chunk)
        self._unread_size += len(chunk)
        if self._holds and not last and self._size + len(chunk) <= MAX_HELD_BYTES:
            self.held.append(chunk)
            self._size += len(chunk)
            return []
        self._read()
        if self.held:
            # Mostly it is the rest of a tag.
            chunk = self.held[0] + chunk if len(self.held) == 1 else b"".join((*self.held, chunk))
            self.held, self._size, self._holds = [], 0, False
        if not self._is_past_head and (parts := self._split_at_head(chunk)):
            return parts
        return self._finish(chunk) if last else self._pass_on(chunk)

    def flush(self) -> bytes:
        """Give back what is held, with no more to come before something else."""
        held = b"".join(self.held)
        self.held, self._size, self._holds = [], 0, False
        return held

    def try_pass_through(self, chunk: bytes) -> bool:
        """Return whether a chunk in the middle of a body may go out as it is, and take note of it if so.

        Most may: nothing is held of what came before them, and there is nothing in them that is looked for.
        """
        # Written out, and not in terms of the functions below: a stream of tiny chunks pays for every call.
        if self.held or (chunk.find(b"</") >= 0 and _may_hold_close(chunk)):
            return False
        begun = chunk.rfind(b"<", -_MAX_PREFIX_BYTES)
        if begun >= 0 and chunk[begun:].lower() in _TAG_PREFIXES:
            return False
        if not self._is_past_head and _HEAD_END.search(chunk):
            return False
        self._unread.append(chunk)
        self._unread_size += len(chunk)
        if self._unread_size > _BATCH_BYTES or len(self._unread) > _MAX_CHUNKS:
            self._read()
        return True

    def _read(self) -> None:
        """Read what was taken: all of it has gone out, or is decided on next."""
        unread = self._unread
        self._document.feed(unread[0] if len(unread) == 1 else b"".join(unread))
        self._taken += self._unread_size
        self._unread, self._unread_size = [], 0

    def _pass_on(self, data: bytes) -> list[bytes]:
        start = self._taken - len(data)
        markup = self._document.markup
        cut = len(data)
        if markup.body_end >= start and self._taken - markup.body_end <= MAX_HELD_BYTES:
            cut, self._holds = markup.body_end - start, True
        elif markup.begun >= start and self._taken - markup.begun <= _MAX_TAG_BYTES:
            cut = markup.begun - start
        if cut < len(data):
            self.held, self._size = [data[cut:]], len(data) - cut
            data = data[:cut]
        return [data] if data else []

    def _split_at_head(self, data: bytes) -> list[bytes]:
        """Return the parts of this with the snippet at the end of the head; none if the head does not end in it."""
        markup = self._document.markup
        if markup.head_end < 0:
            return []
        self._is_past_head = True
        place = markup.head_end - (self._taken - len(data))
        if place < 0 or self._document.rejection_reason() is not None:
            return []
        self.is_done = True
        return [part for part in (data[:place], self.snippet, data[place:]) if part]

    def _finish(self, data: bytes) -> list[bytes]:
        start = self._taken - len(data)
        place, self.reason = self._document.find_place(start)
        if self.reason is not None:
            return [data] if data else []
        place -= start
        return [
            part
            for part in (data[:place], self._document.with_body_tag(self.snippet), data[place:])
            if part
        ]


def _may_hold_close(data: bytes) -> bool:
    # In other letters it is not looked for in time, and the snippet stands behind it (and works).
    return data.find(b"</body") >= 0 or (data.find(b"Y") >= 0 and data.find(b"</BODY") >= 0)
