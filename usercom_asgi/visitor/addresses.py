"""Addresses of pages: the site that a request is for, and URLs without user keys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from ..core.envelope import PageContext
from ..core.log import warn_once
from ..core.user_key import COOKIE
from .cookies import widget_domain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def _encoded_pattern(text: str) -> str:
    """Return a pattern for a text with any number of percent-encodings per character."""
    return "".join(f"(?:{re.escape(each)}|%(?:25)*{ord(each):02x})" for each in text)


_NAME = _encoded_pattern(COOKIE)
_STARTS, _ENDS = (
    f"(?:[{signs}]|%(?:25)*(?:{'|'.join(f'{ord(each):02x}' for each in signs)}))"
    for signs in ("?&;#", "&;#")
)
_HAS_KEY = re.compile(_NAME, re.IGNORECASE)
_KEY_IN_URL = re.compile(
    f"({_STARTS}){_NAME}({_encoded_pattern('=')}(?:(?!{_ENDS})[^\\s])*)?({_ENDS})?", re.IGNORECASE
)
_NESTED = re.compile("%(?:25)+")
_MAX_DEPTH = 5
_KEYS = re.compile(f"{COOKIE}=([A-Za-z0-9]{{1,64}})")
_PATH = "/:@!$&'()*+,;=~-._"
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class PublicSite(NamedTuple):
    """The address that browsers have of the site, without a path."""

    scheme: str
    authority: str

    @classmethod
    def parse(cls, origin: str) -> PublicSite:
        """Return the site of an origin such as ``https://shop.example.com``."""
        scheme, _, authority = origin.partition("://")
        return cls(scheme, authority)


def page_context(
    headers: Iterable[tuple[bytes, bytes]],
    method: str,
    site: PublicSite,
    path: str,
    query: bytes,
) -> PageContext:
    """Return the page that a request belongs to, without user keys.

    For a POST it is the referrer, because a form is sent from the page that shows it.
    The user agent is limited to printable ASCII, because it is sent on as a header.
    """
    given = {
        name: value.decode("latin-1")
        for name, value in headers
        if name in (b"referer", b"user-agent")
    }
    url = f"{site.scheme}://{site.authority}{quote(path, safe=_PATH)}" + (
        f"?{query.decode('latin-1')}" if query else ""
    )
    domain, referrer = host_name(site.authority), without_key(given.get(b"referer", ""))
    if method not in ("", "GET", "HEAD") and _host(referrer) == domain:
        url, referrer = referrer, ""
    agent = _UNPRINTABLE.sub("", given.get(b"user-agent", "")).strip()
    return PageContext(url=without_key(url), domain=domain, referrer=referrer, user_agent=agent)


def host_name(authority: str) -> str:
    """Return the host of a ``Host`` header, in lower case and without the port."""
    host, colon, port = authority.rpartition(":")
    return (host if colon and port.isdigit() else authority).lower()


def warn_if_replaced(site: PublicSite, headers: Mapping[bytes, bytes]) -> None:
    """Warn if the browser names another site than the request does, as behind a proxy.

    Another site may be the referrer of a click, so the browser or the proxy
    has to agree.
    """
    texts = (headers.get(name, b"").decode("latin-1") for name in (b"origin", b"referer"))
    named = next(filter(_host, texts), "")
    name, host = _host(named), host_name(site.authority)
    loses_tls = name == host and named.startswith("https:") and site.scheme == "http"
    if name is None or (name == host and not loses_tls):
        return
    if headers.get(b"sec-fetch-site") == b"same-origin" or _forwarded_host(headers) == name:
        warn_once(
            "site_mismatch",
            "The browser's Origin or Referer names another host or scheme than the request, as "
            "behind a proxy: cookies and page addresses are for the wrong site. Set "
            "UserComConfig(site='https://shop.example.com') to the public address, or let the "
            "proxy pass Host on and the server trust its X-Forwarded-Proto",
        )


def is_from_another_site(site: PublicSite, headers: Mapping[bytes, bytes]) -> bool:
    """Return whether the referrer is another site, for a browser without ``Sec-Fetch-Site``.

    A host that a proxy has put in is no name to compare with.
    """
    referrer = _host(headers.get(b"referer", b"").decode("latin-1"))
    domain = widget_domain(host_name(site.authority))
    if not referrer or domain is None or referrer == _forwarded_host(headers):
        return False
    return (widget_domain(referrer) or referrer) != domain


def _forwarded_host(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"x-forwarded-host", b"").decode("latin-1")
    return host_name(given.partition(",")[0].strip())


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def without_key(url: str) -> str:
    """Return a URL without ``__ca__chat``, at any depth of encoding.

    The key opens the visitor's chat, and URLs end up in logs.
    """
    if not holds_key(url):
        return url
    url = _KEY_IN_URL.sub(_rest, url).rstrip("?&;#")
    found = _HAS_KEY.search(url)
    # A key in a place where no parameter can stand: cut the URL off before it.
    return url if found is None else url[: found.start()]


def _rest(found: re.Match[str]) -> str:
    """Return the one separator that stays when a parameter is cut out.

    If the two separators have different encodings, it is the one of the outer URL.
    """
    start, end = found[1], found[3]
    return start if end and len(end) == len(start) and not end.endswith(("#", "23")) else end or ""


def holds_key(url: str) -> bool:
    """Return whether a URL holds a user key, at any depth of encoding."""
    return COOKIE in url or ("%" in url and _HAS_KEY.search(url) is not None)


def keys_in(url: str) -> Iterator[str]:
    """Yield the user keys in a URL, at any depth of encoding.

    Nested percent signs (``%2525``) are one level, so that a client cannot choose
    how often its URL is decoded.
    """
    url = _NESTED.sub("%", url)
    for _ in range(_MAX_DEPTH):
        yield from _KEYS.findall(url)
        url, before = _NESTED.sub("%", unquote(url)), url
        if url == before:
            return
