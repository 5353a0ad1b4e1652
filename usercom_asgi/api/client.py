"""HTTP client for User.com's APIs; the only module that imports httpx."""

from __future__ import annotations

import json
import re
import socket
import time
import traceback
import zlib
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio

from ..core import telemetry
from ..core.exceptions import DeliveryError, RejectedError, UnavailableError
from ..core.log import warn_once
from ..core.origins import is_local

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping

    import httpx2 as httpx

    Headers = Mapping[str, str]
else:
    try:
        import httpx2 as httpx
    except ImportError:
        import httpx

Transport = httpx.AsyncBaseTransport
_KEEPALIVE = 30.0  # seconds; nginx closes an idle connection after 75, load balancers after 60
_MAX_BODY = 4 * 1024 * 1024
_JSON = {"Content-Type": "application/json"}
# Errors of a request that did not leave, even where a mock has read its body.
_CONNECT_ERRORS = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class Address(Protocol):
    """Where the API is, and how long a call may take: :class:`.UserComConfig` is one.

    ``timeout`` is the seconds of a phase, ``total_timeout`` those of a whole call.
    """

    @property
    def app(self) -> str | None: ...  # noqa: D102  the class has them
    @property
    def origin(self) -> str: ...  # noqa: D102
    @property
    def timeout(self) -> float: ...  # noqa: D102
    @property
    def total_timeout(self) -> float: ...  # noqa: D102


class Credentials(Protocol):
    """Headers that no traceback may show, so that they are no local variable."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers."""
        ...


@cache
def ssl_context() -> ssl.SSLContext:
    """Return the TLS settings; reading the certificates takes tens of milliseconds."""
    return httpx.create_ssl_context()


@asynccontextmanager
async def open_api_client(
    address: Address, transport: Transport | None
) -> AsyncGenerator[ApiClient]:
    """Open a client that connects on demand. The owner of ``transport`` closes it."""
    if transport is None:
        await load_certificates()
    async with aclosing(ApiClient(address, transport)) as client:
        yield client


async def load_certificates() -> None:
    """Read the certificates in a thread, because the event loop serves requests."""
    if not ssl_context.cache_info().currsize:
        await anyio.to_thread.run_sync(ssl_context)


@dataclass(slots=True, repr=False)  # the body may hold a user key
class Response:
    """Response as far as it was received; ``status`` is 0 before its head.

    ``headers`` have lower-case names. ``is_too_large`` is true if the body, as received
    or unpacked, has more than the bytes that were allowed.
    """

    status: int = 0
    retry_after: float | None = None
    body: bytes = b""
    is_complete: bool = False
    is_too_large: bool = False
    headers: Headers = field(default_factory=dict[str, str])


class _Body(httpx.AsyncByteStream):
    """Body of a request that notes when httpx begins to send it."""

    def __init__(self, content: bytes) -> None:
        self.is_sent = False
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.is_sent = True
        if self._content:
            yield self._content


