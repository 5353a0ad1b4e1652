"""The session that a client and its views share: connections, retries, pauses."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import anyio

from ..core.exceptions import DeliveryError, RateLimitError
from ..core.log import failed_hook
from .call import (
    HEADERS,
    INITIAL_DELAY,
    JSON_HEADERS,
    MAX_BODY,
    MAX_RETRY_AFTER,
    PREFIX,
    Answer,
    Call,
    Options,
    Route,
    Token,
    encode_body,
    encode_query,
    retry_delay,
)
from .failures import (
    broken_off,
    failure_of,
    held_back,
    is_html,
    no_response,
    parse_json,
    scrubber,
    unexpected,
)
from .identifiers import expand

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..api.client import Address, ApiClient, Response, Transport

logger = logging.getLogger("usercom_asgi")

_MAX_PAUSE = 3600.0  # seconds, whatever a server asks for


class Clock:
    """Time, as a part that tests replace."""

    def now(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)


class Session:
    """Connections, limits and the pause that a client and its views share."""

    def __init__(
        self,
        address: Address,
        token: Token,
        *,
        transport: Transport | None,
        concurrency: int,
        on_call: Callable[[Call], object] | None,
        requests_per_second: float | None,
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
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._next_slot = 0.0

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
        target: str | None = None,
    ) -> Answer:
        """Make a call, and repeat it where that is safe.

        ``target``, path and query, is used as it is instead of those of the route.

        Raises:
            UnavailableError: If a later call may succeed.
            RejectedError: If User.com rejected it, or answered something unexpected.
            InvalidCommand: If a value cannot be sent.

        """
        target = target or PREFIX + expand(route.template, parts) + encode_query(query)
        content = b"" if body is None else encode_body(body)
        attempt = 1
        while True:
            await self._wait_for_pause(route, options)
            client, limiter = await self._opened()
            await self._wait_for_slot()
            async with limiter:
                if self._paused_for() > 0:  # by a call that had its place before
                    continue
                answer = await self._attempt(client, route, options, attempt, target, content)
            if isinstance(answer, DeliveryError):
                failure = answer
            elif 200 <= answer.status < 300 and not answer.is_too_large:
                headers = dict(answer.headers)
                return Answer(answer.status, headers, answer.body, parse_json(answer.body))
            else:
                sent = (parts, query, body, dict(parse_qsl(urlsplit(target).query)))
                scrub = scrubber(*sent, hide=self._token.hide)
                failure = failure_of(route.method, route.template, answer, scrub)
            delay = retry_delay(
                failure, attempt, options.retries, is_repeatable=route.is_repeatable
            )
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
        target: str,
        content: bytes,
    ) -> Response | DeliveryError:
        began, status = self.clock.now(), None
        # A kept connection may be closed just then, and the answer lost. A caller
        # without retries repeats a record by rules of its own.
        can_lose_answer = route.is_repeatable or (route.is_record and not options.retries)
        try:
            response = await client.request(
                route.method,
                target,
                {**HEADERS, **JSON_HEADERS} if content else HEADERS,
                content,
                credentials=self._token,
                name=route.template,
                timeout=options.timeout,
                max_body=MAX_BODY,
                is_new=not can_lose_answer,
            )
        except DeliveryError as error:
            # Returned, because an error that is raised here would keep this one as its
            # context, and with it what httpx holds.
            status = error.status
            return no_response(error, route.method, route.template)
        else:
            status = response.status
            if response.is_complete or response.is_too_large or not 200 <= status < 300:
                return response
            if route.is_repeatable:
                return broken_off(route.method, route.template, status)
            # It has been carried out, so the status has to do.
            response.body = b""
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
                logger.exception("on_call hook failed, continuing", extra=failed_hook("on_call"))

    async def _wait_for_slot(self) -> None:
        """Wait until one more call is within the limit of a second."""
        if self._interval:
            now = self.clock.now()
            slot = max(now, self._next_slot)
            self._next_slot = slot + self._interval
            if slot > now:
                await self.clock.sleep(slot - now)

    def _paused_for(self) -> float:
        return self._resume_at - self.clock.now()

    def _pause(self, seconds: float | None) -> None:
        until = self.clock.now() + min(max(seconds or 0.0, INITIAL_DELAY), _MAX_PAUSE)
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
        target: str | None = None,
    ) -> Answer:
        """Make a call; see :meth:`Session.call`."""
        return await self.session.call(
            route,
            self.options,
            parts=parts or {},
            query=query or {},
            body=body,
            target=target,
        )

    async def json(
        self,
        route: Route,
        *,
        parts: Mapping[str, str | int] | None = None,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        target: str | None = None,
    ) -> Any:
        """Make a call; return its JSON, or None if the answer is empty.

        A write has been made, whatever its answer is, unless that is a page of HTML.

        Raises:
            UnexpectedResponseError: If the answer is HTML, or that of a GET not JSON.

        """
        answer = await self.send(route, parts=parts, query=query, body=body, target=target)
        if answer.json is None and answer.content.strip() not in (b"", b"null"):
            is_page = is_html(answer.headers)
            if is_page or route.method == "GET":
                kind = "HTML" if is_page else "a body that is not JSON"
                error = unexpected(route.method, route.template, answer.status, f"with {kind}")
                error.is_page = is_page
                raise error
        return answer.json

    def with_options(self, **changes: Any) -> Caller:
        """Return a caller on the same session."""
        return replace(self, options=replace(self.options, **changes))
