"""Foreign content: the elements of ``<svg>`` and ``<math>`` (HTML standard, 13.2.6.5).

In foreign content the text of a ``<style>`` or a ``<script>`` is markup, and
``<![CDATA[`` is a section. So the tokenizer needs to know whether the current element
is foreign. Inside an integration point, such as ``<foreignObject>``, elements are
HTML's again. The full tree construction of HTML would be needed there. Only plain, well
nested elements are followed; all else is in doubt.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from .syntax import RAW_TEXT_ELEMENTS, attributes, is_self_closing


class Step(Enum):
    """The effect of a tag in foreign content on the tokenizer."""

    GO_ON = auto()
    #: The tag begins text: its name is one of :data:`RAW_TEXT_ELEMENTS`.
    RAW_TEXT = auto()
    #: The tag ended the foreign content and is to be read again, as HTML.
    AGAIN = auto()
    #: The state is unknown from here on.
    IN_DOUBT = auto()


class _Element(NamedTuple):
    name: bytes
    space: str  # "svg", "math" or "html"
    #: What begins inside it is HTML: "html" for all tags, "text" for all but two, "svg"
    #: for an ``<svg>``, "" for none.
    point: str = ""


_BREAK_OUT = frozenset(
    b"b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li listing menu meta nobr ol p"
    b" pre ruby s small span strong strike sub sup table tt u ul var".split()
)
_FONT = frozenset({b"color", b"face", b"size"})
_SVG_POINTS = frozenset({b"foreignobject", b"desc", b"title"})
_MATH_POINTS = frozenset({b"mi", b"mo", b"mn", b"ms", b"mtext"})
_HTML_ENCODINGS = frozenset({b"text/html", b"application/xhtml+xml"})
_VOID = frozenset(b"area br embed hr img input link meta param source track wbr".split())
# In an integration point these only open an element; a custom element does too.
_PLAIN = (_BREAK_OUT - _VOID - {b"body", b"head", b"table"}) | frozenset(
    b"a abbr article aside bdi bdo cite del dfn fieldset figcaption figure footer header ins kbd label legend main mark nav"
    b" output q samp section time audio video canvas picture font".split()
)
# Of </p> and </br> older browsers make something else.
_DISPUTED = frozenset({b"p", b"br"})
# No HTML element outside of the foreign content is closed by these, so the foreign
# content goes on.
_IGNORED = RAW_TEXT_ELEMENTS - {b"plaintext"} | {b"svg", b"math", b"body", b"html"}
_MAX_DEPTH = 256


class Foreign:
    """The open elements from an ``<svg>`` or ``<math>`` on."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: list[_Element] = []

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def has_cdata(self) -> bool:
        """True if ``<![CDATA[`` begins a section here."""
        return bool(self._open) and self._open[-1].space != "html"

    def enter(self, name: bytes, tag: bytes) -> None:
        """Open an ``<svg>`` or ``<math>``, unless the tag closes itself."""
        if not is_self_closing(tag):
            self._open.append(_Element(name, name.decode()))

    def start(self, name: bytes, tag: bytes) -> Step:
        """Take a start tag."""
        if len(self._open) > _MAX_DEPTH:
            return Step.IN_DOUBT
        top = self._open[-1]
        is_html = (
            top.space == "html"
            or top.point == "html"
            or (top.point == "text" and name not in (b"mglyph", b"malignmark"))
            or (top.point == "svg" and name == b"svg")
        )
        if is_html:
            return self._start_html(name, tag)
        if name in _BREAK_OUT or (
            name == b"font" and any(each in _FONT for each, _ in attributes(tag))
        ):
            while self._open and self._open[-1].point not in ("html", "text"):
                self._open.pop()
            return self._start_html(name, tag) if self._open else Step.AGAIN
        if not is_self_closing(tag):
            point = _point(top.space, name, tag)
            if point is None:
                return Step.IN_DOUBT
            self._open.append(_Element(name, top.space, point))
        return Step.GO_ON

    def end(self, name: bytes) -> Step:
        """Take an end tag."""
        top = self._open[-1]
        if name in _DISPUTED and top.space != "html":
            return Step.IN_DOUBT
        if top.space == "html":
            # Where HTML's rules have closed the element before, this tag would close a
            # foreign one of the same name.
            if top.name != name or any(
                each.name == name for each in self._open if each.space != "html"
            ):
                return Step.IN_DOUBT
            self._open.pop()
            return Step.GO_ON
        for at in range(len(self._open) - 1, -1, -1):
            if self._open[at].space == "html":
                return Step.IN_DOUBT
            if self._open[at].name == name:
                del self._open[at:]
                return Step.GO_ON
        return Step.GO_ON if name in _IGNORED else Step.IN_DOUBT

    def _start_html(self, name: bytes, tag: bytes) -> Step:
        if name in RAW_TEXT_ELEMENTS:
            return Step.RAW_TEXT
        if name in (b"svg", b"math"):
            self.enter(name, tag)
        elif name in _PLAIN or b"-" in name:
            self._open.append(_Element(name, "html"))
        elif name not in _VOID:
            return Step.IN_DOUBT
        return Step.GO_ON


def _point(space: str, name: bytes, tag: bytes) -> str | None:
    """Return which tags begin HTML in this element; None if that is not known."""
    if space == "svg":
        return "html" if name in _SVG_POINTS else ""
    if name in _MATH_POINTS:
        return "text"
    if name != b"annotation-xml":
        return ""
    encoding = next((value for each, value in attributes(tag) if each == b"encoding"), b"")
    if b"&" in encoding:
        return None  # a character reference
    return "html" if encoding.lower() in _HTML_ENCODINGS else "svg"
