"""Finds the position of the snippet in a document, or the reason to leave it out."""

from __future__ import annotations

import re

from .preamble import PREAMBLE_BYTES, has_doctype, is_amp
from .tokenizer import Tokenizer

# The text before "/widget.js" in a page that loads the widget itself, by tag
# or by script.
_LOADER = re.compile(rb"[\"'`=]\s*(?:https?:)?\\?/\\?/([^\"'`<>\s=]+)\Z", re.IGNORECASE)
# User.com's present and earlier hosts (docs/usercom.md): other vendors have
# a widget.js too.
_VENDOR_HOSTS = (b".user.com", b".userengage.com", b".userengage.io")
_WIDGET = b"/widget.js"
_MAX_URL_BYTES = 256
FRAGMENT = "the body is a fragment, without a doctype, <html>, <body> or </body>"
FRAMESET = "the body is a frameset, which shows no scripts"
UNFINISHED = "the document ends inside a tag, a comment or a script"
IN_DOUBT = "browsers may read the document in more than one way"
OWN_WIDGET = "the page loads the widget itself"
AMP = "AMP pages must have no scripts of their own"


class Document:
    """A document read in blocks. Positions count from its beginning."""

    __slots__ = ("_end", "_snippet", "begin", "has_widget", "tokenizer")

    def __init__(self, snippet: bytes) -> None:
        self.tokenizer = Tokenizer()
        self.has_widget = False
        #: The first bytes, up to ``PREAMBLE_BYTES``.
        self.begin = b""
        self._snippet = snippet
        self._end = b""  # of the bytes read: an address may continue in the next block

    def feed(self, block: bytes) -> None:
        """Read the next bytes."""
        self.tokenizer.feed(block)
        if len(self.begin) < PREAMBLE_BYTES:
            self.begin += block[: PREAMBLE_BYTES - len(self.begin)]
        if not self.has_widget:
            size = _MAX_URL_BYTES + len(_WIDGET)
            self.has_widget = loads_widget(block, self._snippet) or (
                bool(self._end) and loads_widget(self._end + block[:size], self._snippet)
            )
            self._end = block[-size:] if len(block) >= size else (self._end + block)[-size:]

    @property
    def head(self) -> bytes:
        """The first bytes, as far as the head goes."""
        end = self.tokenizer.head_end
        return self.begin if end < 0 else self.begin[:end]

    def find_place(self, held: int) -> tuple[int, str | None]:
        """Return the snippet's position, at or after ``held``, or -1 and the reason."""
        tokenizer = self.tokenizer
        if (reason := self.rejection_reason()) is not None:
            return -1, reason
        if tokenizer.body_end >= held:
            return tokenizer.body_end, None
        if tokenizer.is_in_doubt:
            return -1, IN_DOUBT
        if not tokenizer.has_html and tokenizer.body_end < 0 and not has_doctype(self.begin):
            return -1, FRAGMENT
        return (tokenizer.end, None) if tokenizer.end >= held else (-1, UNFINISHED)

    def rejection_reason(self) -> str | None:
        """Return the reason to leave the snippet out of the document; None so far."""
        if self.has_widget:
            return OWN_WIDGET
        if self.tokenizer.has_frames:
            return FRAMESET
        return AMP if is_amp(self.begin) else None

    def with_body_tag(self, snippet: bytes) -> bytes:
        """Return the snippet, after a ``<body>`` if the document has no such tag."""
        return snippet if self.tokenizer.has_body else b"<body>" + snippet


def loads_widget(data: bytes, snippet: bytes) -> bool:
    """Return True if the data loads a widget of User.com, or the one in the snippet."""
    at = -1
    while (at := data.find(_WIDGET, at + 1)) >= 0:
        found = _LOADER.search(data[max(0, at - _MAX_URL_BYTES) : at])
        if found is not None:
            # The host, with its port.
            place = found[1].rstrip(b"\\").lower()
            if place.endswith(_VENDOR_HOSTS) or b"//%b/widget.js" % place in snippet:
                return True
    return False
