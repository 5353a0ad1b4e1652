"""Text that only looks like markup, in some elements and in comments, and where it ends."""

from __future__ import annotations

import re

#: The bytes that end a tag's name.
NAME_ENDS = b"\t\n\f\r />"
NAME_END = rb"(?=[" + NAME_ENDS + rb"])"
# A tag with its attributes (13.2.5.32 to 40): a quote counts only after "=". No match if it does not end.
_SPACE = rb"[\t\n\f\r ]"
_VALUE = rb"\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r >\"'][^\t\n\f\r >]*+|(?=>)"
TAG = re.compile(
    rb"</?[a-zA-Z][^\t\n\f\r />]*+"
    rb"(?:[\t\n\f\r /]++"
    rb"|[^\t\n\f\r />][^\t\n\f\r />=]*+"
    rb"(?:" + _SPACE + rb"*+=" + _SPACE + rb"*+(?:" + _VALUE + rb")|(?!" + _SPACE + rb"*+=))"
    rb")*+>"
)
_SCRIPT = re.compile(rb"<!--|-->|<(/?)script" + NAME_END, re.IGNORECASE)
_ENDS = {
    name: re.compile(b"</" + name + NAME_END, re.IGNORECASE)
    for name in (b"style", b"textarea", b"title", b"noscript", b"noembed", b"noframes", b"iframe", b"xmp")
}
_COMMENT_END = re.compile(rb"--!?>")
UNCLOSED, UNFINISHED = -1, -2


def after_text(data: bytes, start: int, name: bytes) -> int:
    """Return where the text of an element ends whose content is no markup; negative if it does not."""
    tag = TAG.match(data, start)
    if tag is None:
        return UNFINISHED
    if name == b"plaintext":
        return UNCLOSED
    if name == b"script":
        return _after_script(data, tag.end())
    end = _ENDS[name].search(data, tag.end())
    tag = TAG.match(data, end.start()) if end else None
    return tag.end() if tag else UNCLOSED


def _after_script(data: bytes, position: int) -> int:
    """A script in a comment in a script does not end the script (13.2.5.17 to 31)."""
    is_comment = is_nested = False
    while (found := _SCRIPT.search(data, position)) is not None:
        position = found.end()
        token = found[0]
        if token == b"<!--":
            is_comment = True
            position -= 2  # "<!-->" ends at once
        elif token == b"-->":
            is_comment = is_nested = False
        elif not found[1]:
            is_nested = is_comment
        elif is_nested:
            is_nested = False
        else:
            tag = TAG.match(data, found.start())
            return tag.end() if tag else UNCLOSED
    return UNCLOSED


def after_comment(data: bytes, start: int, *, is_foreign: bool) -> int:
    """Return where a comment ends, or what the standard takes for one; negative if it does not."""
    if data.startswith(b"<!--", start):
        end = _COMMENT_END.search(data, start + 2)
        if end and end[0] == b"--!>" and end.start() < start + 4:
            end = _COMMENT_END.search(data, start + 4)
        return end.end() if end else UNCLOSED
    if is_foreign and data.startswith(b"<![CDATA[", start):
        found = data.find(b"]]>", start + 9)
        return found + 3 if found >= 0 else UNCLOSED
    found = data.find(b">", start + 2)
    return found + 1 if found >= 0 else UNCLOSED


def is_empty(data: bytes, start: int) -> bool:
    """Tell whether a tag is written as ``<x/>``, which means something in a drawing or a formula only."""
    tag = TAG.match(data, start)
    return tag is not None and tag[0].endswith(b"/>")
