"""The tokenizer of the HTML standard (13.2.5), for chunks of any size.

It knows whether a byte is markup or text: in a script, a comment, a title, an attribute
or the like. It does not read every tag: a regular expression finds the next place where
text may begin, and the tags between are read only where that place may stand in an
attribute. Between chunks it keeps the state and the short beginning of what is not
complete. Where the state depends on what browsers disagree on, or on the whole tree, it
is in doubt from there on.
"""

from __future__ import annotations

import re

from .foreign import Foreign, Step
from .syntax import NAME_END, RAW_TEXT_ENDS, SCRIPT, TAG, after_comment, shortened

# Cheap filters: they find every tag that `NAMED` accepts and "<!--", and some others.
# The first three letters are sets and not alternatives, which would triple the price:
# most tags fail there. The first pattern is for the head, the second from "<body" on,
# the third where end tags matter too.
_NAME_REST = (
    rb"(?:(?<=<!--)|(?:(?i:ipt|le|ect|tarea|plate|cript|mbed|rames|ame|intext|h|meset|y|l|ad|mplate|lect)|(?<=(?i:svg|xmp|col)))"
    + NAME_END
    + rb")"
)
# A head is full of <meta>, so these fail early as well.
BEFORE_BODY = re.compile(
    rb"<[!sStTnNiIxXpPmMbBhHfF/][-cCtTvVeEiIoOfFmMlLaArRhH][-rRyYgGlLxXmMtTsSeEfFpPaAdD](?<![mM][eE][tT])"
    + _NAME_REST
)
IN_BODY = re.compile(
    rb"<[!sStTnNiIxXpPmM][-cCtTvVeEiIoOfFmMlLaA][-rRyYgGlLxXmMtTsSeEfFpPaA]" + _NAME_REST
)
_WITH_ENDS = re.compile(
    rb"<[!sStTnNiIxXpPmMcCfF/][-cCtTvVeEiIoOfFmMlLaAsSrR][-rRyYgGlLxXmMtTsSeEfFpPaA]" + _NAME_REST
)
NAMED = re.compile(
    rb"<(?:(?P<text>script|style|textarea|title|noscript|noembed|noframes|iframe|xmp|plaintext)|(?P<foreign>svg|math)"
    rb"|(?P<other>/?template|/?select|/?body|/head|html|frameset|col))" + NAME_END,
    re.IGNORECASE,
)
_LEFT_OPEN = re.compile(rb"[<\"']")
_BEFORE_QUOTE = b"= \t\n\f\r"
_CLOSE_BEGUN = b"</body"
_LANDMARKS = (b"</body", b"</head", b"<body")
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_ESCAPE = b"\x1b"
# The tokenizer gives up at a longer unquoted name or value at the end of a chunk.
_MAX_REST_BYTES = 64 * 1024
# A select's text elements: browsers agree on these alone.
_IN_SELECT = frozenset({b"script", b"textarea"})


