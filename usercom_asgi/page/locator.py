"""Where in a document the snippet goes, and why not."""

from __future__ import annotations

import re

from .tokenizer import Markup

#: A ``</body>`` with more than this behind it does not end the document any more; let it go (design.md, "Pages").
MAX_HELD_BYTES = 64 * 1024

# What stands before "/widget.js" in a page that loads the widget by itself: by a tag, or by a script that makes one.
_LOADER = re.compile(rb"[\"'`=]\s*(?:https?:)?\\?/\\?/([^\"'`<>\s=]+)\Z", re.IGNORECASE)
# Where User.com has its widgets, and had them (docs/usercom.md). Others call theirs widget.js as well.
_VENDOR_HOSTS = (b".user.com", b".userengage.com", b".userengage.io")
_WIDGET = b"/widget.js"
_MAX_URL_BYTES = 256
FRAGMENT = "the body is a fragment, without <html>, <body> or </body>"
FRAMESET = "the body is a frameset, which shows no scripts"
UNFINISHED = "the document ends inside of a tag, a comment, a script or the like"
IN_DOUBT = "browsers may read the document in more than one way"
OWN_WIDGET = "the page brings the widget by itself"


class Document:
    """What of a document has been seen so far. Positions count from its beginning."""

    __slots__ = ("_end", "_snippet", "has_widget", "markup")

    def __init__(self, snippet: bytes) -> None:
        self.markup = Markup()
        self.has_widget = False
        self._snippet = snippet
        self._end = b""  # of what was seen: an address may go on in the next bytes

    def feed(self, block: bytes) -> None:
        """Look at the next bytes."""
        self.markup.feed(block)
        if not self.has_widget:
            size = _MAX_URL_BYTES + len(_WIDGET)
            self.has_widget = self._loads_widget(block) or (
                bool(self._end) and self._loads_widget(self._end + block[:size])
            )
            self._end = block[-size:] if len(block) >= size else (self._end + block)[-size:]

    def find_place(self, held: int) -> tuple[int, str | None]:
        """Return where the snippet goes at the document's end, not before ``held``; or why it does not."""
        markup = self.markup
        if (reason := self.rejection_reason()) is not None:
            return -1, reason
        if markup.body_end >= held:
            return markup.body_end, None
        if markup.is_in_doubt:
            return -1, IN_DOUBT
        if not markup.has_html and markup.body_end < 0:
            return -1, FRAGMENT
        return (markup.end, None) if markup.end >= held else (-1, UNFINISHED)

    def rejection_reason(self) -> str | None:
        """Return the reason to add nothing wherever it is, as far as it is known."""
        if self.has_widget:
            return OWN_WIDGET
        return FRAMESET if self.markup.has_frames else None

    def with_body_tag(self, snippet: bytes) -> bytes:
        """Return the snippet so that it stands in the body: a page may leave out the tag, and end with its head."""
        return snippet if self.markup.has_body else b"<body>" + snippet

    def _loads_widget(self, data: bytes) -> bool:
        at = len(data)
        # Backwards, since that is the faster search of the two.
        while (at := data.rfind(_WIDGET, 0, at)) >= 0:
            found = _LOADER.search(data[max(0, at - _MAX_URL_BYTES) : at])
            if found is not None and self._is_vendor_host(found[1].rstrip(b"\\").lower()):
                return True
        return False

    def _is_vendor_host(self, place: bytes) -> bool:
        """Return whether a host, with its port, is one that the widget comes from."""
        return place.endswith(_VENDOR_HOSTS) or b"//%b/widget.js" % place in self._snippet