class ApiClient:
    """Makes calls to User.com, over as many connections as there are calls in flight.

    Each connection has its own transport, because a shared pool of httpx 0.28 loses
    connections when calls are cancelled.
    """

    def __init__(self, address: Address, transport: Transport | None) -> None:
        self._origin = address.origin
        self._timeout = address.timeout
        self._total_timeout = address.total_timeout
        self._transport = transport
        self._proxy = None if transport else environment_proxy(address.origin)
        place = "app" if address.app else "base_url"
        self._host, self._setting = urlsplit(address.origin).hostname, f"{place}="
        if self._proxy:
            self._host, self._setting = "of the proxy", "the proxy of the environment"
        #: Idle connections and since when they are, the latest last.
        self._idle: list[tuple[float, Transport]] = []
        self._is_closed = False

    async def aclose(self) -> None:
        """Close the idle connections at once, and those in use after their call."""
        self._is_closed = True
        with anyio.CancelScope(shield=True):
            while self._idle:
                await self._idle.pop()[1].aclose()

    async def post_json(
        self, path: str, body: object, headers: Headers, *, read_body: bool = False
    ) -> bytes:
        """Post JSON; return the body of the response if ``read_body``.

        Raises:
            UnavailableError: If there was no response, or its status was 3xx, 408, 425,
                429 or 5xx. Redirects are not followed: they would turn a POST into a
                GET, and lead a user key elsewhere.
            RejectedError: If the status was another one except 2xx.

        """
        request = self._request("POST", path, {**headers, **_JSON}, json.dumps(body).encode())
        # A body that is read may hold a user key, so its request gets a new
        # connection. On a kept one, httpx would take a duplicate response for that of
        # the next request.
        response = await self._send(request, f"POST {path}", is_new=read_body)
        if not 200 <= response.status < 300:
            raise _error_for(path, response)
        if read_body and not response.is_complete:  # without read_body, the status is enough
            raise UnavailableError(f"POST {path}: the response broke off")
        return _unpacked(response.body) if read_body else b""

    async def request(
        self,
        method: str,
        path: str,
        headers: Headers,
        content: bytes = b"",
        *,
        credentials: Credentials | None = None,
        name: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  of each phase, as httpx has it
        max_body: int = _MAX_BODY,
        is_new: bool = False,
    ) -> Response:
        """Send a request; return the response, whatever its status is.

        Its body may have broken off: see ``is_complete`` and ``is_too_large``.

        Args:
            method: The verb.
            path: The path with its query, which may hold personal data.
            headers: Further headers.
            content: The body.
            credentials: Headers that must not show.
            name: What errors call the path. Defaults to the path.
            timeout: Seconds of a phase. Defaults to those of the client.
            max_body: Bytes of the response that are read, and to which it is unpacked.
            is_new: Use a new connection, because the request cannot be repeated: a kept
                one may be closed by the server at the same moment.

        Raises:
            UnavailableError: If there was no response.
            RejectedError: If the request cannot be sent as HTTP.

        """
        name = f"{method} {name or path}"
        try:
            request = self._request(method, path, headers, content, credentials, timeout)
            response = await self._send(
                request, name, is_new=is_new, max_body=max_body, timeout=timeout
            )
        except httpx.InvalidURL:  # such as one of 64 KB
            failed: Exception = RejectedError(f"{name}: the address is too long or malformed")
        except DeliveryError as error:
            failed = error
        except Exception as error:  # noqa: BLE001  of a transport with a bug; raised below
            failed, place = error, traceback.extract_tb(error.__traceback__)[-1]
            failed.add_note(f"raised at {place.filename}:{place.lineno}, whose frames are left out")
        else:
            body = _unpacked(response.body, max_body + 1)
            response.is_too_large |= len(body) > max_body
            response.body = body[:max_body]
            return response
        # Without its cause and frames: httpx's error holds the request, and frames of
        # httpcore hold its headers.
        failed.__cause__ = failed.__context__ = None
        raise failed.with_traceback(None)

    def _request(
        self,
        method: str,
        path: str,
        headers: Headers,
        content: bytes,
        credentials: Credentials | None = None,
        timeout: float | None = None,
    ) -> httpx.Request:
        # The header is set here: a stream sets none. A GET has a body only by mistake.
        length = {"Content-Length": str(len(content))} if content or method != "GET" else {}
        options = {"timeout": httpx.Timeout(timeout or self._timeout).as_dict()}
        request = httpx.Request(
            method,
            self._origin + path,
            headers={**headers, **length},
            extensions=options,
            stream=_Body(content),
        )
        request.headers.setdefault("Host", request.url.netloc.decode("ascii"))
        if credentials is not None:  # not above, where an error's frames would hold them
            request.headers.update(credentials.headers())
        return request

    async def _send(self, request: httpx.Request, name: str, **options: Any) -> Response:
        if telemetry.active is None:
            return await self._exchange(request, name, **options)
        with telemetry.active.call(self._origin, name, request.url.path) as statuses:
            response = await self._exchange(request, name, **options)
            statuses.append(response.status)
            return response

    async def _exchange(
        self,
        request: httpx.Request,
        name: str,
        *,
        is_new: bool,
        max_body: int = _MAX_BODY,
        timeout: float | None = None,  # noqa: ASYNC109  of each phase, as httpx has it
    ) -> Response:
        response, error = Response(), None
        body = cast("_Body", request.stream)  # a mock replaces the stream by what it reads
        # A call may take as many times the timeout as the client's own does.
        total = self._total_timeout * (timeout / self._timeout if timeout else 1)
        transport = self._acquire(is_new=is_new)
        reason, content = f"no response in {total:g} s", bytearray()
        try:
            with anyio.move_on_after(total) as scope:
                received = await transport.handle_async_request(request)
                response.retry_after = retry_after_seconds(
                    received.headers.get("retry-after", ""), received.headers.get("date", "")
                )
                response.status = received.status_code
                response.headers = received.headers
                async for chunk in cast("AsyncIterable[bytes]", received.stream):
                    content += chunk
                    if len(content) > max_body:
                        response.is_too_large = True
                        scope.cancel()  # after a break, httpx would keep the connection
                await received.aclose()
                response.is_complete = not scope.cancel_called
        except (httpx.TransportError, OSError) as raised:
            # Omit the error's text, which may quote a header. Keep the status
            # of a proxy.
            error, status = raised, re.findall(r"^\d{3}\b", str(raised))
            reason = " ".join([type(raised).__name__, *status])
            if is_unresolved(raised):
                reason = f"{self._host} does not resolve"
                warn_once("host_unresolved", f"The host {reason}, retrying: check {self._setting}")
        finally:
            response.body = bytes(content)
            await self._release(transport, is_reusable=response.is_complete and not is_new)
        if isinstance(error, httpx.LocalProtocolError):  # a later attempt would fail as well
            raise RejectedError(f"{name}: {reason}") from error
        if not response.status:
            not_sent = not body.is_sent or isinstance(error, _CONNECT_ERRORS)
            reason = f"{name}{' not sent' if not_sent else ''}: {reason}"
            raise UnavailableError(reason, not_sent=not_sent) from error
        return response

    def _acquire(self, *, is_new: bool) -> Transport:
        if self._transport or (self._idle and not is_new):
            return self._transport or self._idle.pop()[1]
        limits = httpx.Limits(max_connections=1, keepalive_expiry=_KEEPALIVE)
        return httpx.AsyncHTTPTransport(verify=ssl_context(), proxy=self._proxy, limits=limits)

    async def _release(self, transport: Transport, *, is_reusable: bool) -> None:
        if transport is self._transport:
            return
        now = time.monotonic()
        with anyio.CancelScope(shield=True):
            if is_reusable and not self._is_closed:
                self._idle.append((now, transport))
            else:
                await transport.aclose()
            if self._idle and now - self._idle[0][0] > _KEEPALIVE:  # left over from a burst
                await self._idle.pop(0)[1].aclose()


