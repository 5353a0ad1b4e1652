"""HTTP client for User.com's APIs; the only module that imports httpx."""

from __future__ import annotations

import json
import re
import socket
import time
import zlib
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio

from ..core.exceptions import RejectedError, UnavailableError
from ..core.hooks import warn_once

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping

    import httpx2 as httpx

    from ..core.config import UserComConfig

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


@cache
def ssl_context() -> ssl.SSLContext:
    """Return the TLS settings; reading the certificates takes tens of milliseconds."""
    return httpx.create_ssl_context()


@asynccontextmanager
async def open_api_client(
    config: UserComConfig, transport: Transport | None
) -> AsyncGenerator[ApiClient]:
    """Open a client that connects on demand. The owner of ``transport`` closes it."""
    if transport is None and not ssl_context.cache_info().currsize:
        # In a thread, because the event loop serves requests.
        await anyio.to_thread.run_sync(ssl_context)
    async with aclosing(ApiClient(config, transport)) as client:
        yield client


@dataclass(slots=True, repr=False)  # the body may hold a user key
class Response:
    """Response as far as it was received; ``status`` is 0 before its head."""

    status: int = 0
    retry_after: float | None = None
    body: bytes = b""
    is_complete: bool = False


class ApiClient:
    """Posts JSON to User.com, over as many connections as there are calls in flight.

    Each connection has its own transport, because a shared pool of httpx 0.28 loses
    connections when calls are cancelled.
    """

    def __init__(self, config: UserComConfig, transport: Transport | None) -> None:
        self._origin = config.origin
        self._options = {"timeout": httpx.Timeout(config.timeout).as_dict()}
        self._total_timeout = config.total_timeout
        self._transport = transport
        self._proxy = None if transport else environment_proxy(config.origin)
        place = "app" if config.app else "base_url"
        self._host, self._setting = urlsplit(config.origin).hostname, f"{place}="
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
        response = await self._post(path, json.dumps(body).encode(), headers, is_new=read_body)
        if not 200 <= response.status < 300:
            raise _error_for(path, response)
        if read_body and not response.is_complete:  # without read_body, the status is enough
            raise UnavailableError(f"POST {path}: the response broke off")
        return _unpacked(response.body) if read_body else b""

    async def _post(self, path: str, content: bytes, headers: Headers, *, is_new: bool) -> Response:
        is_sent, response, error = False, Response(), None

        async def body() -> AsyncIterator[bytes]:
            nonlocal is_sent
            is_sent = True
            yield content

        headers = {**headers, **_JSON, "Content-Length": str(len(content))}
        url, options = self._origin + path, self._options
        request = httpx.Request("POST", url, headers=headers, content=body(), extensions=options)
        transport = self._acquire(is_new=is_new)
        reason = f"no response in {self._total_timeout:g} s"
        try:
            with anyio.move_on_after(self._total_timeout) as scope:
                received = await transport.handle_async_request(request)
                response.retry_after = retry_after_seconds(
                    received.headers.get("retry-after", ""), received.headers.get("date", "")
                )
                response.status = received.status_code
                async for chunk in cast("AsyncIterable[bytes]", received.stream):
                    response.body += chunk
                    if len(response.body) > _MAX_BODY:
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
                warn_once(f"The host {reason}, retrying: check {self._setting}")
        finally:
            await self._release(transport, is_reusable=response.is_complete and not is_new)
        if isinstance(error, httpx.LocalProtocolError):  # a later attempt would fail as well
            raise RejectedError(f"POST {path}: {reason}") from error
        if not response.status:
            not_sent = not is_sent or isinstance(error, _CONNECT_ERRORS)
            reason = f"POST {path}{' not sent' if not_sent else ''}: {reason}"
            raise UnavailableError(reason, not_sent=not_sent) from error
        return response

    def _acquire(self, *, is_new: bool) -> Transport:
        # A body that is read may hold a user key, so its request gets a new
        # connection. On a kept one, httpx would take a duplicate response for that of
        # the next request.
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
        warn_once(reason)
        return UnavailableError(reason, status=status, not_sent=True)
    if status in {408, 425, 429} or status >= 500 or status < 200:  # retried by all known clients
        retry_after, not_sent = response.retry_after, status == 429
        return UnavailableError(reason, status=status, retry_after=retry_after, not_sent=not_sent)
    detail = _unpacked(response.body)[:2000].decode("utf-8", "replace")[:500]
    return RejectedError(reason, status=status, detail=detail)


def _unpacked(body: bytes) -> bytes:
    """Return a body, unpacked up to a limit, which httpx does not have."""
    with suppress(zlib.error):
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, _MAX_BODY)
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
    if not url or proxy_bypass(parts.netloc):
        return None
    with suppress(ValueError, httpx.InvalidURL, ImportError):  # SOCKS needs the package socksio
        tls = ssl_context() if url.startswith("https://") else None
        proxy = httpx.Proxy(url if "://" in url else f"http://{url}", ssl_context=tls)
        httpx.AsyncHTTPTransport(verify=False, proxy=proxy)
        if proxy.url.port is None or proxy.url.port in range(1, 2**16):
            return proxy
    # Omit the URL, which may hold a password.
    warn_once(f"The environment's proxy for {parts.scheme} cannot be used, connecting directly")
    return None