class Tokenizer:
    """The state of the tokenizer in a document. Positions count from its beginning."""

    __slots__ = (
        "_block",
        "_closes",
        "_depth",
        "_foreign",
        "_is_escaped",
        "_is_escaped_twice",
        "_is_odd",
        "_raw_text",
        "_rest",
        "_rest_at",
        "_select",
        "_size",
        "body_end",
        "has_body",
        "has_frames",
        "has_html",
        "head_end",
        "is_in_doubt",
    )  # fmt: skip

    def __init__(self) -> None:
        #: The position of the last ``</body>`` outside of templates; -1 if
        #: there is none.
        self.body_end = -1
        #: The position of the first ``</head>`` or ``<body>``; -1 if there is none.
        self.head_end = -1
        self.has_html = self.has_body = self.has_frames = False
        #: True once the state is not known: no position changes any more.
        self.is_in_doubt = False
        self._size = 0  # of all that was fed
        self._block = 0  # the position in the document of the data that is read now
        self._closes = [-1, -1]  # where in that a "</body" may be next, by its letters
        self._rest, self._rest_at = b"", 0  # what is not complete, and where it begins
        self._raw_text = b""  # the element whose text is not at its end
        self._is_escaped = self._is_escaped_twice = False  # in a script
        self._depth = 0  # of templates
        self._is_odd = False  # a template has a <col>, where browsers ignore what is no column
        self._select = -1  # the depth of templates at which a <select> is open
        self._foreign = Foreign()

    @property
    def begun(self) -> int:
        """The position of an incomplete tag that may be a landmark; else -1."""
        rest = self._rest.lower()
        if self._raw_text or self.is_in_doubt or not rest:
            return -1
        return (
            self._rest_at
            if any(rest.startswith(each) or each.startswith(rest) for each in _LANDMARKS)
            else -1
        )

    @property
    def end(self) -> int:
        """The position at the document's end if that is outside of text; else -1."""
        if (
            self._raw_text
            or self.is_in_doubt
            or self._depth
            or self._foreign
            or not _CLOSE_BEGUN.startswith(self._rest.lower())
        ):
            return -1
        return self._rest_at if self._rest else self._size

    def feed(self, block: bytes) -> None:
        """Read the next bytes."""
        if is_unsafe(block, is_begin=not self._size):
            self.is_in_doubt = True
        data = self._rest + block if self._rest else block
        self._closes = [-1, -1]
        self._block = self._size - len(self._rest)
        self._size += len(block)
        at = 0
        while at >= 0 and not self.is_in_doubt:
            if self._raw_text:
                at = self._scan_raw_text(data, at)
            elif self._foreign:
                at = self._scan_foreign(data, at)
            else:
                at = self._scan_html(data, at)

    # Each of these returns where to go on, or -1 at the end of the data or in doubt.

    def _scan_html(self, data: bytes, known: int) -> int:
        start, named = self._find_place(data, known)
        if may_be_in_tag(data, known, start):
            # Behind the last tag there is mostly less to read: a chunk's end is often
            # in a tag.
            behind = data.rfind(b">", known, start) + 1
            if behind > known and not may_be_in_tag(data, known, behind):
                known = behind
            after = _pass_tags(data, known, start)
            if after < 0:
                return self._stop(data, -after - 1)
            if after > start:
                return after  # it stands in an attribute
        if start == len(data):
            return self._stop(data, start)
        if named is None:
            after = after_comment(data, start)
            return after if after >= 0 else self._stop(data, start)
        tag = TAG.match(data, start)
        if tag is None:
            return self._stop(data, start)
        self._consume(
            named, tag[0], self._rest_at if start == 0 and self._rest else self._block + start
        )
        return -1 if self.is_in_doubt else tag.end()

    def _find_place(self, data: bytes, look: int) -> tuple[int, re.Match[bytes] | None]:
        """Return where the next comment or tag that matters may be, and its name.

        Without one, that is the end of the data.
        """
        pattern = IN_BODY if self.has_body else BEFORE_BODY
        if self._depth or self._select >= 0:
            pattern = _WITH_ENDS
        while True:
            close = self._find_close(data, look)
            place = pattern.search(data, look, close)
            start = place.start() if place else close
            if start == len(data):
                return start, None
            named = NAMED.match(data, start)
            if named is not None or data.startswith(b"<!--", start):
                return start, named
            look = start + 1  # another tag

    def _find_close(self, data: bytes, start: int) -> int:
        """Return the next ``</body`` or ``</BODY``, or the end of the data."""
        closes = self._closes
        if closes[0] < start:
            at = data.find(b"</body", start)
            closes[0] = at if at >= 0 else len(data)
        if closes[1] < start:
            # One letter is found faster, and a page without it is common.
            at = data.find(b"</BODY", start) if data.find(b"Y", start) >= 0 else -1
            closes[1] = at if at >= 0 else len(data)
        return min(closes)

    def _consume(self, named: re.Match[bytes], tag: bytes, at: int) -> None:
        """Apply an HTML tag to the state."""
        name = named[0][1:].lower()
        if named["text"] or named["foreign"]:
            if (self._select >= 0 and name not in _IN_SELECT) or self._is_odd:
                self.is_in_doubt = True
            elif named["text"]:
                self._raw_text = name
            else:
                self._foreign.enter(name, tag)
        elif name == b"frameset":
            self.has_frames = self.is_in_doubt = True
        elif name.endswith((b"template", b"select", b"col")):
            self._consume_nesting(name)
        elif not self._depth:
            self._consume_landmark(name, at)

    def _consume_nesting(self, name: bytes) -> None:
        if name == b"template":
            self._depth += 1
        elif name == b"/template" and self._depth:
            self._depth -= 1
            self._is_odd = self._is_odd and self._depth > 0
            self._select = self._select if self._select <= self._depth else -1
        elif name == b"select" and self._select < 0:
            self._select = self._depth
        elif name == b"/select" and self._select == self._depth:
            self._select = -1
        elif name == b"col":
            self._is_odd = self._depth > 0

    def _consume_landmark(self, name: bytes, at: int) -> None:
        if name == b"/body":
            self.body_end = at
            return
        if name != b"html" and self.head_end < 0:
            self.head_end = at
        self.has_html = self.has_html or name != b"/head"
        self.has_body = self.has_body or name == b"body"

    def _scan_raw_text(self, data: bytes, at: int) -> int:
        name = self._raw_text
        if name == b"plaintext":
            return self._keep(data, len(data))
        if name == b"script":
            start, at = self._find_script_end(data, at)
        else:
            end = RAW_TEXT_ENDS[name].search(data, at)
            start = end.start() if end else -1
        if start < 0:
            return self._keep(data, max(at, len(data) - len(name) - 2))
        tag = TAG.match(data, start)
        if tag is None:
            return self._stop(data, start)
        self._raw_text = b""
        self._is_escaped = self._is_escaped_twice = False
        return tag.end()

    def _find_script_end(self, data: bytes, at: int) -> tuple[int, int]:
        """Return the position of a script's end tag, or -1; and the end of the search.

        A script in a comment in a script does not end the script (13.2.5.17 to 31).
        """
        while (found := SCRIPT.search(data, at)) is not None:
            at = found.end()
            token = found[0]
            if token == b"<!--":
                self._is_escaped = True
                at -= 2  # "<!-->" ends at once
            elif token == b"-->":
                self._is_escaped = self._is_escaped_twice = False
            elif not found[1]:
                self._is_escaped_twice = self._is_escaped
            elif self._is_escaped_twice:
                self._is_escaped_twice = False
            else:
                return found.start(), at
        return -1, at

    def _scan_foreign(self, data: bytes, at: int) -> int:
        at = data.find(b"<", at)
        if at < 0:
            return self._stop(data, len(data))
        if not _is_tag(data, at):
            if data.startswith(b"<![CDATA[", at) and not self._foreign.has_cdata:
                return self._give_up()
            after = _after_bogus(data, at, has_cdata=True)
            return after if after >= 0 else self._stop(data, at)
        tag = TAG.match(data, at)
        if tag is None:
            return self._stop(data, at)
        name = _name(tag[0])
        if data.startswith(b"</", at):
            # A template around the foreign content ends it.
            step = Step.IN_DOUBT if name == b"template" and self._depth else self._foreign.end(name)
        else:
            step = self._foreign.start(name, tag[0])
        if step is Step.IN_DOUBT:
            return self._give_up()
        if step is Step.RAW_TEXT:
            self._raw_text = name
        return at if step is Step.AGAIN else tag.end()

    def _stop(self, data: bytes, start: int) -> int:
        """Keep the incomplete token that begins at ``start``."""
        begun = data[start:]
        if (
            len(begun) > 1024
            and self._foreign
            and not self._raw_text
            and _name(begun) in (b"font", b"annotation-xml")
        ):
            return self._give_up()  # their attributes decide
        return self._keep(data, start, shortened(begun, has_cdata=self._foreign.has_cdata))

    def _keep(self, data: bytes, start: int, rest: bytes | None = None) -> int:
        if start or not self._rest:
            self._rest_at = self._block + start
        self._rest = data[start:] if rest is None else rest
        if len(self._rest) > _MAX_REST_BYTES:
            self._give_up()
        return -1

    def _give_up(self) -> int:
        self.is_in_doubt = True
        return -1


