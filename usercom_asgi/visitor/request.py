"""What a request tells of its browser, as far as anybody asks: :class:`Connection`."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from ..core.envelope import PageContext
from ..core.user_key import BRIDGE, COOKIE, ResetMarker, is_user_key
from .cookies import EPOCH, MARKER, Epoch, read_cookies
from .signed_cookies import FLASH_COOKIE as FLASH
from .signed_cookies import FLASH_HOST_COOKIE as HOST_FLASH
from .signed_cookies import IDENTITY_COOKIE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from starlette.types import Scope


def _spelled(text: str) -> str:
    """Return the pattern of a text of which any character may be percent-encoded, and that again."""
    return "".join(f"(?:{re.escape(each)}|%(?:25)*{ord(each):02x})" for each in text)


_NAME = _spelled(COOKIE)
_STARTS, _ENDS = (
    f"(?:[{signs}]|%(?:25)*(?:{'|'.join(f'{ord(each):02x}' for each in signs)}))"
    for signs in ("?&;#", "&;#")
)
_HAS_KEY = re.compile(_NAME, re.IGNORECASE)
_KEY_IN_URL = re.compile(
    f"({_STARTS}){_NAME}({_spelled('=')}(?:(?!{_ENDS})[^\\s])*)?({_ENDS})?", re.IGNORECASE
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
    """Return where a request comes from, as User.com is told: free of user keys and of what no header can hold.

    A form is sent from the page that it stands on: for a POST that page, the referrer, is where it was said.
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


_MARKER_BYTES = MARKER.encode()
_FLASH_BYTES = FLASH.encode()
_WINDOWS = (b"document", b"iframe", b"frame")


