"""Where something was said: the page, the site, the visitor's browser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import URL

from .identity import COOKIE

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEY_IN_URL = re.compile(r"(?<=[?&])__ca__chat=[^&#]*&?")
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
    given = {name: value for name, value in headers if name in (b"host", b"referer", b"user-agent")}
    scheme = {"ws": "http", "wss": "https"}.get(scheme, scheme)
    parts = {"scheme": scheme, "server": server, "path": path, "query_string": query, "headers": list(given.items())}
    address = URL(scope=parts)
    url, domain = without_key(str(address)), address.hostname or ""
    referrer = without_key(given.get(b"referer", b"").decode("latin-1"))
    if method not in (None, "GET", "HEAD") and _host(referrer) == domain:
        url, referrer = referrer, ""
    agent = _UNPRINTABLE.sub("", given.get(b"user-agent", b"").decode("latin-1"))
    return PageContext(url=url, domain=domain, referrer=referrer, user_agent=agent)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def without_key(url: str) -> str:
    """Take ``?__ca__chat=`` out: it opens the visitor's chat, and addresses end in logs."""
    return _KEY_IN_URL.sub("", url).rstrip("?&") if COOKIE in url else url
