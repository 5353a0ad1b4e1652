"""Patterns of the HTML tokenizer: tags, and the ends of raw text and comments."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The bytes that end a tag's name.
NAME_ENDS = b"\t\n\f\r />"
NAME_END = rb"(?=[" + NAME_ENDS + rb"])"
# A tag with its attributes (13.2.5.32 to 40): a quote counts only after "=". No match
# if it does not end.
_NAME = rb"</?[a-zA-Z][^\t\n\f\r />]*+"
_SPACE = rb"[\t\n\f\r ]"
_ATTRIBUTE_NAME = rb"[^\t\n\f\r />][^\t\n\f\r />=]*+"
_EQUALS = _SPACE + rb"*+=" + _SPACE + rb"*+"
_VALUE = rb"\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r >\"'][^\t\n\f\r >]*+|(?=>)"
_NO_VALUE = rb"(?!" + _SPACE + rb"*+=)"
#: What follows a tag's name: its attributes, and the end.
TAG_REST = (
    rb"(?:[\t\n\f\r /]++|"
    + _ATTRIBUTE_NAME
    + rb"(?:"
    + _EQUALS
    + rb"(?:"
    + _VALUE
    + rb")|"
    + _NO_VALUE
    + rb"))*+>"
)
TAG = re.compile(_NAME + TAG_REST)
_TAG_NAME = re.compile(_NAME)
_PART = re.compile(
    rb"(?P<space>[\t\n\f\r /]++)|"
    rb"(?P<name>"
    + _ATTRIBUTE_NAME
    + rb")(?:"
    + _EQUALS
    + rb"(?P<value>"
    + _VALUE
    + rb")|"
    + _NO_VALUE
    + rb")"
)
_OPEN_VALUE = re.compile(_ATTRIBUTE_NAME + _EQUALS + rb"(?P<quote>[\"'])")
SCRIPT = re.compile(rb"<!--|-->|<(/?)script" + NAME_END, re.IGNORECASE)
#: The elements whose content is text in HTML.
RAW_TEXT_ELEMENTS = frozenset(
    b"script style textarea title noscript noembed noframes iframe xmp plaintext".split()
)
#: The end tags of those that end with the first one. A script may not, and
#: plaintext never ends.
RAW_TEXT_ENDS = {
    name: re.compile(b"</" + name + NAME_END, re.IGNORECASE)
    for name in RAW_TEXT_ELEMENTS - {b"script", b"plaintext"}
}
_COMMENT_END = re.compile(rb"--!?>")
_CDATA = b"<![CDATA["
# A longer beginning of a tag is shortened.
_LONG = 1024


def after_comment(data: bytes, start: int, *, has_cdata: bool = False) -> int:
    """Return the end of a comment or a bogus comment; -1 if the data ends before."""
    if data.startswith(b"<!--", start):
        found = _COMMENT_END.search(data, start + 2)
        if found and found[0] == b"--!>" and found.start() < start + 4:
            found = _COMMENT_END.search(data, start + 4)
        return found.end() if found else -1
    begun = data[start : start + len(_CDATA)]
    if has_cdata and begun == _CDATA:
        end = data.find(b"]]>", start + len(_CDATA))
        return end + 3 if end >= 0 else -1
    if begun == b"<!-" or (has_cdata and len(begun) < len(_CDATA) and _CDATA.startswith(begun)):
        return -1  # the data ends in what may become "<!--" or "<![CDATA["
    return data.find(b">", start + 2) + 1 or -1


def attributes(tag: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the names, in lower case, and the values of a complete tag's attributes."""
    for part in _parts(tag):
        if part["name"] is not None:
            value = part["value"] or b""
            yield part["name"].lower(), value[1:-1] if value[:1] in (b'"', b"'") else value


def is_self_closing(tag: bytes) -> bool:
    """Return True if a complete tag is written as ``<x/>``.

    The slash of ``<x a=b/>`` belongs to the value.
    """
    if not tag.endswith(b"/>"):
        return False
    *_, last = _parts(tag)
    return last["space"] is not None


def _parts(tag: bytes) -> Iterator[re.Match[bytes]]:
    named = _TAG_NAME.match(tag)
    at = named.end() if named else len(tag)
    while (part := _PART.match(tag, at)) is not None and part.end() > at:
        yield part
        at = part.end()


def shortened(begun: bytes, *, has_cdata: bool = False) -> bytes:
    """Return a short text with the same effect as the beginning of a tag or comment.

    A stream holds on to this between its chunks, so an attribute of any length
    takes little memory.
    """
    if len(begun) <= len(_CDATA) + 3:
        return begun
    if begun.startswith(b"<!--"):
        return b"<!-- " + begun[-3:]
    if has_cdata and begun.startswith(_CDATA):
        return _CDATA + begun[-2:]
    named = _TAG_NAME.match(begun)
    if named is None:
        return b"<?"
    if len(begun) <= _LONG:
        return begun
    at = end = named.end()
    for part in _parts(begun):
        end = part.end()
        if part["name"] is not None and not part["value"]:
            at = part.start()  # a "=" may follow
        elif part["value"] and (end < len(begun) or part["value"][:1] in (b'"', b"'")):
            at = end  # a value without quotes may go on at the end
    opened = _OPEN_VALUE.match(begun, end)
    return begun[: named.end()] + b" " + begun[at:end] + (opened[0] if opened else begun[end:])
