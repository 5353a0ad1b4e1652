"""What a request tells of its browser, as far as anybody asks: :class:`Connection`."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from .companion import COOKIE as COMPANION
from .context import PageContext, holds_key, host_name, keys_in, page_context
from .flash import COOKIE as FLASH
from .flash import HOST_COOKIE as HOST_FLASH
from .identity import COOKIE, EPOCH, MARKER, Epoch, ResetMarker, is_user_key, read_cookies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.types import Scope

_MARKER_BYTES = MARKER.encode()
_FLASH_BYTES = FLASH.encode()
_WINDOWS = (b"document", b"iframe", b"frame")
#: The media type in ``Accept`` by which the bridge of ``page/js`` says that a page asks, and will hear.
BRIDGE = b"application/x-usercom"


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
            self._page = page_context(self._headers, self._method, self._scheme, self._server, self._path, self._query)
        return self._page

    @property
    def marker(self) -> ResetMarker | None:
        """What an earlier reset of this browser left behind."""
        return ResetMarker.parse(self.read_cookie(MARKER))

    def bears_marker(self) -> bool:
        """Tell whether an earlier reset of this browser left something behind."""
        return self._bears(MARKER, _MARKER_BYTES)

    def bears_flash(self) -> bool:
        """Tell whether an earlier response said something to the next page."""
        return self._bears(FLASH, _FLASH_BYTES) or (self._cookies is not None and HOST_FLASH in self._cookies)

    def _bears(self, name: str, as_bytes: bytes) -> bool:
        # Every page asks, so nothing is parsed.
        if self._cookies is not None:
            return name in self._cookies
        by_name = self._by_name or self.headers
        # Not "in", which takes bytes for a number first.
        if len(by_name) == len(self._headers):
            return b"cookie" in by_name and by_name[b"cookie"].find(as_bytes) >= 0
        return any(header == b"cookie" and value.find(as_bytes) >= 0 for header, value in self._headers)

    @property
    def host(self) -> str:
        """The site's host name, as the browser wrote it."""
        return host_name(self.headers.get(b"host", b"").decode("latin-1"))

    @property
    def is_secure(self) -> bool:
        """True on https."""
        return self._scheme in ("https", "wss")

    @property
    def will_run_scripts(self) -> bool:
        """True if the answer is for a window to show, as far as the browser says, and not for a script or a prefetch.

        Turbo and a boosted link of htmx fetch a page by script, and run what is in it.
        """
        headers = self.headers
        # A browser tells a host without https nothing of what the answer is for.
        shown = headers.get(b"sec-fetch-dest", b"" if self.is_bridged else b"document") in _WINDOWS
        return self._method != "HEAD" and (shown or self.is_swapped) and not self.is_prefetch

    @property
    def is_prefetch(self) -> bool:
        """True if the browser (or Turbo) fetches this before anybody wants to see it."""
        headers = self.headers
        return any(b"prefetch" in headers.get(name, b"") for name in (b"sec-purpose", b"x-sec-purpose"))

    @property
    def is_htmx(self) -> bool:
        """True if htmx asks for a part of the page that it is in, and will look at ``HX-Trigger``."""
        headers = self.headers
        whole = headers.get(b"hx-boosted") == b"true" or b"hx-history-restore-request" in headers
        return headers.get(b"hx-request") == b"true" and not whole and not self.is_prefetch

    @property
    def is_bridged(self) -> bool:
        """True if a page with the bridge asks, and will hear what it is told."""
        return BRIDGE in self.headers.get(b"accept", b"") and not self.is_prefetch

    @property
    def is_swapped(self) -> bool:
        """True if Turbo or a boosted link of htmx asks: the answer's page takes the place of the one that is shown."""
        return self.headers.get(b"hx-boosted") == b"true" or b"x-turbo-request-id" in self.headers

    @property
    def has_running_widget(self) -> bool:
        """True if the page that asks stays, and with it the widget that runs in it: only it can end what it shows."""
        return (self.is_htmx or self.is_bridged or self.is_swapped) and not self.is_prefetch

    @property
    def old_key(self) -> str | None:
        """A key that the browser still sends though a reset has ended it."""
        return next((key for key in self.cookie_values(COOKIE) if is_user_key(key) and self.has_ended(key)), None)

    @property
    def epoch(self) -> Epoch:
        """Which identity the browser has, and which keys have ended in it."""
        return Epoch.parse(self.read_cookie(EPOCH))

    def has_ended(self, key: str) -> bool:
        """Tell whether a reset of this browser has ended this key."""
        marker = self.marker
        return (marker is not None and marker.ended(key)) or self.epoch.has_ended(key)

    def told_keys(self) -> list[str]:
        """Return every user key in the request's cookies and addresses: a reset ends all of them."""
        referrer = self.headers.get(b"referer", b"").decode("latin-1")
        query = "?" + self._query.decode("latin-1")
        return [*filter(is_user_key, self.cookie_values(COOKIE)), *keys_in(query), *keys_in(referrer)]

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
        return any(self.read_cookie(name) for name in (COOKIE, MARKER, COMPANION))

    def fingerprint(self) -> str | None:
        """Return what recognises this browser for some seconds; None if the request carries nothing of the application's.

        Our own cookies are no proof: one person's key may be in two browsers, and those must not become one visitor again.
        A session cookie or an ``Authorization`` header is.
        """
        names = (b"cookie", b"user-agent", b"authorization")
        address = self._client[0] if self._client else ""
        parts = [address.encode(), *(value for name, value in self._headers if name in names)]
        if b"authorization" not in self.headers and not self._has_cookie_of_the_application():
            return None
        return hashlib.sha256(b"\n".join(parts)).hexdigest()

    def _has_cookie_of_the_application(self) -> bool:
        cookies = b";".join(value for name, value in self._headers if name == b"cookie").split(b";")
        names = {each.partition(b"=")[0].strip().decode("latin-1") for each in cookies}
        return not names <= {"", COOKIE, MARKER, EPOCH, COMPANION, FLASH, HOST_FLASH}

    def read_cookie(self, name: str) -> str | None:
        """Return one of the cookies that concern us, as it came; of those of one name the first."""
        values = self.cookie_values(name)
        return values[0] if values else None

    def cookie_values(self, name: str) -> Sequence[str]:
        """Return the values of the cookies of one name: where there are two, they live in two places."""
        if self._cookies is None:
            self._cookies = read_cookies(self._headers, COOKIE, MARKER, EPOCH, COMPANION, FLASH, HOST_FLASH)
        return self._cookies.get(name, ())
