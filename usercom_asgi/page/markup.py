"""Where in a document its markup is, and what only looks like it: in a script, a comment, a template or an attribute.

Follows the tokenizer of the HTML standard (13.2.5) as far as that decides where a tag is a tag. It does not read every tag: it
goes from one place where text may begin to the next, and reads the tags between only where one of those may stand in an
attribute. So a page costs one pass of a regular expression.
"""

from __future__ import annotations

import re

from .texts import NAME_END, TAG, UNCLOSED, after_comment, after_text, is_empty

# A place where text may begin or a template end, or "</body": told apart afterwards, since most are neither.
_PLACE = re.compile(rb"<(?:[!?]|[sStTnNiIxXpPmM][cCtTeEiIoOfFmMlLvVaA]|/(?:[bB][oO]|[tT][eE]|[sS][vV]|[mM][aA]|[^a-zA-Z>]))")
_HEAD_PLACE = re.compile(
    rb"<(?:[!?]|[sStTnNiIxXpPmMbB][cCtTeEiIoOfFmMlLvVaA]|/(?:[bB][oO]|[tT][eE]|[sS][vV]|[mM][aA]|[hH][eE]|[^a-zA-Z>]))"
)
NAMED = re.compile(
    rb"<(?:(?P<text>script|style|textarea|title|noscript|noembed|noframes|iframe|xmp|plaintext)"
    rb"|(?P<template>(?P<closes>/?)template)|(?P<drawing>(?P<shuts>/?)(?:svg|math))|(?P<body>/body)|body|/head)" + NAME_END,
    re.IGNORECASE,
)
# Tags that a drawing does not have: an <svg> that was not closed ends with them (13.2.6.5). Not </p> and </br>, of which older
# parsers make something else.
_BREAKS_OUT = re.compile(
    rb"<(?:b|big|blockquote|body|br|center|code|dd|div|dl|dt|em|embed|h[1-6]|head|hr|i|img|li|listing|menu|meta|nobr|ol|p"
    rb"|pre|ruby|s|small|span|strong|strike|sub|sup|table|tt|u|ul|var)" + NAME_END,
    re.IGNORECASE,
)
_LEFT_OPEN = re.compile(rb"[<\"']")
_BEFORE_QUOTE = b"= \t\n\f\r"
#: A tag may have begun so many bytes before.
LONGEST_NAME = len("<blockquote>")


class Markup:
    """What is known of a document after :func:`read`; positions are those in the data that was read."""

    __slots__ = ("_depth", "_drawings", "_looked_at", "bodies", "end", "head", "is_open")

    def __init__(self) -> None:
        #: Where the ``</body`` tags are that are tags.
        self.bodies: list[int] = []
        #: Where ``</head`` is, or ``<body`` if that comes first; -1 if there is neither, or it was not asked for.
        self.head = -1
        #: The document ends in the middle of a comment, a script or the like: nothing can be added at its end.
        self.is_open = False
        #: Where something can be added at the end: before a tag that is not finished.
        self.end = 0
        self._depth = 0  # of templates
        # In an <svg> or <math> that is not closed a script is one of the drawing's, and does not run.
        self._drawings = 0
        self._looked_at = 0  # for what ends them: so far

    def take(self, data: bytes, start: int, named: re.Match[bytes] | None) -> int:
        """Take what begins here; return where markup goes on, or ``UNCLOSED`` or ``UNFINISHED`` if it does not."""
        if named is None:
            after = after_comment(data, start, is_foreign=self._is_in_drawing(data, start))
            self._looked_at = max(self._looked_at, after)  # a tag in a comment is none
            return after
        if named["text"]:
            name = named["text"].lower()
            # In a drawing their content is markup (13.2.6.5), but for a title's, which is HTML again: mostly text.
            if self._is_in_drawing(data, start) and (name != b"title" or is_empty(data, start)):
                return start
            return after_text(data, start, name)
        if named["template"]:
            self._depth = max(0, self._depth + (-1 if named["closes"] else 1))
        elif named["drawing"]:
            self._enter_drawing(data, start, shuts=bool(named["shuts"]))
        elif self._depth:
            pass  # what is in a template is no part of the page
        elif named["body"]:
            if not self._is_in_drawing(data, start):
                self.bodies.append(start)
        elif self.head < 0:
            self.head = start
        return start

    def ends(self, data: bytes, end: int, *, is_open: bool = False) -> Markup:
        """Write down how the document ends."""
        self.end, self.is_open = end, is_open or self._depth > 0 or self._is_in_drawing(data, end)
        return self

    def _enter_drawing(self, data: bytes, start: int, *, shuts: bool) -> None:
        inside = self._is_in_drawing(data, start)
        if shuts:
            self._drawings = max(0, self._drawings - 1)
        elif not is_empty(data, start):
            self._drawings = self._drawings + 1 if inside else 1
            self._looked_at = start + 1

    def _is_in_drawing(self, data: bytes, position: int) -> bool:
        if self._drawings and position > self._looked_at:
            if _BREAKS_OUT.search(data, self._looked_at, position):
                self._drawings = 0
            self._looked_at = max(self._looked_at, position - LONGEST_NAME)  # one may begin here
        return self._drawings > 0