def is_unsafe(block: bytes, *, is_begin: bool = True) -> bool:
    """Return True if a byte of the block may not be a character.

    ISO-2022-JP, which a ``<meta>`` may name, has escape sequences, and UTF-16 a
    byte order mark.
    """
    return block.find(_ESCAPE) >= 0 or (is_begin and block.startswith(_BYTE_ORDER_MARKS))


def _name(tag: bytes) -> bytes:
    found = re.match(rb"</?([^\t\n\f\r />]*)", tag)
    return found[1].lower() if found else b""


def _is_tag(data: bytes, at: int) -> bool:
    after = data[at + 1 : at + 3]
    return after[:1].isalpha() or (after[:1] == b"/" and after[1:].isalpha())


def _after_bogus(data: bytes, at: int, *, has_cdata: bool = False) -> int:
    """Return where text continues after a "<" outside of tags; else -1."""
    if data[at + 1 : at + 2] in (b"!", b"?", b"/", b"") and not data.startswith(b"</>", at):
        return after_comment(data, at, has_cdata=has_cdata)
    return at + 1


def may_be_in_tag(data: bytes, known: int, position: int) -> bool:
    """Return True if a position may be inside a tag that began after ``known``.

    ``known`` is a position outside of tags. Inside a tag, one of these is true:

    * The position is in a quoted value. Then the last quote of that kind opened it, and
      stands after a "=".
    * It is not. Then there is a "<" after the last ">", or a quote of a value
      with a ">".
    """
    if data[position - 2 : position] != b">\n":  # mostly it is
        between = data[data.rfind(b">", known, position) + 1 or known : position]
        if between and not between.isspace() and _LEFT_OPEN.search(between):
            return True
    return _may_open_value(data, known, data.rfind(b'"', known, position)) or _may_open_value(
        data, known, data.rfind(b"'", known, position)
    )


def _may_open_value(data: bytes, known: int, quote: int) -> bool:
    """Return True if a quote may begin an attribute's value."""
    if quote <= known or data[quote - 1] not in _BEFORE_QUOTE:
        return False
    before = data[max(known, quote - 64) : quote].rstrip(b" \t\n\f\r")
    return not before or before.endswith(b"=")


def _pass_tags(data: bytes, known: int, position: int) -> int:
    """Return ``position``, or the end of the tag that it is in.

    Return ``-(start + 1)`` for a tag that begins at ``start`` and does not end.
    """
    at = known
    while (at := data.find(b"<", at, position)) >= 0:
        if _is_tag(data, at):
            tag = TAG.match(data, at)
            after = tag.end() if tag else -1
        else:
            after = _after_bogus(data, at)
        if after < 0:
            return -(at + 1)
        at = after
        if at > position:
            return at
    return position
