"""Access to a sandbox: which hosts, which origins, and with which token.

The widget's endpoints and the REST API have keys of their own, and pages of any origin
call them. All else, the page and its calls, is for the developer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address

TOKEN_VARIABLE = "USERCOM_SANDBOX_ACCESS_TOKEN"  # noqa: S105 (a name)

_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]*)?", re.IGNORECASE)
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_MAX_QUOTE = 100
_FIXED_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_FOREIGN = (
    "Only the sandbox's own page may call this. Behind a proxy, let the proxy keep the header Host."
)
_UNAUTHORIZED = (
    "This sandbox needs its access token. In a browser, open it once with ?token=TOKEN."
    " A program sends it as the password of HTTP Basic.\n"
)


class InsecureError(ValueError):
    """A server that other machines would reach without a token."""


def is_public(path: str) -> bool:
    """Return whether a path belongs to User.com's API or is the widget."""
    return path == "/widget.js" or path.startswith(("/api/", "/ws/"))


def check_exposure(bound: str, access_token: str | None) -> None:
    """Raise if a server on this address needs a token and has none."""
    if not access_token and not ipaddress.ip_address(bound.partition("%")[0]).is_loopback:
        raise InsecureError(
            f"{bound} can be reached from other machines: give an access token"
            f" (--access-token, {TOKEN_VARIABLE}, or access_token=), or listen on 127.0.0.1"
        )


@dataclass(frozen=True)
class Hosts:
    """Values of `Host` that a server answers.

    A site that the developer visits can resolve its own name to 127.0.0.1 and is then
    of the sandbox's origin for the browser (DNS rebinding). The name in `Host` remains
    that of the site. An address is no name, so that it cannot be used in this way.
    """

    bound: str
    """Name or address that the server was asked to listen on."""
    address: str
    """Address that it listens on."""
    allowed: tuple[str, ...] = ()
    """Names, `*.name` for all names below one, or `*`."""

    def admit(self, value: str) -> bool:
        """Return whether the server answers this value of `Host`."""
        match = _HOST.fullmatch(value)
        if match is None:
            return False
        name = (match["v6"] or match["name"]).lower().removesuffix(".")
        if name == "localhost" or name.endswith(".localhost") or name == self.bound.lower():
            return True
        if any(_matches(name, pattern.lower()) for pattern in self.allowed):
            return True
        address = _address(name)
        if address is None:
            return False
        own = ipaddress.ip_address(self.address.partition("%")[0])
        return address.is_loopback or own.is_unspecified or address == own


class Guard:
    """Application that checks `Host`, and the token of the page's paths.

    It is around the application that a server runs, and not part of `Sandbox.app`,
    which tests call in their own process under any host.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, access_token: str | None = None) -> None:
        self._app = app
        self._hosts = hosts
        self._token = access_token.encode() if access_token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400 or 421 to a wrong host, 401 without the token, or call on.

        The handshake of a WebSocket gets the same answers as a request.
        """
        if scope["type"] in ("http", "websocket"):
            answer = self._answer(scope)
            if answer is not None:
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        hosts = Headers(scope=scope).getlist("host")
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None:
            return _plain(400, "A request to this sandbox needs one Host header, with a host.\n")
        if not self._hosts.admit(hosts[0]):
            return _plain(421, _wrong_host(match))
        if self._token is None or is_public(scope["path"]):
            return None
        request = HTTPConnection(scope)
        given = request.query_params.get("token") if scope.get("method") == "GET" else None
        if given is not None and hmac.compare_digest(given.encode(), self._token):
            return self._admit(request)
        cookie = request.cookies.get(_cookie_name(scope), "")
        if hmac.compare_digest(cookie.encode("utf-8", "replace"), self._cookie().encode()):
            return None
        if hmac.compare_digest(_password(request.headers.get("authorization", "")), self._token):
            return None
        return _plain(401, _UNAUTHORIZED, {"WWW-Authenticate": 'Basic realm="User.com sandbox"'})

    def _admit(self, request: HTTPConnection) -> Response:
        """Set the cookie, and remove the token from the address of the browser."""
        query = request.scope["query_string"].decode("latin-1")
        others = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] != "token"]
        # One slash: "//name/" would lead to another host.
        path = "/" + quote(request.scope["path"].lstrip("/"))
        answer = RedirectResponse(path + (f"?{urlencode(others)}" if others else ""), 303)
        answer.set_cookie(
            _cookie_name(request.scope),
            self._cookie(),
            httponly=True,
            samesite="lax",
            secure=request.scope["scheme"] == "https",
        )
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Cache-Control"] = "no-store"
        return answer

    def _cookie(self) -> str:
        """Return the value of the cookie, which does not reveal the token."""
        return hashlib.sha256(b"usercom-sandbox " + (self._token or b"")).hexdigest()


class SameOriginMiddleware:
    """Middleware that keeps pages of other origins from the page's calls.

    Otherwise any open site could press the page's buttons. Programs send neither
    `Sec-Fetch-Site` nor `Origin`, and pass. A path that is not listed is guarded.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 to calls that a foreign page sends."""
        if scope["type"] == "http" and not _is_for_all(scope) and is_foreign(Headers(scope=scope)):
            answer = JSONResponse({"detail": _FOREIGN}, 403, _FIXED_HEADERS)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_for_all(scope: Scope) -> bool:
    # Any site may have a link to the page.
    is_page = scope["path"] == "/" and scope["method"] in _SAFE_METHODS
    return is_page or is_public(scope["path"])


def is_foreign(headers: Headers) -> bool:
    """Return whether a page of another origin sends this.

    "same-site" is foreign, too: every other port of localhost is. Both headers have to
    name this origin. Browsers omit `Sec-Fetch-Site` on http, unless the host is this
    machine, and they omit `Origin` where they read from the same origin.
    """
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    netloc = _netloc(origin)
    return not netloc or netloc != headers.get("host", "").lower()


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # such as "http://["
        return None


def _matches(name: str, pattern: str) -> bool:
    if pattern == "*":
        return True
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern


def _address(name: str) -> Address | None:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if address.version == 6 else None
    return mapped or address


def _cookie_name(scope: Scope) -> str:
    """Return a name for each port, because browsers share cookies among all ports."""
    _, port = scope.get("server") or ("", None)
    return f"usercom_sandbox_{port or 0}"


def _password(authorization: str) -> bytes:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        decoded = base64.b64decode(encoded.strip().encode("latin-1"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return b""
    return decoded.partition(b":")[2]


def _wrong_host(match: re.Match[str]) -> str:
    name = (match["name"] or match["v6"])[:_MAX_QUOTE]
    return (
        f"This sandbox does not answer for the host {name}, because a site could point its"
        " own name at this machine. If the name is yours, start the sandbox with"
        f" --allowed-host {name}, or serve(..., allowed_hosts=[{name!r}]).\n"
    )


def _plain(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(text, status, {**_FIXED_HEADERS, **(headers or {})})
