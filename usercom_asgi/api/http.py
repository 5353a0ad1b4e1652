"""The HTTP connections to User.com, and what its answers mean to the delivery."""

from __future__ import annotations

import json
import logging
import ssl
import time
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx

from ..errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from ..config import UserComConfig

logger = logging.getLogger("usercom_asgi")

#: Worth another try. All known clients of User.com retry 429 and 5xx; 408 and 425 mean the same (RFC 9110, RFC 8470).
RETRIED_STATUSES = frozenset({408, 425, 429})
_DETAIL = 500
# A transport for one call at a time. Nobody waits for a place in it, so its own timeout for that is off.
_ONE = httpx.Limits(max_connections=1, keepalive_expiry=30)
_PRINTABLE = frozenset(range(0x20, 0x7F))
_AS_WIDGET = (b"X-Requested-With", b"XMLHttpRequest")


# All phases of one call together may take so many times what each of them may: an answer that comes in drips is none.
_WHOLE = 3
_LONGEST_ANSWER = 4 * 1024 * 1024
_LONGEST_COMPRESSED = 64 * 1024


@asynccontextmanager
async def open_caller(config: UserComConfig) -> AsyncGenerator[Caller]:
    """Open what calls User.com; its connections are made when they are needed, and closed at the end."""
    tls = _tls() if config.origin.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    proxy = _proxy_for(config.origin)

    def connect() -> httpx.AsyncBaseTransport:
        return httpx.AsyncHTTPTransport(limits=_ONE, verify=tls, proxy=proxy)

    caller = Caller(connect, config.origin, config.timeout)
    try:
        yield caller
    finally:
        with anyio.CancelScope(shield=True):
            await caller.aclose()


class _Content(httpx.AsyncByteStream):
    """A request's body in one piece. Not httpx's own, a generator, of which trio complains where a call is cut off in it."""

    def __init__(self, content: bytes) -> None:
        self._parts = [content]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._parts:
            raise StopAsyncIteration
        return self._parts.pop()


