"""The HTTP connections to User.com, and what its answers mean to the delivery."""

from __future__ import annotations

import json
import time
import zlib
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import anyio
import h11

from ..errors import Refused, Unavailable
from .connections import ProxyRefused, Route
from .exchange import PhaseLimit, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..config import UserComConfig
    from .exchange import Connection

#: Worth another try. All known clients of User.com retry 429 and 5xx; 408 and 425 mean the same (RFC 9110, RFC 8470).
RETRIED_STATUSES = frozenset({408, 425, 429})
# What a connection that cannot be made, or breaks, raises (TLS's errors are OSErrors).
_FAILED = (OSError, anyio.BrokenResourceError, anyio.EndOfStream, h11.RemoteProtocolError)
# Characters of an answer that are kept to tell why it was a no.
_DETAIL = 500
_GZIP = frozenset({"gzip", "x-gzip"})
_LONGEST_UNPACKED = 4 * 1024 * 1024
_UNPRINTABLE = bytes((*range(0x20), 0x7F))
_AS_WIDGET = (b"X-Requested-With", b"XMLHttpRequest")


@asynccontextmanager
async def open_caller(config: UserComConfig) -> AsyncGenerator[Caller]:
    """Open what calls User.com; its connections are made when they are needed, and closed at the end."""
    caller = Caller(Route.to(config.origin), timeout=config.timeout, longest=config.longest_call)
    try:
        yield caller
    finally:
        with anyio.CancelScope(shield=True):
            await caller.aclose()


class Caller:
    """Sends JSON to User.com, over as many connections as there are calls at a time.

    They are connections of our own, and not places in the pool of an ``httpx.AsyncClient``: that one looks at all its
    connections at every call, and loses places when calls are cut off (asgi-checklist, fact 6); a call through it takes
    several times the CPU time. Nor is there anything of a client that could go from one visitor's call to the next one's:
    no cookies, no redirects (which would lose the body), no log line a call.
    """

    def __init__(self, route: Route, *, timeout: float, longest: float) -> None:
        self._route = route
        #: Connections that are ready and not in use, the last used last.
        self._idle: list[Connection] = []
        self._is_closed = False
        self._timeout = timeout
        self._longest = longest
        self._headers = [*route.headers, (b"Accept", b"*/*"), (b"Content-Type", b"application/json"), _AS_WIDGET]

    async def aclose(self) -> None:
        """Close all connections, those in use when their call is over."""
        self._is_closed = True
        while self._idle:
            await self._idle.pop().aclose()

    async def post(self, path: str, body: object, user_agent: str = "") -> None:
        """Send JSON, of whose answer nothing but the status is wanted.

        Raises:
            Unavailable: Nobody answered, or the answer was 408, 425, 429 or 5xx.
            Refused: Any other answer. (A redirect too: it would lose the body, and comes from a wrong address.)

        """
        await self._said(path, body, user_agent)  # a body that breaks off is no reason to say it twice

    async def ask(self, path: str, body: object, user_agent: str = "") -> bytes:
        """Send JSON and return the answer's body; raises as :meth:`post` does, and ``Unavailable`` if that is not whole."""
        reply = await self._said(path, body, user_agent)
        if not reply.is_whole:
            raise Unavailable(f"POST {path}: the answer broke off")
        return _body(reply)

    async def _said(self, path: str, body: object, user_agent: str) -> Reply:
        """Send JSON; return the answer, whole or not, if it is a success."""
        content = json.dumps(body).encode()
        try:
            reply = await self._exchange(path, self._request(path, len(content), user_agent), content)
        except h11.LocalProtocolError as error:
            raise Refused(f"POST {path}: {type(error).__name__}") from error  # and no better next time
        if not 200 <= reply.status < 300:
            raise _no(path, reply)
        return reply

    def _request(self, path: str, length: int, user_agent: str) -> h11.Request:
        headers = [*self._headers, (b"Content-Length", b"%d" % length)]
        # What no header can hold is left out here as well: a client's page comes from the application.
        if agent := user_agent.encode("ascii", "ignore").translate(None, _UNPRINTABLE).strip():
            headers.append((b"User-Agent", agent))
        return h11.Request(method=b"POST", target=self._route.prefix + path, headers=headers)

    async def _exchange(self, path: str, request: h11.Request, content: bytes) -> Reply:
        """Return what was answered, whole or not: the status is the answer."""
        reply = Reply()
        connection: Connection | None = None
        limit = PhaseLimit(self._timeout, self._longest)
        try:
            with limit.scope:
                connection = await self._connected()
                limit.progress()
                await connection.exchange(request, content, reply, limit.progress)
        except _FAILED as error:
            if not reply.status:
                raise _unavailable(path, f": {_kind(error)}", connection) from error
        finally:
            if connection is not None:
                await self._put_back(connection, reply)
        if not reply.status:
            raise _unavailable(path, f" within {limit.bound:g} s", connection)
        return reply

    async def _connected(self) -> Connection:
        """Return a connection that is open and not in use."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.has_ended:
                return connection
            await connection.aclose()
        return await self._route.connect()

    async def _put_back(self, connection: Connection, reply: Reply) -> None:
        with anyio.CancelScope(shield=True):
            if self._idle and self._idle[0].has_ended:  # after a burst nobody comes to those at the bottom
                await self._idle.pop(0).aclose()
            if reply.is_whole and connection.is_ready and not self._is_closed:
                self._idle.append(connection)
            else:  # what was cut off is not used again
                await connection.aclose()


def _unavailable(path: str, why: str, connection: Connection | None) -> Unavailable:
    if connection is None:
        return Unavailable(f"POST {path}: no connection{why}", untouched=True)
    return Unavailable(f"POST {path}: no whole answer{why}")


def _kind(error: BaseException) -> str:
    """What went wrong; not in the error's own words, which might quote the request."""
    return type(error.__cause__ or error).__name__ if not isinstance(error, ProxyRefused) else str(error)


def _header(reply: Reply, name: bytes) -> str:
    """Return a header's value; empty if there is none. Names come in lower case."""
    return next((value.decode("latin-1").strip() for each, value in reply.headers if each == name), "")


def _body(reply: Reply) -> bytes:
    """Return an answer's body. Nobody has asked for a compressed one: no more of it is unpacked than an answer may have."""
    body = b"".join(reply.parts)
    coding = _header(reply, b"content-encoding").lower()
    if coding in ("", "identity"):
        return body
    if coding not in _GZIP:
        return b""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body, _LONGEST_UNPACKED)
    except zlib.error:
        return b""


def _no(path: str, reply: Reply) -> Unavailable | Refused:
    """Return what to raise for an answer that is no success."""
    status = reply.status
    if status in RETRIED_STATUSES or status >= 500:
        return Unavailable(
            f"POST {path} answered {status}", status=status, retry_after=_retry_after(reply), untouched=status == 429
        )
    # Whatever charset it names, what can be read of it as UTF-8 will do: Python knows charsets that are none.
    detail = _body(reply)[: 4 * _DETAIL].decode("utf-8", "replace")[:_DETAIL]
    return Refused(f"POST {path} answered {status}", status=status, detail=detail)


def _retry_after(reply: Reply) -> float | None:
    """``Retry-After`` in seconds; it comes as a number or as a date (RFC 9110, 10.2.3)."""
    value = _header(reply, b"retry-after")
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
