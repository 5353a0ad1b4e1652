"""Where in a document the snippet goes, and why not."""

from __future__ import annotations

import re

from .tokenizer import Markup

#: A ``</body>`` with more than this behind it does not end the document any more; let it go (design.md, "Pages").
HOLD = 64 * 1024

# What stands before "/widget.js" in a page that loads the widget by itself: by a tag, or by a script that makes one.
_LOADS = re.compile(rb"[\"'`=]\s*(?:https?:)?\\?/\\?/([^\"'`<>\s=]+)\Z", re.IGNORECASE)
# Where User.com has its widgets, and had them (docs/usercom.md). Others call theirs widget.js as well.
_VENDORS = (b".user.com", b".userengage.com", b".userengage.io")
_WIDGET = b"/widget.js"
_LONGEST_ADDRESS = 256
FRAGMENT = "the body is a fragment, without <html>, <body> or </body>"
FRAMES = "the body is a frameset, which shows no scripts"
OPEN = "the document ends inside of a tag, a comment, a script or the like"
IN_DOUBT = "browsers may read the document in more than one way"
OWN = "the page brings the widget by itself"


class Document:
    """What of a document has been seen so far. Positions count from its beginning."""

    __slots__ = ("_end", "_snippet", "has_own", "markup")

    def __init__(self, snippet: bytes) -> None:
        self.markup = Markup()
        self.has_own = False
        self._snippet = snippet
        self._end = b""  # of what was seen: an address may go on in the next bytes

    def feed(self, block: bytes) -> None:
        """Look at the next bytes."""
        self.markup.feed(block)
        if not self.has_own:
            size = _LONGEST_ADDRESS + len(_WIDGET)
            self.has_own = self._loads_widget(block) or (
                bool(self._end) and self._loads_widget(self._end + block[:size])
            )
            self._end = block[-size:] if len(block) >= size else (self._end + block)[-size:]

    def find_place(self, held: int) -> tuple[int, str | None]:
        """Return where the snippet goes at the document's end, not before ``held``; or why it does not."""
        markup = self.markup
        if (reason := self.why_not()) is not None:
            return -1, reason
        if markup.body_end >= held:
            return markup.body_end, None
        if markup.is_in_doubt:
            return -1, IN_DOUBT
        if not markup.has_html and markup.body_end < 0:
            return -1, FRAGMENT
        return (markup.end, None) if markup.end >= held else (-1, OPEN)

    def why_not(self) -> str | None:
        """Return the reason to add nothing wherever it is, as far as it is known."""
        if self.has_own:
            return OWN
        return FRAMES if self.markup.has_frames else None

    def opened(self, snippet: bytes) -> bytes:
        """Return the snippet so that it stands in the body: a page may leave out the tag, and end with its head."""
        return snippet if self.markup.has_body else b"<body>" + snippet

    def _loads_widget(self, data: bytes) -> bool:
        at = len(data)
        # Backwards, since that is the faster search of the two.
        while (at := data.rfind(_WIDGET, 0, at)) >= 0:
            found = _LOADS.search(data[max(0, at - _LONGEST_ADDRESS) : at])
            if found is not None and self._is_ours(found[1].rstrip(b"\\").lower()):
                return True
        return False

    def _is_ours(self, place: bytes) -> bool:
        """Return whether a host, with its port, is one that the widget comes from."""
        return place.endswith(_VENDORS) or b"//%b/widget.js" % place in self._snippet
