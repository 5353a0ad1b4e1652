"""Data of one request: cookies, page address, and how the browser asked for it."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from ..core.envelope import PageContext
from ..core.user_key import BRIDGE, COOKIE, ResetMarker, is_user_key
from .cookies import EPOCH_COOKIE, RESET_COOKIE, Epoch, read_cookies
from .signed_cookies import FLASH_COOKIE, FLASH_HOST_COOKIE, IDENTITY_COOKIE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from starlette.types import Scope


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
    """Return the page that a request belongs to, without user keys.

    For a POST it is the referrer, because a form is sent from the page that shows it. The
    user agent is limited to printable ASCII, because it is sent on as a header.
    """
    given = {
        name: value.decode("latin-1")
        for name, value in headers
        if name in (b"host", b"referer", b"user-agent")
    }
    authority = given.get(b"host") or ((server or ("",))[0])
    scheme = {"ws": "http", "wss": "https"}.get(scheme, scheme)
    url = f"{scheme}://{authority}{quote(path, safe=_PATH)}" + (
        f"?{query.decode('latin-1')}" if query else ""
    )
    domain, referrer = host_name(authority), without_key(given.get(b"referer", ""))
    if method not in (None, "GET", "HEAD") and _host(referrer) == domain:
        url, referrer = referrer, ""
    agent = _UNPRINTABLE.sub("", given.get(b"user-agent", "")).strip()
    return PageContext(url=without_key(url), domain=domain, referrer=referrer, user_agent=agent)


def host_name(authority: str) -> str:
    """Return the host of a ``Host`` header, in lower case and without the port."""
    host, colon, port = authority.rpartition(":")
    return (host if colon and port.isdigit() else authority).lower()


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
    """Yield the user keys in a URL, at any depth of encoding."""
    while COOKIE in url or "%" in url:
        yield from _KEYS.findall(url)
        url, before = unquote(url), url
        if url == before:
            return


_RESET_BYTES = RESET_COOKIE.encode()
_FLASH_BYTES = FLASH_COOKIE.encode()
_WINDOWS = (b"document", b"iframe", b"frame")


class RequestInfo:
    """Data of a request or websocket, parsed when it is first needed.

    It does not keep the scope: the scope holds the visitor, and the garbage collector would
    have to break that cycle at every request.
    """

    __slots__ = (
        "_by_name",
        "_client",
        "_cookies",
        "_method",
        "_page",
        "_query",
        "_raw_headers",
        "_scheme",
        "_server",
        "path",
    )

    def __init__(self, scope: Scope) -> None:
        self._raw_headers = scope["headers"]
        self._method = scope.get("method")
        self._scheme = scope.get("scheme", "http")
        self._server = scope.get("server")
        self._client = scope.get("client")
        #: The path of the URL, decoded.
        self.path: str = scope["path"]
        self._query = scope.get("query_string", b"")
        self._cookies: dict[str, list[str]] | None = None
        self._by_name: dict[bytes, bytes] | None = None
        self._page: PageContext | None = None

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """Headers by lower-case name; of several with one name, the last."""
        if self._by_name is None:
            self._by_name = dict(self._raw_headers)
        return self._by_name

    @property
    def is_websocket(self) -> bool:
        """True for a websocket."""
        return self._method is None

    def page(self) -> PageContext:
        """Return the page that this request belongs to."""
        if self._page is None:
            self._page = page_context(
                self._raw_headers, self._method, self._scheme, self._server, self.path, self._query
            )
        return self._page

    @property
    def host(self) -> str:
        """Host name of the site, as the browser sent it."""
        return host_name(self.headers.get(b"host", b"").decode("latin-1"))

    @property
    def is_secure(self) -> bool:
        """True on https."""
        return self._scheme in ("https", "wss")

    @property
    def is_form(self) -> bool:
        """True if reloading the page would submit a form again."""
        return self._method not in ("GET", "HEAD")

    # How the browser asks for it.

    @property
    def is_navigation(self) -> bool:
        """True if a window shows the response; False for scripts and prefetches.

        Turbo and boosted links of htmx count, because they run the scripts of the page that
        they fetch. So does a request without ``Sec-Fetch-Dest``: browsers send none over http.
        """
        headers = self.headers
        default = b"" if self.uses_bridge else b"document"
        is_shown = headers.get(b"sec-fetch-dest", default) in _WINDOWS or self.is_page_swap
        return self._method != "HEAD" and is_shown and not self.is_prefetch

    @property
    def is_prefetch(self) -> bool:
        """True if the browser or Turbo fetches the page before anyone opens it."""
        headers = self.headers
        return any(
            b"prefetch" in headers.get(name, b"") for name in (b"sec-purpose", b"x-sec-purpose")
        )

    @property
    def is_htmx(self) -> bool:
        """True if htmx asks for a part of the page, so that it reads ``HX-Trigger``."""
        headers = self.headers
        is_whole = headers.get(b"hx-boosted") == b"true" or b"hx-history-restore-request" in headers
        return headers.get(b"hx-request") == b"true" and not is_whole and not self.is_prefetch

    @property
    def uses_bridge(self) -> bool:
        """True if the script of ``bridge=True`` sent the request, and reads our header."""
        return BRIDGE in self.headers.get(b"accept", b"") and not self.is_prefetch

    @property
    def is_page_swap(self) -> bool:
        """True if Turbo or htmx puts the page in the place of the one that is shown."""
        return self.headers.get(b"hx-boosted") == b"true" or b"x-turbo-request-id" in self.headers

    @property
    def has_running_widget(self) -> bool:
        """True if the page that asks stays, and so does its widget.

        Only that widget can end the chat that it shows.
        """
        return (self.is_htmx or self.uses_bridge or self.is_page_swap) and not self.is_prefetch

    # Cookies and keys.

    @property
    def are_cookies_parsed(self) -> bool:
        """True once a cookie was read."""
        return self._cookies is not None

    def read_cookie(self, name: str) -> str | None:
        """Return the value of one of our cookies; of several, the first."""
        values = self.cookie_values(name)
        return values[0] if values else None

    def cookie_values(self, name: str) -> Sequence[str]:
        """Return all values of one of our cookies: it may be set for two domains or paths."""
        if self._cookies is None:
            self._cookies = read_cookies(
                self._raw_headers,
                COOKIE,
                RESET_COOKIE,
                EPOCH_COOKIE,
                IDENTITY_COOKIE,
                FLASH_COOKIE,
                FLASH_HOST_COOKIE,
            )
        return self._cookies.get(name, ())

    @property
    def has_cookie(self) -> bool:
        """True if the browser sent a cookie of a visitor."""
        return any(self.read_cookie(name) for name in (COOKIE, RESET_COOKIE, IDENTITY_COOKIE))

    def has_reset_cookie(self) -> bool:
        """Return whether the browser sent the cookie of an earlier reset."""
        return self._mentions(RESET_COOKIE, _RESET_BYTES)

    def has_flash_cookie(self) -> bool:
        """Return whether the browser sent browser commands of an earlier response."""
        return self._mentions(FLASH_COOKIE, _FLASH_BYTES) or (
            self._cookies is not None and FLASH_HOST_COOKIE in self._cookies
        )

    def _mentions(self, name: str, as_bytes: bytes) -> bool:
        # Every page asks, so the header is searched and not parsed.
        if self._cookies is not None:
            return name in self._cookies
        by_name = self._by_name or self.headers
        if len(by_name) == len(self._raw_headers):
            return b"cookie" in by_name and as_bytes in by_name[b"cookie"]
        return any(header == b"cookie" and as_bytes in value for header, value in self._raw_headers)

    @property
    def cookie_key(self) -> str | None:
        """User key that the browser sent, unless a reset has ended it."""
        return next((key for key in self._cookie_keys() if not self.has_ended(key)), None)

    @property
    def stale_key(self) -> str | None:
        """User key that the browser still sends though a reset has ended it."""
        return next(filter(self.has_ended, self._cookie_keys()), None)

    def _cookie_keys(self) -> Iterator[str]:
        return filter(is_user_key, self.cookie_values(COOKIE))

    @property
    def reset_marker(self) -> ResetMarker | None:
        """Marker that an earlier reset has set."""
        return ResetMarker.parse(self.read_cookie(RESET_COOKIE))

    @property
    def epoch(self) -> Epoch:
        """Identity of the browser, and the keys that have ended."""
        return Epoch.parse(self.read_cookie(EPOCH_COOKIE))

    def has_ended(self, key: str) -> bool:
        """Return whether a reset of this browser has ended this key."""
        marker = self.reset_marker
        return (marker is not None and marker.matches(key)) or self.epoch.has_ended(key)

    def sent_keys(self) -> list[str]:
        """Return the user keys in the cookies and in the URLs: a reset ends all of them."""
        referrer = self.headers.get(b"referer", b"").decode("latin-1")
        query = "?" + self._query.decode("latin-1")
        return [*self._cookie_keys(), *keys_in(query), *keys_in(referrer)]

    @property
    def has_key_in_url(self) -> bool:
        """True if the query holds a user key, so that no shared cache may keep the response."""
        return bool(self._query) and holds_key(self._query.decode("latin-1"))

    def browser_fingerprint(self) -> str | None:
        """Return a digest that recognises this browser for seconds; None without a session.

        A session cookie or an ``Authorization`` header identifies a browser. Our own cookies
        do not: one person's key may be in two browsers, which must not share a visitor.
        """
        if b"authorization" not in self.headers and not self._has_foreign_cookie():
            return None
        names = (b"cookie", b"user-agent", b"authorization")
        address = self._client[0] if self._client else ""
        parts = [address.encode(), *(value for name, value in self._raw_headers if name in names)]
        return hashlib.sha256(b"\n".join(parts)).hexdigest()

    def _has_foreign_cookie(self) -> bool:
        lines = [value for name, value in self._raw_headers if name == b"cookie"]
        names = {
            each.partition(b"=")[0].strip().decode("latin-1")
            for each in b";".join(lines).split(b";")
        }
        ours = {
            COOKIE,
            RESET_COOKIE,
            EPOCH_COOKIE,
            IDENTITY_COOKIE,
            FLASH_COOKIE,
            FLASH_HOST_COOKIE,
        }
        return not names <= {"", *ours}
