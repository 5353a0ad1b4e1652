"""Data of one request: cookies, page address, and how the browser asked for it."""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..core.user_key import BRIDGE, COOKIE, ResetMarker, is_user_key
from .addresses import (
    PublicSite,
    holds_key,
    host_name,
    is_from_another_site,
    keys_in,
    page_context,
    warn_if_replaced,
)
from .cookies import EPOCH_COOKIE, RESET_COOKIE, Epoch, read_cookies
from .signed_cookies import FLASH_COOKIE, FLASH_HOST_COOKIE, IDENTITY_COOKIE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from starlette.types import Scope

    from ..core.envelope import PageContext

_RESET_BYTES = RESET_COOKIE.encode()
_FLASH_BYTES = FLASH_COOKIE.encode()
_NO_COOKIES: Mapping[str, Sequence[str]] = MappingProxyType({})
_WINDOWS = (b"document", b"iframe", b"frame")
# Of today's browsers, of Turbo, and of older Chrome and Firefox.
_PURPOSES = (b"sec-purpose", b"x-sec-purpose", b"purpose", b"x-moz")


class RequestInfo:
    """Data of a request or websocket, parsed when it is first needed.

    The scope must not change any more. A configured ``site`` counts instead of the host and
    the scheme that the server sees.
    """

    __slots__ = ("_by_name", "_cookies", "_page", "_scope", "_site", "are_cookies_parsed")

    def __init__(self, scope: Scope, site: PublicSite | None = None) -> None:
        self._scope = scope
        self._site = site
        #: True once a cookie was read.
        self.are_cookies_parsed = False
        self._cookies: Mapping[str, Sequence[str]] = _NO_COOKIES
        self._by_name: dict[bytes, bytes] | None = None
        self._page: PageContext | None = None

    @property
    def _raw_headers(self) -> list[tuple[bytes, bytes]]:
        headers: list[tuple[bytes, bytes]] = self._scope["headers"]
        return headers

    @property
    def path(self) -> str:
        """The path of the URL, decoded."""
        path: str = self._scope["path"]
        return path

    @property
    def _query(self) -> bytes:
        query: bytes = self._scope.get("query_string", b"")
        return query

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """Headers by lower-case name; of several with one name, the last."""
        if self._by_name is None:
            self._by_name = dict(self._raw_headers)
        return self._by_name

    @property
    def method(self) -> str:
        """The method; empty for a websocket."""
        method: str = self._scope.get("method", "")
        return method

    @property
    def is_websocket(self) -> bool:
        """True for a websocket."""
        return not self.method

    def page(self) -> PageContext:
        """Return the page that this request belongs to."""
        if self._page is None:
            self._page = page_context(
                self._raw_headers, self.method, self._public_site(), self.path, self._query
            )
        return self._page

    @property
    def host(self) -> str:
        """Host name of the site."""
        return host_name(self._public_site().authority)

    def _public_site(self) -> PublicSite:
        if self._site is None:
            scheme = "https" if self.is_secure else "http"
            authority = self.headers.get(b"host", b"").decode("latin-1")
            self._site = PublicSite(scheme, authority or (self._scope.get("server") or ("",))[0])
            warn_if_replaced(self._site, self.headers)
        return self._site

    @property
    def is_secure(self) -> bool:
        """True on https."""
        scheme = self._scope.get("scheme") if self._site is None else self._site.scheme
        return scheme in ("https", "wss")

    @property
    def is_form(self) -> bool:
        """True if reloading the page would submit a form again."""
        return self.method not in ("GET", "HEAD")

    # How the browser asks for it.

    @property
    def is_navigation(self) -> bool:
        """True if a window shows the response and runs its scripts.

        Turbo and boosted links of htmx count, because they run the scripts of the page
        that they fetch.
        """
        is_shown = self.is_page_swap or (not self.uses_bridge and self._is_for_window)
        return self.method != "HEAD" and is_shown and not self.is_prefetch

    @property
    def may_be_shown(self) -> bool:
        """True if a script fetches the response, so that its own scripts may run or not.

        A library may put the page, or a part of it, in the place of the one that is
        shown. A service worker may pass it to the window.
        """
        is_by_script = self.headers.get(b"sec-fetch-dest", b"empty") == b"empty"
        is_ours = self.uses_bridge or self.is_htmx
        return self.method != "HEAD" and is_by_script and not is_ours and not self.is_prefetch

    @property
    def _is_for_window(self) -> bool:
        """True if a window asks, or a service worker for it.

        A service worker that passes a navigation on sends it with the
        ``Sec-Fetch-Dest`` of a script. Browsers send no ``Sec-Fetch`` headers over
        http, but the other two.
        """
        headers = self.headers
        if headers.get(b"sec-fetch-mode") == b"navigate":
            return True
        if b"sec-fetch-dest" in headers:
            return headers[b"sec-fetch-dest"] in _WINDOWS
        if b"x-requested-with" in headers or b"turbo-frame" in headers:
            return False
        accept = headers.get(b"accept")  # every browser sends one
        return accept is None or (
            b"text/html" in accept and b"upgrade-insecure-requests" in headers
        )

    @property
    def is_cross_site(self) -> bool:
        """True for a click on another site, which brings no ``SameSite=Strict`` cookie."""
        headers = self.headers
        if b"sec-fetch-site" in headers:
            return headers[b"sec-fetch-site"] == b"cross-site"
        return is_from_another_site(self._public_site(), headers)

    @property
    def is_prefetch(self) -> bool:
        """True if the browser, Turbo or htmx fetches the page before anyone opens it."""
        headers = self.headers
        return b"hx-preloaded" in headers or any(
            b"prefetch" in headers.get(name, b"") for name in _PURPOSES
        )

    @property
    def is_htmx(self) -> bool:
        """True if htmx asks for a part of the page, so that it reads ``HX-Trigger``."""
        headers = self.headers
        is_whole = self.is_boosted or b"hx-history-restore-request" in headers
        return headers.get(b"hx-request") == b"true" and not is_whole and not self.is_prefetch

    @property
    def is_boosted(self) -> bool:
        """True if a boosted link or form of htmx asks.

        The page may take a part of the response only, by ``hx-select``, and
        drop its scripts.
        """
        return self.headers.get(b"hx-boosted") == b"true" and not self.is_prefetch

    @property
    def uses_bridge(self) -> bool:
        """True if the script of ``bridge=True`` sent the request, and reads our header."""
        return BRIDGE in self.headers.get(b"accept", b"") and not self.is_prefetch

    @property
    def is_page_swap(self) -> bool:
        """True if Turbo or htmx puts the page in the place of the one that is shown.

        A Turbo frame takes one element of the page, and drops its scripts.
        """
        headers = self.headers
        is_turbo = b"x-turbo-request-id" in headers and b"turbo-frame" not in headers
        return is_turbo or self.is_boosted

    @property
    def has_running_widget(self) -> bool:
        """True if the page that asks stays, and so does its widget.

        Only that widget can end the chat that it shows.
        """
        return (self.is_htmx or self.uses_bridge or self.is_page_swap) and not self.is_prefetch

    # Cookies and keys.

    def read_cookie(self, name: str) -> str | None:
        """Return the value of one of our cookies; of several, the first."""
        values = self.cookie_values(name)
        return values[0] if values else None

    def cookie_values(self, name: str) -> Sequence[str]:
        """Return all values of one of our cookies: it may be set for two domains or paths."""
        if not self.are_cookies_parsed:
            self._cookies = read_cookies(
                self._raw_headers,
                COOKIE,
                RESET_COOKIE,
                EPOCH_COOKIE,
                IDENTITY_COOKIE,
                FLASH_COOKIE,
                FLASH_HOST_COOKIE,
            )
            self.are_cookies_parsed = True
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
        return self._mentions(FLASH_COOKIE, _FLASH_BYTES) or FLASH_HOST_COOKIE in self._cookies

    def _mentions(self, name: str, as_bytes: bytes) -> bool:
        # Every page asks, so the header is searched and not parsed.
        if self.are_cookies_parsed:
            return name in self._cookies
        by_name = self._by_name
        if by_name is not None and len(by_name) == len(self._raw_headers):
            return by_name.get(b"cookie", b"").find(as_bytes) >= 0
        for header, value in self._raw_headers:  # a loop costs half of a generator
            if header == b"cookie" and value.find(as_bytes) >= 0:
                return True
        return False

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

        A session cookie or an ``Authorization`` header identifies a browser. Our
        own cookies do not: one person's key may be in two browsers, which must not
        share a visitor.
        """
        if b"authorization" not in self.headers and not self._has_foreign_cookie():
            return None
        names = (b"cookie", b"user-agent", b"authorization")
        client = self._scope.get("client")
        address = client[0] if client else ""
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
