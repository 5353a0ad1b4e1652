"""The HTTP connections to User.com, and what its answers mean to the delivery."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import httpcore
import httpx

from ..errors import Refused, Unavailable
from .connections import connector, core_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from ..config import UserComConfig
    from .connections import Connection

#: Worth another try. All known clients of User.com retry 429 and 5xx; 408 and 425 mean the same (RFC 9110, RFC 8470).
RETRIED_STATUSES = frozenset({408, 425, 429})
# Nothing was sent yet.
_UNREACHED = (httpcore.ConnectError, httpcore.ConnectTimeout)
_OURS = (httpcore.LocalProtocolError, httpcore.UnsupportedProtocol)
_FAILED = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError)
# Characters of an answer that are kept to tell why it was a no.
_DETAIL = 500
_LONGEST_ANSWER = 4 * 1024 * 1024
_LONGEST_COMPRESSED = 64 * 1024
_UNPRINTABLE = bytes((*range(0x20), 0x7F))
_AS_WIDGET = (b"X-Requested-With", b"XMLHttpRequest")


@asynccontextmanager
async def open_caller(config: UserComConfig) -> AsyncGenerator[Caller]:
    """Open what calls User.com; its connections are made when they are needed, and closed at the end."""
    caller = Caller(connector(config.origin), config.origin, timeout=config.timeout, longest=config.longest_call)
    try:
        yield caller
    finally:
        with anyio.CancelScope(shield=True):
            await caller.aclose()


class _Content:
    """A request's body in one piece. Not httpcore's own, a generator, of which trio complains where a call is cut off in it."""

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

    They are connections of httpcore, the engine of httpx, and not places in the pool of an ``httpx.AsyncClient``: that one
    looks at all its connections at every call, and loses places when calls are cut off (asgi-checklist, fact 6); a call through
    it takes three times the CPU time. Nor is there anything of a client that could go from one visitor's call to the next
    one's: no cookies, no redirects (which would lose the body), no log line a call.
    """

    def __init__(self, connect: Callable[[], Connection], origin: str, *, timeout: float, longest: float) -> None:
        self._connect = connect
        #: Connections that are not in use, the last used last.
        self._idle: list[Connection] = []
        self._origin = origin
        self._longest = longest
        self._extensions = {"timeout": {"connect": timeout, "read": timeout, "write": timeout}}
        self._urls: dict[str, httpcore.URL] = {}
        host = urlsplit(origin).netloc.encode("ascii")
        self._headers = [(b"Host", host), (b"Accept", b"*/*"), (b"Content-Type", b"application/json"), _AS_WIDGET]

    async def aclose(self) -> None:
        """Close all connections."""
        while self._idle:
            await self._idle.pop().aclose()

    async def post(self, path: str, body: object, user_agent: str = "", *, wants_answer: bool = False) -> httpx.Response:
        """Send JSON; return the answer if it is a success, with its headers and body if they are wanted.

        Raises:
            Unavailable: Nobody answered, or the answer was 408, 425, 429 or 5xx.
            Refused: Any other answer. (A redirect too: it would lose the body, and comes from a wrong address.)

        """
        try:
            response = await self._exchange(
                self._request(path, json.dumps(body).encode(), user_agent), wants_answer=wants_answer
            )
        except _OURS as error:
            raise Refused(f"POST {path}: {type(error).__name__}") from error  # and no better next time
        except _FAILED as error:
            # The type tells enough, and the text might quote the request.
            raise Unavailable(f"POST {path}: {type(error).__name__}", untouched=isinstance(error, _UNREACHED)) from error
        if response is None:
            raise Unavailable(f"POST {path}: no whole answer within {self._longest:g} s")
        return _judged(path, response)

    def _request(self, path: str, content: bytes, user_agent: str) -> httpcore.Request:
        headers = [*self._headers, (b"Content-Length", b"%d" % len(content))]
        # What no header can hold is left out here as well: a client's page comes from the application.
        if agent := user_agent.encode("ascii", "ignore").translate(None, _UNPRINTABLE).strip():
            headers.append((b"User-Agent", agent))
        url = self._urls.get(path) or self._urls.setdefault(path, core_url(httpx.URL(self._origin + path)))
        return httpcore.Request(b"POST", url, headers=headers, content=_Content(content), extensions=self._extensions)

    async def _exchange(self, request: httpcore.Request, *, wants_answer: bool) -> httpx.Response | None:
        """Return what was answered; None if that was not all of it in time."""
        response: httpcore.Response | None = None
        parts: list[bytes] = []
        is_whole = False
        connection = await self._free() or self._connect()
        try:
            with anyio.move_on_after(self._longest) as scope:
                response = await connection.handle_async_request(request)
                is_whole = await _read_into(parts, response, scope)
        finally:
            if is_whole:
                self._idle.append(connection)
            else:  # what was cut off is not used again
                with anyio.CancelScope(shield=True):
                    await connection.aclose()
        if response is None:
            return None
        is_success = 200 <= response.status < 300
        if is_success and wants_answer and not is_whole:
            return None
        if is_success and not wants_answer:
            return httpx.Response(response.status)
        return _with_body(response, b"".join(parts))

    async def _free(self) -> Connection | None:
        """Return a connection that is open and not in use."""
        while self._idle:
            connection = self._idle.pop()
            if isinstance(connection, httpcore.AsyncHTTPProxy) or not connection.has_expired():  # a proxy's looks itself
                return connection
            await connection.aclose()
        return None


def _with_body(response: httpcore.Response, body: bytes) -> httpx.Response:
    """Return an answer with its body; one that is compressed, which nobody has asked for, only if it is short and sound."""
    headers = [pair for pair in response.headers if pair[0].lower() != b"content-encoding"]
    if len(headers) == len(response.headers):
        return httpx.Response(response.status, headers=headers, content=body)
    try:
        if len(body) <= _LONGEST_COMPRESSED:
            return httpx.Response(response.status, headers=response.headers, content=body)
    except httpx.DecodingError:
        pass
    return httpx.Response(response.status, headers=headers)  # the status is what counts


async def _read_into(parts: list[bytes], response: httpcore.Response, scope: anyio.CancelScope) -> bool:
    """Read an answer's body, so that its connection can be used again; False if that is not all of it.

    The status is the answer; of most commands nobody wants to know more, and a body that breaks off is no reason to say
    them twice.
    """
    size = 0
    try:
        async for chunk in response.aiter_stream():
            parts.append(chunk)
            size += len(chunk)
            if size > _LONGEST_ANSWER:
                scope.cancel()  # and not a break: on trio, httpcore's own generators want to be left by an exception
    except _FAILED:
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


def _retry_after(response: httpx.Response) -> float | None:
    """``Retry-After`` in seconds; it comes as a number or as a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