class Connection:
    """Reads the scope of a request or websocket; nothing is parsed before it is asked for.

    It does not keep the scope, which holds the visitor: a circle would be left to the garbage collector at each request.
    """

    _cookies: dict[str, list[str]] | None = None
    _by_name: dict[bytes, bytes] | None = None
    _page: PageContext | None = None

    def __init__(self, scope: Scope) -> None:
        self._headers = scope["headers"]
        self._method = scope.get("method")
        self._scheme = scope.get("scheme", "http")
        self._server = scope.get("server")
        self._client = scope.get("client")
        self._path = scope["path"]
        self._query = scope.get("query_string", b"")

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """The headers by their names, which ASGI gives in lower case; of those of one name the last."""
        if self._by_name is None:
            self._by_name = dict(self._headers)
        return self._by_name

    @property
    def is_websocket(self) -> bool:
        """True if this is no request."""
        return self._method is None

    def page(self) -> PageContext:
        """Return where this comes from, as User.com is told."""
        if self._page is None:
            self._page = page_context(
                self._headers, self._method, self._scheme, self._server, self._path, self._query
            )
        return self._page

    @property
    def marker(self) -> ResetMarker | None:
        """What an earlier reset of this browser left behind."""
        return ResetMarker.parse(self.read_cookie(MARKER))

    def has_reset_cookie(self) -> bool:
        """Tell whether an earlier reset of this browser left something behind."""
        return self._bears(MARKER, _MARKER_BYTES)

    def has_flash_cookie(self) -> bool:
        """Tell whether an earlier response said something to the next page."""
        return self._bears(FLASH, _FLASH_BYTES) or (
            self._cookies is not None and HOST_FLASH in self._cookies
        )

    def _bears(self, name: str, as_bytes: bytes) -> bool:
        # Every page asks, so nothing is parsed.
        if self._cookies is not None:
            return name in self._cookies
        by_name = self._by_name or self.headers
        # Not "in", which takes bytes for a number first.
        if len(by_name) == len(self._headers):
            return b"cookie" in by_name and by_name[b"cookie"].find(as_bytes) >= 0
        return any(
            header == b"cookie" and value.find(as_bytes) >= 0 for header, value in self._headers
        )

    @property
    def host(self) -> str:
        """The site's host name, as the browser wrote it."""
        return host_name(self.headers.get(b"host", b"").decode("latin-1"))

    @property
    def is_secure(self) -> bool:
        """True on https."""
        return self._scheme in ("https", "wss")

    @property
    def is_navigation(self) -> bool:
        """True if the answer is for a window to show, as far as the browser says, and not for a script or a prefetch.

        Turbo and a boosted link of htmx fetch a page by script, and run what is in it.
        """
        headers = self.headers
        # A browser tells a host without https nothing of what the answer is for.
        shown = headers.get(b"sec-fetch-dest", b"" if self.uses_bridge else b"document") in _WINDOWS
        return self._method != "HEAD" and (shown or self.is_page_swap) and not self.is_prefetch

    @property
    def is_prefetch(self) -> bool:
        """True if the browser (or Turbo) fetches this before anybody wants to see it."""
        headers = self.headers
        return any(
            b"prefetch" in headers.get(name, b"") for name in (b"sec-purpose", b"x-sec-purpose")
        )

    @property
    def is_htmx(self) -> bool:
        """True if htmx asks for a part of the page that it is in, and will look at ``HX-Trigger``."""
        headers = self.headers
        whole = headers.get(b"hx-boosted") == b"true" or b"hx-history-restore-request" in headers
        return headers.get(b"hx-request") == b"true" and not whole and not self.is_prefetch

    @property
    def uses_bridge(self) -> bool:
        """True if a page with the bridge asks, and will hear what it is told."""
        return BRIDGE in self.headers.get(b"accept", b"") and not self.is_prefetch

    @property
    def is_page_swap(self) -> bool:
        """True if Turbo or a boosted link of htmx asks: the answer's page takes the place of the one that is shown."""
        return self.headers.get(b"hx-boosted") == b"true" or b"x-turbo-request-id" in self.headers

    @property
    def has_running_widget(self) -> bool:
        """True if the page that asks stays, and with it the widget that runs in it: only it can end what it shows."""
        return (self.is_htmx or self.uses_bridge or self.is_page_swap) and not self.is_prefetch

    @property
    def stale_key(self) -> str | None:
        """A key that the browser still sends though a reset has ended it."""
        return next(
            (key for key in self.cookie_values(COOKIE) if is_user_key(key) and self.has_ended(key)),
            None,
        )

    @property
    def epoch(self) -> Epoch:
        """Which identity the browser has, and which keys have ended in it."""
        return Epoch.parse(self.read_cookie(EPOCH))

    def has_ended(self, key: str) -> bool:
        """Tell whether a reset of this browser has ended this key."""
        marker = self.marker
        return (marker is not None and marker.matches(key)) or self.epoch.has_ended(key)

    def sent_keys(self) -> list[str]:
        """Return every user key in the request's cookies and addresses: a reset ends all of them."""
        referrer = self.headers.get(b"referer", b"").decode("latin-1")
        query = "?" + self._query.decode("latin-1")
        return [
            *filter(is_user_key, self.cookie_values(COOKIE)),
            *keys_in(query),
            *keys_in(referrer),
        ]

    @property
    def has_key_in_address(self) -> bool:
        """True if the address names a user key, which belongs to one browser: no shared cache may keep what is answered."""
        return bool(self._query) and holds_key(self._query.decode("latin-1"))

    @property
    def is_form(self) -> bool:
        """True if something was sent for this page, which a browser that loads it again would send again."""
        return self._method not in ("GET", "HEAD")

    @property
    def path(self) -> str:
        """The path of the address."""
        return str(self._path)

    @property
    def has_cookie(self) -> bool:
        """True if the browser sent any of the cookies that concern us."""
        return any(self.read_cookie(name) for name in (COOKIE, MARKER, IDENTITY_COOKIE))

    def fingerprint(self) -> str | None:
        """Return what recognises this browser for some seconds; None without a session.

        A session cookie or an ``Authorization`` header tells browsers apart. Our own cookies
        do not: one person's key may be in two browsers, which must not share a visitor.
        """
        if b"authorization" not in self.headers and not self._has_cookie_of_the_application():
            return None
        names = (b"cookie", b"user-agent", b"authorization")
        address = self._client[0] if self._client else ""
        parts = [address.encode(), *(value for name, value in self._headers if name in names)]
        return hashlib.sha256(b"\n".join(parts)).hexdigest()

    def _has_cookie_of_the_application(self) -> bool:
        cookies = b";".join(value for name, value in self._headers if name == b"cookie").split(b";")
        names = {each.partition(b"=")[0].strip().decode("latin-1") for each in cookies}
        return not names <= {"", COOKIE, MARKER, EPOCH, IDENTITY_COOKIE, FLASH, HOST_FLASH}

    def read_cookie(self, name: str) -> str | None:
        """Return one of the cookies that concern us, as it came; of those of one name the first."""
        values = self.cookie_values(name)
        return values[0] if values else None

    def cookie_values(self, name: str) -> Sequence[str]:
        """Return the values of the cookies of one name: where there are two, they live in two places."""
        if self._cookies is None:
            self._cookies = read_cookies(
                self._headers, COOKIE, MARKER, EPOCH, IDENTITY_COOKIE, FLASH, HOST_FLASH
            )
        return self._cookies.get(name, ())
