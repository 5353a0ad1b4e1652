"""Texts of visitors in logs and terminals."""

from __future__ import annotations

import re

# In a name: an address, a number such as that of a phone, or a key.
_DATA = re.compile(r"@|\d{5}|[^\W_]{24}|.{65}", re.DOTALL)
_WORD = re.compile(r"[a-z][a-z_-]{0,23}")
_HIDDEN = "..."


def printable(text: str) -> str:
    r"""Return a text with escapes, such as ``\x9b``, for what does not print.

    An application may use fields of a form as names. NEL and U+2028 begin a line of a
    log, a C1 control is a terminal's command, and U+202E turns around what follows.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def shown_name(name: str) -> str:
    """Return the name of an event, an attribute or a field for a log.

    One that looks like data is hidden, such as that of ``{"ann@example.com": True}``.
    """
    return _HIDDEN if _DATA.search(name) else printable(name)


def shown_path(path: str) -> str:
    """Return the path of a request for a log: its first part, if that is a word.

    The rest may hold an e-mail address, or the token of a link that resets a password.
    """
    first, slash, rest = path.removeprefix("/").partition("/")
    if first and not _WORD.fullmatch(first):
        first = _HIDDEN
    return f"/{first}{slash}{_HIDDEN if rest else ''}"
