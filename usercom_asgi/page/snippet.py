"""The two script tags, as the vendor documents them (user.com, "JavaScript integration")."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# data-cfasync keeps Cloudflare's Rocket Loader from loading the two out of order.
_OPEN = '<script data-cfasync="false" type="text/javascript"'

# What ends a script or starts a comment in one. (U+2028 and U+2029, which ended lines in old JavaScript, are not ASCII.)
_ESCAPES = str.maketrans({"<": "\\u003C", ">": "\\u003E", "&": "\\u0026"})

# Runs before widget.js does, which takes a legacy localStorage entry before the cookie, wherever the cookie lives
# (design.md, "Reset, precisely", step 3). `k` is the new visitor's key, or "" while the widget is to make one.
_FORGET = """\
(function(k,homes){try{localStorage.removeItem("__ca__chat")}catch(e){}\
var m=document.cookie.match(/(?:^|;\\s*)__ca__chat=([^;]*)/);if(!m||m[1]===k)return;\
homes.forEach(function(d){document.cookie="__ca__chat=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT"+(d?"; domain="+d:"")});\
if(k)document.cookie="__ca__chat="+k+"; path=/; max-age=31536000; SameSite=Lax"+(homes[0]?"; domain="+homes[0]:"")\
})(%s,%s);"""


def to_script(value: object) -> str:
    """Return a JSON value as ASCII that can stand inside ``<script>`` and cannot leave it."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


def forget_script(key: str | None, homes: Iterable[str | None]) -> str:
    """Return the script that ends an old key before ``widget.js`` runs.

    ``key`` is the new visitor's, if it is known; ``homes`` are the domains that the cookie may live on, its own first.
    """
    return _FORGET % (to_script(key or ""), to_script(["" if home is None else home for home in homes]))


# A callback is looked up when it is called: the page may define its functions after this.
_CALLBACKS = """\
(function(c,p){Object.keys(p).forEach(function(n){c[n]=function(){\
var o,f=window;p[n].split(".").forEach(function(k){o=f;f=f==null?f:f[k]});\
if(typeof f==="function")return f.apply(o,arguments)}})})(window.civchat,%s);"""


def callbacks_script(callbacks: Mapping[str, str]) -> str:
    """Return the script that has the widget call functions of the page, which are named by dotted paths."""
    return _CALLBACKS % to_script(dict(callbacks)) if callbacks else ""


def render(
    settings: Mapping[str, object], widget_url: str, *, before: str = "", after: str = "", nonce: str | None = None
) -> bytes:
    """Return the snippet: ``window.civchat`` and the loader, in pure ASCII.

    ``settings`` becomes ``window.civchat``; ``before`` and ``after`` are script text that runs before and after
    that; ``nonce`` goes on both tags.
    """
    opening = f'{_OPEN} nonce="{escape(nonce)}"' if nonce else _OPEN
    civchat = f"window.civchat = {to_script(settings)};"
    loader = f'{opening} src="{escape(widget_url)}"></script>'
    return f"{opening}>{before}{civchat}{after}</script>{loader}".encode("ascii")
