"""The two script tags, as the vendor documents them (user.com, "JavaScript integration"), and what runs beside them."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from ..core.user_key import BRIDGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# data-cfasync keeps Cloudflare's Rocket Loader from loading the two out of order.
_OPEN = '<script data-cfasync="false" type="text/javascript"'

# What ends a script or starts a comment in one. (U+2028 and U+2029, which ended lines in old JavaScript, are not ASCII.)
_ESCAPES = str.maketrans({"<": "\\u003C", ">": "\\u003E", "&": "\\u0026"})

# One for all pages: `json.dumps` makes one each time where it is told how to write.
_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode

#: The header of an answer that the bridge hears.
BRIDGE_HEADER = "usercom-commands"


def _function(name: str) -> str:
    """Read a function of the folder ``js``, without the comments and the indentation that are for its reader."""
    text = files("usercom_asgi.page").joinpath("js", name).read_text("ascii")
    lines = (line.strip().partition(" // ")[0] for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


_FORGET, _CALLBACKS, _USERCOM, _BRIDGE = map(
    _function, ("forget.js", "callbacks.js", "usercom.js", "bridge.js")
)


def to_script(value: object) -> str:
    """Return a JSON value as ASCII that can stand inside ``<script>`` and cannot leave it."""
    return _encode(value).translate(_ESCAPES)


def forget_script(key: str | None, homes: Iterable[str | None]) -> str:
    """Return the script that ends an old key before ``widget.js`` runs.

    ``key`` is the new visitor's, if it is known; ``homes`` are the domains that the cookie may live on, its own first.
    """
    return f"{_FORGET}({to_script(key or '')},{to_script(['' if home is None else home for home in homes])});"


def callbacks_script(callbacks: Mapping[str, str]) -> str:
    """Return the script that has the widget call functions of the page, which are named by dotted paths."""
    return f"{_CALLBACKS}(window.civchat,{to_script(dict(callbacks))});" if callbacks else ""


def usercom_script(
    origin: str,
    domain: str | None = None,
    epoch: str | None = None,
    *,
    is_answer: bool = False,
    bridge: bool = False,
) -> str:
    """Return the script that defines ``window.usercom``, and ``userengage`` until the widget does.

    ``origin`` is User.com's, ``domain`` the configured one of the visitor's cookie. ``epoch`` names the identity that a page
    with a person's data is made for: where the browser has another one, the page stays silent. ``is_answer`` if a form was
    sent for the page, which must not be sent again.
    """
    arguments = to_script([origin, domain or "", epoch, is_answer])[1:-1]
    hears = (
        f"{_BRIDGE}(window,{to_script(BRIDGE.decode())},{to_script(BRIDGE_HEADER)});"
        if bridge
        else ""
    )
    return f"{_USERCOM}(window,{arguments});{hears}"


def commands_script(commands: Sequence[Sequence[object]]) -> str:
    """Return the script that says these commands to the widget: each is its id, a function's name, and the arguments."""
    return f"usercom.run({to_script(commands)});" if commands else ""


def render(
    settings: Mapping[str, object],
    widget_url: str,
    *,
    before: str = "",
    after: str = "",
    nonce: str | None = None,
) -> bytes:
    """Return the snippet: ``window.civchat`` and the loader, in pure ASCII.

    ``settings`` becomes ``window.civchat``; ``before`` and ``after`` are script text that runs before and after
    that; ``nonce`` goes on both tags.
    """
    civchat = f"window.civchat = {to_script(settings)};"
    # async, as many sites load it: a User.com that hangs must not hold up the page's DOMContentLoaded.
    loader = f'{_OPEN} async src="{escape(widget_url)}"></script>'
    snippet = f"{_OPEN}>{before}{civchat}{after}</script>{loader}".encode("ascii")
    return with_nonce(snippet, nonce) if nonce else snippet


def with_nonce(snippet: bytes, nonce: str) -> bytes:
    """Return a snippet whose tags bear this nonce; there is no other such tag in it, since what is in a script is escaped."""
    return snippet.replace(_OPEN.encode(), f'{_OPEN} nonce="{escape(nonce)}"'.encode("ascii"))