class Caller:
    """Sends JSON to User.com, over as many connections as there are calls at a time.

    Each connection is a transport of httpx's with room for one, and not a place in a client's pool: that one looks at all its
    connections at every call (with 32 of them it takes three times the CPU time of 8), and loses places when calls are cut off
    (asgi-checklist, fact 6). And no client around it: no cookies that would go from one visitor's call to the next one's, no
    redirects (which would lose the body), no log line a call.
    """

    def __init__(self, connect: Callable[[], httpx.AsyncBaseTransport], origin: str, timeout: float) -> None:
        self._connect = connect
        #: Connections that are not in use, the last used last.
        self._idle: list[httpx.AsyncBaseTransport] = []
        self._origin = origin
        self._whole = _WHOLE * timeout
        self._extensions = {"timeout": httpx.Timeout(timeout, pool=None).as_dict()}
        self._urls: dict[str, httpx.URL] = {}
        host = urlsplit(origin).netloc.encode("ascii")
        self._headers = [(b"Host", host), (b"Accept", b"*/*"), (b"Content-Type", b"application/json"), _AS_WIDGET]

    async def aclose(self) -> None:
        """Close all connections."""
        while self._idle:
            await self._idle.pop().aclose()

    async def post(self, path: str, body: object, user_agent: str = "", *, wants_answer: bool = False) -> httpx.Response:
        """Send JSON; return the answer if it is a success, with its body if that is wanted.

        Raises:
            Unavailable: Nobody answered, or the answer was 408, 425, 429 or 5xx.
            Refused: Any other answer. (A redirect too: it would lose the body, and comes from a wrong address.)

        """
        try:
            response = await self._exchange(path, json.dumps(body).encode(), user_agent, wants_answer=wants_answer)
        except (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
            raise Refused(f"POST {path}: {type(error).__name__}") from error  # ours, and no better next time
        except httpx.HTTPError as error:
            # The type tells enough, and the text might quote the request.
            unreached = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
            raise Unavailable(f"POST {path}: {type(error).__name__}", untouched=unreached) from error
        if response is None:
            raise Unavailable(f"POST {path}: no whole answer within {self._whole:g} s")
        return _judged(path, response)

    async def _exchange(self, path: str, content: bytes, user_agent: str, *, wants_answer: bool) -> httpx.Response | None:
        headers = [*self._headers, (b"Content-Length", b"%d" % len(content))]
        # What no header can hold is left out here as well: a client's page comes from the application.
        if agent := bytes(byte for byte in user_agent.encode("ascii", "ignore") if byte in _PRINTABLE).strip():
            headers.append((b"User-Agent", agent))
        url = self._urls.get(path) or self._urls.setdefault(path, httpx.URL(self._origin + path))
        request = httpx.Request("POST", url, headers=headers, stream=_Content(content), extensions=self._extensions)
        response: httpx.Response | None = None
        parts: list[bytes] = []
        is_whole = False
        transport = self._idle.pop() if self._idle else self._connect()
        try:
            with anyio.move_on_after(self._whole) as scope:
                response = await transport.handle_async_request(request)
                is_whole = await _read_into(parts, response, scope)
        finally:
            if is_whole:
                self._idle.append(transport)
            else:  # what was cut off is not used again
                with anyio.CancelScope(shield=True):
                    await transport.aclose()
        if response is None or (wants_answer and response.is_success and not is_whole):
            return None
        if not response.is_success or wants_answer:
            return _with_body(response, b"".join(parts))
        return response


def _with_body(response: httpx.Response, body: bytes) -> httpx.Response:
    """Return an answer with its body; one that is compressed, which nobody has asked for, only if it is short and sound."""
    headers = [pair for pair in response.headers.raw if pair[0].lower() != b"content-encoding"]
    if len(headers) == len(response.headers.raw):
        return httpx.Response(response.status_code, headers=headers, content=body)
    try:
        if len(body) <= _LONGEST_COMPRESSED:
            return httpx.Response(response.status_code, headers=response.headers.raw, content=body)
    except httpx.DecodingError:
        pass
    return httpx.Response(response.status_code, headers=headers)  # the status is what counts


async def _read_into(parts: list[bytes], response: httpx.Response, scope: anyio.CancelScope) -> bool:
    """Read an answer's body, so that its connection can be used again; False if that is not all of it.

    The status is the answer; of most commands nobody wants to know more, and a body that breaks off is no reason to say
    them twice.
    """
    size = 0
    try:
        async for chunk in response.aiter_raw():
            parts.append(chunk)
            size += len(chunk)
            if size > _LONGEST_ANSWER:
                scope.cancel()  # and not a break: on trio, httpx's own generators want to be left by an exception
    except httpx.HTTPError:
        return False
    finally:
        with anyio.CancelScope(shield=True):
            await response.aclose()
    return True


def _judged(path: str, response: httpx.Response) -> httpx.Response:
    """Return an answer if it is a success."""
    status = response.status_code
    if response.is_success:
        return response
    if status in RETRIED_STATUSES or status >= 500:
        raise Unavailable(
            f"POST {path} answered {status}", status=status, retry_after=_retry_after(response), untouched=status == 429
        )
    raise Refused(f"POST {path} answered {status}", status=status, detail=response.text[:_DETAIL])


def _proxy_for(origin: str) -> httpx.Proxy | None:
    """Return the proxy that the environment names for this origin: what every HTTP client does."""
    parts = urlsplit(origin)
    proxies = getproxies()
    proxy = (proxies.get(parts.scheme) or proxies.get("all") or "").strip()
    if not proxy or proxy_bypass(parts.netloc):
        return None
    try:
        found = httpx.Proxy(proxy if "://" in proxy else f"http://{proxy}")
    except (ValueError, httpx.InvalidURL):
        found = None
    if found is None or found.url.scheme not in ("http", "https"):  # socks would want one more library
        # Without the address, which may hold a password.
        logger.error("the environment's proxy for %s is none that can be used: User.com is called directly", parts.scheme)
        return None
    return found


def _retry_after(response: httpx.Response) -> float | None:
    """``Retry-After`` in seconds; it comes as a number or as a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


@cache
def _tls() -> ssl.SSLContext:
    # Reading the certificates takes tens of milliseconds: once a process, not once a request without a lifespan.
    return httpx.create_ssl_context()
