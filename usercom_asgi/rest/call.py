"""One call: path, query, body, retries, and the pause after a 429."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from uuid import UUID

import anyio

from ..core.exceptions import DeliveryError, InvalidCommand, RateLimitError, UnavailableError
from .failures import failure_of, held_back, is_html, no_response, parse_json, scrubber, unexpected
from .identifiers import expand

if TYPE_CHECKING:
    from ..api.client import Address, ApiClient, Response, Transport

logger = logging.getLogger("usercom_asgi")

#: The path that all routes are under, and where the token may go.
PREFIX: Final = "/api/public"
_HEADERS = {
    # Without the version, User.com answers in the shapes of version 1.
    "Accept": "*/*; version=2",
    "Accept-Encoding": "gzip",
}
_JSON = {"Content-Type": "application/json"}
#: Bytes of an answer, as received and as unpacked. A page of 100 users has up to 1 MB.
MAX_BODY = 16 * 1024 * 1024
_INITIAL_DELAY, _MAX_DELAY = 0.5, 8.0  # seconds
#: The longest ``Retry-After`` that is waited for, in seconds.
MAX_RETRY_AFTER = 60.0


class Unset(Enum):
    """The type of :data:`UNSET`."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


#: A value that is left out of the call. None is sent, as null.
UNSET: Final = Unset.UNSET


class Token:
    """The token, which no ``repr``, pickle or traceback shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def headers(self) -> dict[str, str]:
        """Return the header that authorizes a call."""
        return {"Authorization": f"Token {self._value}"}

    def hide(self, text: str) -> str:
        """Return a text without the token."""
        return text.replace(self._value, "...")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a UserComRest cannot be pickled: it holds the token and connections")


@dataclass(frozen=True, slots=True)
class Route:
    """A verb and the template of a path, such as ``/users/:id/``.

    ``is_repeatable`` is true if a call may be made twice with the effect of one. The
    operation decides that, and not the verb: ``update_or_create`` is a POST.
    """

    method: str
    template: str
    is_repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Options:
    """What :meth:`.UserComRest.with_options` changes."""

    timeout: float = 10.0
    retries: int = 2


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt of a call, for ``on_call``: it holds no ids and no values.

    ``route`` is the template of the path, ``status`` None if there was no response, and
    ``attempt`` begins with 1.
    """

    method: str
    route: str
    status: int | None
    seconds: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of 2xx. ``json`` is None if the body is empty or not JSON."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    json: Any = field(repr=False)


class Clock:
    """Time, as a part that tests replace."""

    def now(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)


def retry_delay(error: DeliveryError, attempt: int, retries: int, *, is_safe: bool) -> float | None:
    """Return the seconds to wait before a call is repeated, or None to raise the error.

    429, and a call that did not reach User.com, are repeated whatever the call does.
    After another failure the call may have been carried out, so only a call that is
    ``is_safe`` to repeat is made again.
    """
    if attempt > retries or not isinstance(error, UnavailableError):
        return None
    if 300 <= (error.status or 0) < 400 or not (error.not_sent or is_safe):
        return None
    if (error.retry_after or 0.0) > MAX_RETRY_AFTER:
        return None
    ceiling = min(_MAX_DELAY, _INITIAL_DELAY * 2.0 ** min(attempt - 1, 10))
    delay = random.uniform(0.0, ceiling)  # noqa: S311  jitter keeps no secret
    return max(delay, error.retry_after or 0.0)


