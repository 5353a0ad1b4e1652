"""The widget's two script tags, as User.com documents them, and our scripts."""

from __future__ import annotations

import json
from functools import lru_cache
from html import escape
from pkgutil import get_data
from typing import TYPE_CHECKING, cast

from ..core.user_key import BRIDGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# data-cfasync stops Cloudflare's Rocket Loader from loading the two tags out of order.
_OPEN = '<script data-cfasync="false" type="text/javascript"'

# Shared, because `json.dumps` makes a new encoder for each call with these options.
_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode

#: The response header from which the bridge takes commands.
BRIDGE_HEADER = "usercom-commands"


def _function(name: str) -> str:
    """Return a function of the folder ``js`` without its comments and indentation."""
    # Not by `importlib.resources`, whose import takes 5 ms and brings `zipfile`.
    text = cast("bytes", get_data("usercom_asgi.page", f"js/{name}")).decode("ascii")
    lines = (line.strip().partition(" // ")[0] for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


_FORGET, _CALLBACKS, _USERCOM, _SWAPS, _BRIDGE = map(
    _function, ("forget.js", "callbacks.js", "usercom.js", "swaps.js", "bridge.js")
)


def to_script(value: object) -> str:
    """Return a value as ASCII JSON that is safe inside ``<script>``.

    Escaped are the characters that could end a script or start a comment in it. JSON
    escapes U+2028 and U+2029, which ended lines in old JavaScript, because they are
    not ASCII.
    """
    # Not by `translate`, which takes 35,000 instructions more for a user (callgrind).
    text = _encode(value).replace("<", "\\u003C")
    return text.replace(">", "\\u003E").replace("&", "\\u0026")


def forget_script(key: str | None, homes: Iterable[str | None]) -> str:
    """Return the script that removes an old user key before ``widget.js`` runs.

    ``key`` is the new visitor's key, if it is known. ``homes`` are the domains that the
    cookie may be set for, its own first.
    """
    return f"{_FORGET}({to_script(key or '')},{to_script(['' if home is None else home for home in homes])});"


def callbacks_script(callbacks: Mapping[str, str]) -> str:
    """Return the script that lets the widget call functions of the page."""
    return f"{_CALLBACKS}(window.civchat,{to_script(dict(callbacks))});" if callbacks else ""


def usercom_script(
    origin: str,
    domain: str | None = None,
    epoch: str | None = None,
    *,
    is_answer: bool = False,
    bridge: bool = False,
) -> str:
    """Return the script that defines ``window.usercom``, and a stub of ``userengage``.

    It also keeps the chat where a library swaps the body.

    Args:
        origin: The origin of User.com.
        domain: The configured domain of the visitor's cookie.
        epoch: The identity that a page with a visitor's data is made for. In a browser
            with another identity the page sends nothing.
        is_answer: True if the page is the response to a form, which must not
            be sent again.
        bridge: Add the script that takes commands from responses to ``fetch``.

    """
    before, after = _usercom_parts(origin, domain or "", bridge=bridge)
    made_for = "null" if epoch is None else to_script(epoch)
    return f"{before}{made_for},{'true' if is_answer else 'false'}{after}"


@lru_cache(16)
def _usercom_parts(origin: str, domain: str, *, bridge: bool) -> tuple[str, str]:
    """Return the script's parts around the arguments that depend on the request.

    They follow from the configuration alone, so the cache holds no visitor's data.
    """
    bridge_call = (
        f"{_BRIDGE}(window,{to_script(BRIDGE.decode())},{to_script(BRIDGE_HEADER)});"
        if bridge
        else ""
    )
    before = f"{_USERCOM}(window,{to_script(origin)},{to_script(domain)},"
    return before, f");{_SWAPS}(window);{bridge_call}"


def commands_script(commands: Sequence[Sequence[object]]) -> str:
    """Return the script that runs commands: id, function name and arguments."""
    return f"usercom.run({to_script(commands)});" if commands else ""


def render(
    settings: Mapping[str, object],
    widget_url: str,
    *,
    before: str = "",
    after: str = "",
    nonce: str | None = None,
) -> bytes:
    """Return the snippet as ASCII: ``window.civchat`` and the loader.

    ``settings`` becomes ``window.civchat``. ``before`` and ``after`` are scripts that
    run before and after it is set. ``nonce`` goes on both tags.
    """
    civchat = f"window.civchat = {to_script(settings)};"
    # async, because a slow User.com must not delay the page's DOMContentLoaded.
    loader = f'{_OPEN} async src="{escape(widget_url)}"></script>'
    snippet = f"{_OPEN}>{before}{civchat}{after}</script>{loader}".encode("ascii")
    return with_nonce(snippet, nonce) if nonce else snippet


def with_nonce(snippet: bytes, nonce: str) -> bytes:
    """Return the snippet with this nonce on both tags.

    The text of a tag occurs nowhere else, because ``<`` is escaped inside scripts.
    """
    return snippet.replace(_OPEN.encode(), f'{_OPEN} nonce="{escape(nonce)}"'.encode("ascii"))


def nonce_of(snippet: bytes) -> str | None:
    """Return the nonce on the snippet's tags; None without one."""
    opened, name = _OPEN.encode(), b' nonce="'
    if not snippet.startswith(opened + name):
        return None
    start = len(opened) + len(name)
    return snippet[start : snippet.index(b'"', start)].decode("ascii")
