"""Texts of visitors in logs and terminals: :func:`printable`."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return a text with escapes, such as ``\x9b``, for what does not print.

    An application may use fields of a form as names. NEL and U+2028 begin a line of a
    log, a C1 control is a terminal's command, and U+202E turns around what follows.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