def read(data: bytes, *, for_head: bool = False) -> Markup:
    """Read a document, from its beginning or from a place where no text is open."""
    found = Markup()
    pattern = _HEAD_PLACE if for_head else _PLACE
    known = look = 0  # no text is open at `known`; what is before `look` was looked at
    while True:
        place = pattern.search(data, look)
        start = place.start() if place else len(data)
        named = NAMED.match(data, start)
        if place and named is None and not _is_comment(data, start):
            look = start + 1  # another tag, such as <strong>
            continue
        after = _pass_tags(data, known, start) if may_be_in_tag(data, known, start) else start
        if after < 0:
            return found.ends(data, -after - 1)
        if after != start:
            known = look = after  # it stands in an attribute
            continue
        if place is None:
            return found.ends(data, start)
        known = found.take(data, start, named)
        if known < 0:
            return found.ends(data, start, is_open=known == UNCLOSED)
        if for_head and found.head >= 0:
            return found.ends(data, start)
        look = max(known, start + 1)


def _is_comment(data: bytes, start: int) -> bool:
    """Tell whether this is a comment, or what the standard takes for one: ``<!x>``, ``<?x>``, ``</ x>``."""
    after = data[start + 1 : start + 3]
    return after[:1] in (b"!", b"?") or (after[:1] == b"/" and after != b"/>" and not after[1:].isalpha())


def may_be_in_tag(data: bytes, known: int, position: int) -> bool:
    """Tell, from the few bytes before it, whether a position may be inside a tag that began after ``known``.

    In a tag it is either in a quoted value, and then the last quote of that kind is the one that opened it, after a "="; or
    outside of one, and then there is a "<" after the last ">", or a quote that belongs to a value with a ">" in it.
    """
    if data[position - 2 : position] != b">\n":  # mostly it is
        between = data[data.rfind(b">", known, position) + 1 or known : position]
        if between and not between.isspace() and _LEFT_OPEN.search(between):
            return True
    return may_be_in_value(data, known, position)


def may_be_in_value(data: bytes, known: int, position: int) -> bool:
    """Tell whether a position may be inside a quoted value of an attribute that began after ``known``."""
    last = data.rfind(b'"', known, position)
    if last > known and data[last - 1] in _BEFORE_QUOTE and _is_value(data, known, last):
        return True
    last = data.rfind(b"'", known, position)
    return last > known and data[last - 1] in _BEFORE_QUOTE and _is_value(data, known, last)


def _is_value(data: bytes, known: int, quote: int) -> bool:
    """Tell whether a quote may begin an attribute's value."""
    before = data[max(known, quote - 64) : quote].rstrip(b" \t\n\f\r")
    return not before or before.endswith(b"=")


def _pass_tags(data: bytes, known: int, position: int) -> int:
    """Return ``position``, or the end of the tag that it is in; ``-(start + 1)`` of that tag if it does not end."""
    at = known
    while (at := data.find(b"<", at, position)) >= 0:
        after = data[at + 1 : at + 3]
        if not (after[:1].isalpha() or (after[:1] == b"/" and after[1:].isalpha())):
            at += 1
            continue
        tag = TAG.match(data, at)
        if tag is None:
            return -(at + 1)
        at = tag.end()
        if at > position:
            return at
    return position
