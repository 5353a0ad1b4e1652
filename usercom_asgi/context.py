"""Where something was said: the page, the site, the visitor's browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from .pagecontext import PageContext
from .user_key import COOKIE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def _spelled(text: str) -> str:
    """Return the pattern of a text of which any character may be percent-encoded, and that again."""
    return "".join(f"(?:{re.escape(each)}|%(?:25)*{ord(each):02x})" for each in text)


_NAME = _spelled(COOKIE)
_STARTS, _ENDS = (f"(?:[{signs}]|%(?:25)*(?:{'|'.join(f'{ord(each):02x}' for each in signs)}))" for signs in ("?&;#", "&;#"))
_HAS_KEY = re.compile(_NAME, re.IGNORECASE)
_KEY_IN_URL = re.compile(f"({_STARTS}){_NAME}({_spelled('=')}(?:(?!{_ENDS})[^\\s])*)?({_ENDS})?", re.IGNORECASE)
_KEYS = re.compile(f"{COOKIE}=([A-Za-z0-9]{{1,64}})")
_PATH = "/:@!$&'()*+,;=~-._"
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


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
    """Take ``__ca__chat`` out, at any depth: it opens the visitor's chat, and addresses end in logs."""
    if not holds_key(url):
        return url
    url = _KEY_IN_URL.sub(_rest, url).rstrip("?&;#")
    found = _HAS_KEY.search(url)
    return url if found is None else url[: found.start()]  # as no parameter: nothing of it goes out


def _rest(found: re.Match[str]) -> str:
    """Return what stays of a parameter's two ends: one of them, and that of the outer address where they are not of one."""
    start, end = found[1], found[3]
    return start if end and len(end) == len(start) and not end.endswith(("#", "23")) else end or ""


def holds_key(url: str) -> bool:
    """Tell whether an address names a user key, as a parameter or inside another address that is one."""
    return COOKIE in url or ("%" in url and _HAS_KEY.search(url) is not None)


def keys_in(url: str) -> Iterator[str]:
    """Yield the user keys that an address names."""
    while COOKIE in url or "%" in url:
        yield from _KEYS.findall(url)
        url, before = unquote(url), url
        if url == before:
            return
