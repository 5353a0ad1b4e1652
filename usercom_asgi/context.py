"""Where something was said: the page, the site, the visitor's browser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from .identity import COOKIE

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEY_IN_URL = re.compile(r"(?<=[?&])__ca__chat=[^&#]*&?")
_PATH = "/:@!$&'()*+,;=~-._"
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PageContext:
    """Where it was said: the page's address (free of ``__ca__chat``), the site's host, and the visitor's browser."""

    url: str = ""
    domain: str = ""
    referrer: str = ""
    user_agent: str = ""


def page_context(
    headers: Iterable[tuple[bytes, bytes]],
    method: str | None,
    scheme: str,
    server: tuple[str, int | None] | None,
    path: str,
    query: bytes,
) -> PageContext:
    """Return where a request comes from, as User.com is told: free of user keys and of what no header can hold.

    A form is sent from the page that it stands on: for a POST that page, the referrer, is where it was said.
    """
    given = {name: value.decode("latin-1") for name, value in headers if name in (b"host", b"referer", b"user-agent")}
    authority = given.get(b"host") or ((server or ("",))[0])
    scheme = {"ws": "http", "wss": "https"}.get(scheme, scheme)
    url = f"{scheme}://{authority}{quote(path, safe=_PATH)}" + (f"?{query.decode('latin-1')}" if query else "")
    domain, referrer = host_name(authority), without_key(given.get(b"referer", ""))
    if method not in (None, "GET", "HEAD") and _host(referrer) == domain:
        url, referrer = referrer, ""
    agent = _UNPRINTABLE.sub("", given.get(b"user-agent", "")).strip()
    return PageContext(url=without_key(url), domain=domain, referrer=referrer, user_agent=agent)


def host_name(authority: str) -> str:
    """Return the host of a ``Host`` header, in lower case and without its port."""
    host, colon, port = authority.rpartition(":")
    return (host if colon and port.isdigit() else authority).lower()


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def without_key(url: str) -> str:
    """Take ``?__ca__chat=`` out: it opens the visitor's chat, and addresses end in logs."""
    return _KEY_IN_URL.sub("", url).rstrip("?&") if COOKIE in url else url
