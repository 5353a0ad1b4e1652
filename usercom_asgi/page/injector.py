"""Inserts the snippet before the ``</body>`` that ends a page, whole or in a stream."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .csp import fit_snippet
from .fast_path import read_ordinary_page
from .locator import AMP, OWN_WIDGET, Document, loads_widget
from .preamble import PREAMBLE_BYTES, is_amp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .csp import CspSources

_HEAD_END = re.compile(rb"<(?:/head|body)[\t\n\f\r />]", re.IGNORECASE)
# A chunk that ends in one of these may end in the middle of a tag that matters.
_TAG_PREFIXES = frozenset(
    name[:n] for name in (b"</body", b"</head", b"<body") for n in range(1, len(name) + 1)
)
_MAX_PREFIX_BYTES = len(b"</body")
# An incomplete tag is held up to this size. A longer one is not taken for
# the body's end.
_MAX_TAG_BYTES = 1024
# Longer pages are sent in pieces, because joining them costs more.
_JOIN_BELOW = 64 * 1024
# The bytes of a long page that are copied at a time, so the copy stays in
# the CPU's cache.
_COPY_BYTES = 256 * 1024
# A stream's chunks are collected up to this size, because each call of
# the reader costs.
_BATCH_BYTES = 16 * 1024
_MAX_CHUNKS = 512


class Skipped(NamedTuple):
    """The outcome of a page that gets no snippet."""

    reason: str


class LongPage:
    """The pieces of a long page with the snippet, in order.

    Each is made when it is requested, so a page of 100 MB is not in memory twice.
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


def inject(
    page: bytes, snippet: bytes, *, in_head: bool = False, sources: CspSources | None = None
) -> Injected | Skipped:
    """Return a whole page with the snippet, or the reason why it is left out.

    ``sources`` are those that a policy in the page has to allow.
    """
    ordinary = read_ordinary_page(page)
    if ordinary is None:
        document = Document(snippet)
        document.feed(page)
        reason = document.rejection_reason()
        place = document.tokenizer.head_end if in_head and reason is None else -1
        if place < 0:
            place, reason = document.find_place(0)
            if reason is not None:
                return Skipped(reason)
            snippet = document.with_body_tag(fit_snippet(snippet, document.head, sources))
        else:
            snippet = fit_snippet(snippet, document.head, sources)
    elif loads_widget(page, snippet):
        return Skipped(OWN_WIDGET)
    elif is_amp(page):
        return Skipped(AMP)
    else:
        place = ordinary.head_end if in_head else ordinary.body_end
        head = page[: min(ordinary.head_end, PREAMBLE_BYTES)]
        snippet = fit_snippet(snippet, head, sources)
    if len(page) < _JOIN_BELOW:
        return b"".join((memoryview(page)[:place], snippet, page[place:]))
    return LongPage(page, place, snippet)


class Injector:
    """The body of one page in chunks of any size, with the snippet added.

    The snippet goes before the first ``</body>`` of a stream, since more may follow for
    as long as the stream lasts. Only a tag that is not complete is held. A chunk
    without a tag that matters goes out at once, and is read later together with others.
    So the tokenizer's state is known wherever it matters.
    """

    __slots__ = (
        "_document", "_is_past_head", "_sources", "_taken", "_unread", "_unread_size",
        "held", "is_done", "reason", "snippet",
    )  # fmt: skip

    def __init__(
        self, snippet: bytes, *, in_head: bool = False, sources: CspSources | None = None
    ) -> None:
        self.snippet = snippet
        self._sources = sources
        #: Why the snippet was left out, if it was.
        self.reason: str | None = None
        #: True once the snippet is in: all further bytes pass unchanged.
        self.is_done = False
        #: The bytes of the body that are not returned yet.
        self.held: list[bytes] = []
        self._is_past_head = not in_head
        self._document = Document(snippet)
        self._taken = 0  # of the body, and read
        self._unread: list[bytes] = []
        self._unread_size = 0

    def feed(self, chunk: bytes, *, last: bool) -> list[bytes]:
        """Take the next bytes of the body; return those to send now, in order."""
        if self.is_done:
            return [chunk] if chunk else []
        self._unread.append(chunk)
        self._unread_size += len(chunk)
        self._read()
        if self.held:
            chunk = b"".join((*self.held, chunk))
            self.held = []
        if not self._is_past_head and (parts := self._split_at_head(chunk)):
            return parts
        return self._finish(chunk) if last else self._pass_on(chunk)

    def flush(self) -> bytes:
        """Return the held bytes, because another message is sent next."""
        held = b"".join(self.held)
        self.held = []
        return held

    def try_pass_through(self, chunk: bytes) -> bool:
        """Return True and record a chunk in mid-body if it may be sent as it is.

        This holds for most chunks: no bytes are held, and the chunk has no
        tag that matters.
        """
        # Written out without helpers, because a stream of tiny chunks pays for every
        # call. In mixed case a "</body>" is not recognised. The snippet stands behind
        # it then, and works. One letter costs a seventh of the tag (callgrind).
        if self.is_done:
            return True
        if (
            self.held
            or chunk.find(b"</body") >= 0
            or (chunk.find(b"Y") >= 0 and chunk.find(b"</BODY") >= 0)
        ):
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
        """Let the document read the collected chunks."""
        unread = self._unread
        self._document.feed(unread[0] if len(unread) == 1 else b"".join(unread))
        self._taken += self._unread_size
        self._unread, self._unread_size = [], 0

    def _pass_on(self, data: bytes) -> list[bytes]:
        start = self._taken - len(data)
        tokenizer = self._document.tokenizer
        if tokenizer.body_end >= start and self._document.rejection_reason() is None:
            self.is_done = True
            return self._with_snippet(data, tokenizer.body_end - start)
        if tokenizer.begun >= start and self._taken - tokenizer.begun <= _MAX_TAG_BYTES:
            cut = tokenizer.begun - start
            self.held = [data[cut:]]
            data = data[:cut]
        return [data] if data else []

    def _split_at_head(self, data: bytes) -> list[bytes]:
        """Return the parts with the snippet at the head's end, if data has it."""
        tokenizer = self._document.tokenizer
        if tokenizer.head_end < 0:
            return []
        self._is_past_head = True
        place = tokenizer.head_end - (self._taken - len(data))
        if place < 0 or self._document.rejection_reason() is not None:
            return []
        self.is_done = True
        snippet = fit_snippet(self.snippet, self._document.head, self._sources)
        return [part for part in (data[:place], snippet, data[place:]) if part]

    def _finish(self, data: bytes) -> list[bytes]:
        start = self._taken - len(data)
        place, self.reason = self._document.find_place(start)
        if self.reason is not None:
            return [data] if data else []
        return self._with_snippet(data, place - start)

    def _with_snippet(self, data: bytes, place: int) -> list[bytes]:
        document = self._document
        snippet = document.with_body_tag(fit_snippet(self.snippet, document.head, self._sources))
        return [part for part in (data[:place], snippet, data[place:]) if part]
