"""Senders of events: this library and its peers, each as an ASGI application.

`GET /17` sends event number 17. Every sender is configured as its documentation
recommends, except for the address and for limits that would prevent the measurement.
The peers are in the dependency group `bench`.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, ClassVar, Self

from bench.drive import living

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

VISITORS = 25
#: With it, this library delivers by the REST API.
REST_TOKEN = "token-of-the-benchmark"
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json")],
}
_BODY = {"type": "http.response.body", "body": b"{}"}


class Sender:
    """Sender that is made without an event loop and entered in one.

    Leaving it flushes.
    """

    name: ClassVar[str]
    #: Configuration of this library.
    settings: ClassVar[dict[str, Any]] = {}
    #: Whether it can be made in one process and used in its fork.
    outlives_fork: ClassVar[bool] = True

    def __init__(self, url: str) -> None:
        self.url = url
        self.app: ASGIApp = self._answer
        self.state: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # In a thread, so that a loop that is blocked at the end is not counted.
        await asyncio.to_thread(self.flush)

    def say(self, n: int) -> None:
        """Send one event, as a handler would."""

    def flush(self) -> None:
        """Deliver the waiting events."""

    def notes(self) -> dict[str, Any]:
        """Return the sender's own report of the outcomes."""
        return {}

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.say(int(scope["path"][1:]))
        await send(_START)
        await send(_BODY)


class Nothing(Sender):
    """No sender: the noise of the machine."""

    name = "sends nothing"


class UserCom(Sender):
    """This library with the whole middleware."""

    name = "usercom_asgi"

    def __init__(self, url: str) -> None:
        from usercom_asgi import UserComConfig, UserComMiddleware, get_delivery, get_visitor

        super().__init__(url)
        self._delivery: Any = None
        self._entered = AsyncExitStack()

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await send({"type": f"{(await receive())['type']}.complete"})
                await send({"type": f"{(await receive())['type']}.complete"})
                return
            self._delivery = self._delivery or get_delivery(scope)
            await get_visitor(scope).event("said", n=int(scope["path"][1:]))
            await send(_START)
            await send(_BODY)

        self.app = UserComMiddleware(
            answer, UserComConfig(base_url=url, api_key="ABC123", **self.settings)
        )

    async def __aenter__(self) -> Self:
        self.state = await self._entered.enter_async_context(living(self.app))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._entered.aclose()

    def notes(self) -> dict[str, Any]:
        stats, letters = self._delivery.stats, self._delivery.dead_letters
        reasons = sorted({each.reason for each in letters})
        kinds = (
            "accepted",
            "delivered",
            "dropped",
            "dead_lettered",
            "persisted",
            "waiting",
            "retried",
        )
        return {**{kind: getattr(stats, kind) for kind in kinds}, "reasons": reasons[:2]}


class UserComWide(UserCom):
    name = "usercom_asgi, max_concurrency=32"
    settings: ClassVar[dict[str, Any]] = {"max_concurrency": 32}


class UserComByRest(UserCom):
    name = "usercom_asgi, REST"
    settings: ClassVar[dict[str, Any]] = {"rest_token": REST_TOKEN}


class PostHog(Sender):
    name = "posthog"

    def __init__(self, url: str) -> None:
        from posthog import Posthog

        super().__init__(url)
        self._client: Any = Posthog("phc_bench", host=url)
        self.flush: Callable[[], None] = self._client.shutdown

    def say(self, n: int) -> None:
        self._client.capture("said", distinct_id=f"k{n % VISITORS}", properties={"n": n})


class PostHogAsync(Sender):
    name = "posthog, async"

    def __init__(self, url: str) -> None:
        from posthog.async_client import AsyncPosthog

        super().__init__(url)
        self._client: Any = AsyncPosthog("phc_bench", host=url)

    def say(self, n: int) -> None:
        self._client.capture("said", distinct_id=f"k{n % VISITORS}", properties={"n": n})

    async def __aexit__(self, *_: object) -> None:
        await self._client.shutdown()


class Segment(Sender):
    name = "segment"

    def __init__(self, url: str) -> None:
        from segment.analytics.client import Client

        super().__init__(url)
        self._client: Any = Client("bench", host=url)
        self.flush: Callable[[], None] = self._client.shutdown

    def say(self, n: int) -> None:
        self._client.track(f"k{n % VISITORS}", "said", {"n": n})


class Snowplow(Sender):
    name = "snowplow, AsyncEmitter"

    def __init__(self, url: str) -> None:
        from snowplow_tracker import AsyncEmitter, SelfDescribing, SelfDescribingJson, Tracker

        super().__init__(url)
        self._emitter: Any = AsyncEmitter(url)
        self._tracker: Any = Tracker("bench", self._emitter, encode_base64=False)
        self._event: Any = lambda n: SelfDescribing(
            SelfDescribingJson("iglu:com.example/said/jsonschema/1-0-0", {"n": n})
        )
        self.flush: Callable[[], None] = self._emitter.sync_flush

    def say(self, n: int) -> None:
        self._tracker.track(self._event(n))


class Sentry(Sender):
    name = "sentry, thread"
    is_async: ClassVar[bool] = False

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._client: Any = None
        if not self.is_async:
            self._open()

    def _open(self) -> None:
        import sentry_sdk
        from sentry_sdk.integrations.asyncio import AsyncioIntegration

        experiments: dict[str, Any] = {"transport_compression_algo": "gzip"}
        if self.is_async:
            experiments["transport_async"] = True
        sentry_sdk.init(
            dsn=self.url.replace("http://", "http://bench@") + "/1",
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[AsyncioIntegration()] if self.is_async else [],
            auto_session_tracking=False,
            transport_queue_size=10_000,
            _experiments=experiments,
        )
        self._capture: Any = sentry_sdk.capture_event
        self._client = sentry_sdk.get_client()

    def say(self, n: int) -> None:
        self._capture({"message": "said", "extra": {"n": n}})

    def flush(self) -> None:
        self._client.close()


class SentryAsync(Sentry):
    name = "sentry, async"
    is_async = True
    outlives_fork = False

    async def __aenter__(self) -> Self:
        self._open()
        assert type(self._client.transport).__name__ == "AsyncHttpTransport"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close_async()


class TaskPerEvent(Sender):
    """A task for each event, as written at a first try."""

    name = "a task per event, httpx"
    outlives_fork = False

    async def __aenter__(self) -> Self:
        import httpx

        self._client = httpx.AsyncClient(base_url=self.url, timeout=httpx.Timeout(5, pool=None))
        self._tasks: set[asyncio.Task[Any]] = set()
        return self

    def say(self, n: int) -> None:
        body = {"event": "said", "user_key": f"k{n % VISITORS}", "data": {"n": n}}
        task = asyncio.create_task(self._client.post("/api/event/", json=body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()


SENDERS: dict[str, type[Sender]] = {
    each.name: each
    for each in (
        UserCom, UserComByRest, UserComWide, PostHog, PostHogAsync, Segment, Snowplow, Sentry, SentryAsync, TaskPerEvent, Nothing,
    )
}  # fmt: skip