def is_unresolved(error: BaseException | None) -> bool:
    """Return True if the cause of an error is a host name without an address."""
    while error is not None and not isinstance(error, socket.gaierror):
        error = error.__cause__ or error.__context__
    return error is not None


def _error_for(path: str, response: Response) -> UnavailableError | RejectedError:
    status, reason = response.status, f"POST {path} answered {response.status}"
    if 300 <= status < 400:  # about the address, not about the command
        reason += ", a redirect, which is not followed: check app and base_url"
        warn_once("redirect_not_followed", reason)
        return UnavailableError(reason, status=status, not_sent=True)
    if status in {408, 425, 429} or status >= 500 or status < 200:  # retried by all known clients
        retry_after, not_sent = response.retry_after, status == 429
        return UnavailableError(reason, status=status, retry_after=retry_after, not_sent=not_sent)
    detail = _unpacked(response.body)[:2000].decode("utf-8", "replace")[:500]
    return RejectedError(reason, status=status, detail=detail)


def _unpacked(body: bytes, limit: int = _MAX_BODY) -> bytes:
    """Return a body, unpacked up to a limit, which httpx does not have."""
    with suppress(zlib.error):
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, limit)
    return body


def retry_after_seconds(value: str, date: str = "") -> float | None:
    """Return ``Retry-After``, a number or a date (RFC 9110, 10.2.3), in seconds.

    ``date`` is the response's ``Date``: our own clock may differ from the server's.
    """
    if value.isascii() and value.isdigit():
        return float(value)
    until, now = _moment(value), _moment(date)
    return None if until is None else max(0.0, until - (time.time() if now is None else now))


def _moment(value: str) -> float | None:
    with suppress(TypeError, ValueError, OverflowError):
        return parsedate_to_datetime(value).timestamp()
    return None


def environment_proxy(origin: str) -> httpx.Proxy | None:
    """Return the proxy that the environment names for an origin, if it can be used."""
    parts, proxies = urlsplit(origin), getproxies()
    url = (proxies.get(parts.scheme) or proxies.get("all") or "").strip()
    # A proxy cannot reach this machine, and would read the token of a call over http.
    is_direct = parts.scheme == "http" and is_local(origin)
    if not url or is_direct or proxy_bypass(parts.netloc):
        return None
    with suppress(ValueError, httpx.InvalidURL, ImportError):  # SOCKS needs the package socksio
        tls = ssl_context() if url.startswith("https://") else None
        proxy = httpx.Proxy(url if "://" in url else f"http://{url}", ssl_context=tls)
        httpx.AsyncHTTPTransport(verify=False, proxy=proxy)
        if proxy.url.port is None or proxy.url.port in range(1, 2**16):
            return proxy
    # Omit the URL, which may hold a password.
    warn_once(
        "proxy_unusable",
        f"The environment's proxy for {parts.scheme} cannot be used, connecting directly",
    )
    return None