class Session:
    """Connections, limits and the pause that a client and its views share."""

    def __init__(
        self,
        address: Address,
        token: Token,
        *,
        transport: Transport | None = None,
        concurrency: int = 8,
        on_call: Callable[[Call], object] | None = None,
    ) -> None:
        self.address = address
        self.clock = Clock()
        self._token = token
        self._transport = transport
        self._concurrency = concurrency
        self._on_call = on_call
        self._client: ApiClient | None = None
        self._limiter: anyio.CapacityLimiter | None = None
        self._resume_at = 0.0

    async def aclose(self) -> None:
        """Close the connections. A later call opens new ones."""
        client, self._client, self._limiter = self._client, None, None
        if client is not None:
            await client.aclose()

    async def call(
        self,
        route: Route,
        options: Options,
        *,
        parts: Mapping[str, str | int],
        query: Mapping[str, object],
        body: Mapping[str, object] | None,
        address: str | None = None,
    ) -> Answer:
        """Make a call, and repeat it where that is safe.

        ``address``, path and query, is used as it is instead of those of the route.

        Raises:
            UnavailableError: If a later call may succeed.
            RejectedError: If User.com rejected it, or answered something unexpected.
            InvalidCommand: If a value cannot be sent.

        """
        path = address or PREFIX + expand(route.template, parts) + encode_query(query)
        content = b"" if body is None else encode_body(body)
        attempt = 1
        while True:
            await self._wait_for_pause(route, options)
            client, limiter = await self._opened()
            async with limiter:
                if self._paused_for() > 0:  # by a call that had its place before
                    continue
                answer = await self._attempt(client, route, options, attempt, path, content)
            failure: DeliveryError | None
            if isinstance(answer, DeliveryError):
                failure = answer
            else:
                sent = (parts, query, body, dict(parse_qsl(urlsplit(path).query)))
                scrub = scrubber(*sent, hide=self._token.hide)
                failure = failure_of(route.method, route.template, answer, scrub)
                if failure is None:
                    headers = dict(answer.headers)
                    return Answer(answer.status, headers, answer.body, parse_json(answer.body))
            delay = retry_delay(failure, attempt, options.retries, is_safe=route.is_repeatable)
            if isinstance(failure, RateLimitError):
                self._pause(failure.retry_after if delay is None else delay)
            if delay is None:
                raise failure
            if not isinstance(failure, RateLimitError):
                await self.clock.sleep(delay)
            attempt += 1

    async def _opened(self) -> tuple[ApiClient, anyio.CapacityLimiter]:
        from ..api.client import ApiClient, load_certificates

        if self._client is None and self._transport is None:
            await load_certificates()
        if self._client is None or self._limiter is None:
            self._client = ApiClient(self.address, self._transport)
            self._limiter = anyio.CapacityLimiter(self._concurrency)
        return self._client, self._limiter

    async def _attempt(
        self,
        client: ApiClient,
        route: Route,
        options: Options,
        attempt: int,
        path: str,
        content: bytes,
    ) -> Response | DeliveryError:
        began, status = self.clock.now(), None
        try:
            response = await client.request(
                route.method,
                path,
                {**_HEADERS, **_JSON} if content else _HEADERS,
                content,
                credentials=self._token,
                name=route.template,
                timeout=options.timeout,
                max_body=MAX_BODY,
                is_new=not route.is_repeatable,
            )
        except DeliveryError as error:
            # Returned, because an error that is raised here would keep this one as its
            # context, and with it what httpx holds.
            status = error.status
            return no_response(error, route.method, route.template)
        else:
            status = response.status
            return response
        finally:
            self._report(
                Call(route.method, route.template, status, self.clock.now() - began, attempt)
            )

    def _report(self, call: Call) -> None:
        if self._on_call is not None:
            try:
                self._on_call(call)
            except Exception:  # a bug of the hook must not break the call
                logger.exception("on_call hook failed, continuing")

    def _paused_for(self) -> float:
        return self._resume_at - self.clock.now()

    def _pause(self, seconds: float | None) -> None:
        until = self.clock.now() + max(seconds or 0.0, _INITIAL_DELAY)
        self._resume_at = max(self._resume_at, until)

    async def _wait_for_pause(self, route: Route, options: Options) -> None:
        while (seconds := self._paused_for()) > 0:
            # A caller without retries has its own, and is to know when to come back.
            if not options.retries or seconds > MAX_RETRY_AFTER:
                raise held_back(route.method, route.template, seconds)
            await self.clock.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Caller:
    """A session with the options of one client or view."""

    session: Session
    options: Options

    async def send(
        self,
        route: Route,
        *,
        parts: Mapping[str, str | int] | None = None,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        address: str | None = None,
    ) -> Answer:
        """Make a call; see :meth:`Session.call`."""
        return await self.session.call(
            route,
            self.options,
            parts=parts or {},
            query=query or {},
            body=body,
            address=address,
        )

    async def json(
        self,
        route: Route,
        *,
        parts: Mapping[str, str | int] | None = None,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        address: str | None = None,
    ) -> Any:
        """Make a call; return its JSON, or None if the answer is empty.

        Raises:
            UnexpectedResponseError: If the answer is something else, such as HTML.

        """
        answer = await self.send(route, parts=parts, query=query, body=body, address=address)
        if answer.json is None and answer.content.strip() not in (b"", b"null"):
            kind = "HTML" if is_html(answer.headers) else "a body that is not JSON"
            raise unexpected(route.method, route.template, answer.status, f"with {kind}")
        return answer.json

    def with_options(self, **changes: Any) -> Caller:
        """Return a caller on the same session."""
        return replace(self, options=replace(self.options, **changes))


def encode_query(query: Mapping[str, object]) -> str:
    """Return a query with its question mark; None and UNSET are left out.

    A space is ``%20`` and a plus ``%2B``, so that phone numbers arrive.

    Raises:
        InvalidCommand: If a value cannot be sent.

    """
    pairs = [
        (name, str(value).lower() if isinstance(value, bool) else str(_plain(value)))
        for name, value in query.items()
        if value is not None and value is not UNSET
    ]
    try:
        return "?" + urlencode(pairs, quote_via=quote) if pairs else ""
    except UnicodeEncodeError:
        raise InvalidCommand("query", "must be text that UTF-8 can encode") from None


def encode_body(body: Mapping[str, object]) -> bytes:
    """Return a body as JSON, without the values that are UNSET.

    Raises:
        InvalidCommand: If a value cannot be sent.

    """
    given = {name: value for name, value in body.items() if value is not UNSET}
    for name, value in given.items():
        try:
            json.dumps(value, default=_plain, allow_nan=False)
        except InvalidCommand as error:
            raise InvalidCommand(name, error.problem) from None
        except (ValueError, TypeError, RecursionError):
            problem = "must be finite numbers, text, bools, dates, lists and mappings of text"
            raise InvalidCommand(name, problem) from None
    return json.dumps(given, default=_plain, allow_nan=False).encode()


def _plain(value: object) -> object:
    """Return a value as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise InvalidCommand(
            "datetime", "must have a time zone, such as datetime.now(timezone.utc)"
        )
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, (str, int, float)):
        return value
    raise InvalidCommand(
        "value",
        "must be text, a number, a bool, a date, an aware datetime, a UUID, an Enum, a list or a "
        f"mapping, got {type(value).__name__}",
    )
