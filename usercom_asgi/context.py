"""Where something was said: the page, the site, the visitor's browser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import URL

from .identity import COOKIE

if TYPE_CHECKING:
    from starlette.types import Scope

_KEY_IN_URL = re.compile(r"(?<=[?&])__ca__chat=[^&#]*&?")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PageContext:
    """Where it was said: the page's address (free of ``__ca__chat``), the site's host, and the visitor's browser."""

    url: str = ""
    domain: str = ""
    referrer: str = ""
    user_agent: str = ""


def page_context(scope: Scope) -> PageContext:
    """Return where a request comes from, as User.com is told: free of user keys and of what no header can hold."""
    headers = {name: value for name, value in scope["headers"] if name in (b"referer", b"user-agent")}
    url = URL(scope=scope)
    agent = headers.get(b"user-agent", b"").decode("latin-1")
    if url.scheme in ("ws", "wss"):
        url = url.replace(scheme="https" if url.scheme == "wss" else "http")
    return PageContext(
        url=without_key(str(url)),
        domain=url.hostname or "",
        referrer=without_key(headers.get(b"referer", b"").decode("latin-1")),
        user_agent=_UNPRINTABLE.sub("", agent),
    )


def without_key(url: str) -> str:
    """Take ``?__ca__chat=`` out: it opens the visitor's chat, and addresses end in logs."""
    return _KEY_IN_URL.sub("", url).rstrip("?&") if COOKIE in url else url
