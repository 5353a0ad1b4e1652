"""The delivery that a request gets: of its lifespan, or its own."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
import pytest
from helpers.apps import app_that
from helpers.asgi_client import answers, body, call, html, http_scope, lifespan, start
from helpers.fake_usercom import FakeUserCom
from helpers.waiting import until
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usercom_asgi import SqliteOutbox, UserComMiddleware, get_delivery, get_visitor
from usercom_asgi.sandbox import Sandbox, serve

PAGE = b"<html><body><p>hello</p></body></html>"


async def test_provider_server_without_lifespan_state_has_workers(
    usercom: FakeUserCom,
) -> None:
    key = usercom.new_user()
    middleware = UserComMiddleware(app_that("page_hit"), usercom.config(inline_deadline=0))
    async with lifespan(middleware, no_state=True):
        await call(middleware, headers={"cookie": f"__ca__chat={key}"})
        await until(lambda: usercom.store.hits)


async def test_provider_outbox_without_a_lifespan_logs_a_warning(
    usercom: FakeUserCom, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await scope["state"]["usercom"].event("said")
        await answers(start(), body(b"x"))(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config(), outbox=SqliteOutbox(tmp_path / "x.db"))
    for _ in range(2):
        await call(middleware, headers={"cookie": f"__ca__chat={usercom.new_user()}"})
    assert len(usercom.store.events) == 2
    assert caplog.text.count("The outbox is not used") == 1


def buying(on: str) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        visitor = get_visitor(scope)
        visitor.identify(user_id="u-1")
        await visitor.event("bought", on=on)
        assert get_delivery(scope).readiness().state == "sending"
        await html(PAGE)(scope, receive, send)

    return app


class Dispatcher:
    """Gives each site's requests to its application, and the lifespan to all, one inside of the other's block."""

    def __init__(self, *sites: ASGIApp, copies: bool) -> None:
        self.sites = {f"/{number}": site for number, site in enumerate(sites)}
        self.copies = copies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.sites[scope["path"]](scope, receive, send)
            return
        started, stop = 0, anyio.Event()

        async def one(site: ASGIApp) -> None:
            messages: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

            async def give() -> Message:
                if len(messages) == 1:
                    await stop.wait()
                return messages.pop(0)

            async def note(message: Message) -> None:
                nonlocal started
                started += message["type"] == "lifespan.startup.complete"

            await site(dict(scope) if self.copies else scope, give, note)

        async with anyio.create_task_group() as tasks:
            for site in self.sites.values():
                tasks.start_soon(one, site)
            await receive()
            await until(lambda: started == len(self.sites))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            stop.set()
        await send({"type": "lifespan.shutdown.complete"})


@pytest.mark.parametrize("no_state", [False, True])
@pytest.mark.parametrize("copies", [True, False])
async def test_provider_beside_one_of_another_workspace_delivers_to_its_own(
    usercom: FakeUserCom, copies: bool, no_state: bool
) -> None:
    other = Sandbox(api_key="XYZ789")
    with serve(other) as server:
        configs = [usercom.config(), usercom.config(base_url=server.url, api_key="XYZ789")]
        app = Dispatcher(
            *(UserComMiddleware(buying(each.api_key), each) for each in configs), copies=copies
        )
        async with lifespan(app, no_state=no_state) as state:
            for path in ("/0", "/1", "/0"):
                given: dict[str, Any] = {} if no_state else {"state": dict(state)}
                await call(app, path, **given)
    assert [each.data["on"] for each in usercom.store.events] == ["ABC123", "ABC123"]
    assert [each.data["on"] for each in other.store.events] == ["XYZ789"]
    assert state == {"usercom_asgi.lifespan_state": id(state)} or no_state


async def test_provider_without_a_lifespan_does_not_use_the_delivery_of_another(
    usercom: FakeUserCom,
) -> None:
    """Of two applications in one process, one is mounted where no lifespan comes."""
    other = Sandbox(api_key="XYZ789")
    with serve(other) as server:
        living = UserComMiddleware(html(PAGE), usercom.config())
        mounted = UserComMiddleware(
            app_that("page_hit"), usercom.config(base_url=server.url, api_key="XYZ789")
        )
        async with lifespan(living) as state:
            await call(mounted, headers={"cookie": "__ca__chat=abc123"}, state=dict(state))
    assert len(other.store.hits) == 1
    assert not usercom.store.hits


@pytest.mark.parametrize("no_state", [False, True])
async def test_provider_whose_next_lifespan_begins_before_the_last_ends_has_a_delivery(
    usercom: FakeUserCom, no_state: bool
) -> None:
    app = UserComMiddleware(buying("after the reload"), usercom.config())
    lifespans: list[dict[str, Any]] = []
    ends = [anyio.Event(), anyio.Event()]
    ended: list[int] = []

    async def live(number: int) -> None:
        async with lifespan(app, no_state=no_state) as state:
            lifespans.append(state)
            await ends[number].wait()
        ended.append(number)

    async with anyio.create_task_group() as tasks:
        for number in (0, 1):
            tasks.start_soon(live, number)
            await until(lambda: len(lifespans) > number)  # noqa: B023  waited for in this turn
        ends[0].set()
        await until(lambda: ended)
        given: dict[str, Any] = {} if no_state else {"state": dict(lifespans[1])}
        await call(app, **given)
        ends[1].set()
    assert len(usercom.store.events) == 1


async def test_provider_given_one_scope_twice_serves_both_times(usercom: FakeUserCom) -> None:
    """A dispatcher tries one application after the other, with the same scope."""
    other = Sandbox(api_key="XYZ789")
    with serve(other) as server:
        first = UserComMiddleware(app_that("page_hit"), usercom.config())
        second = UserComMiddleware(
            app_that("page_hit"), usercom.config(base_url=server.url, api_key="XYZ789")
        )

        async def both(scope: Scope, receive: Receive, send: Send) -> None:
            async def drop(message: Message) -> None:
                pass

            await first(scope, receive, drop)
            await second(scope, receive, send)

        got = await call(both, headers={"cookie": "__ca__chat=abc123"})
    assert got.body.count(b"widget.js") == 1
    assert len(usercom.store.hits) == len(other.store.hits) == 1


@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize("failure", ["shutdown.failed", "raise", "startup.failed"])
async def test_provider_on_a_server_that_outlives_the_lifespan_delivers(
    usercom: FakeUserCom, failure: str, copies: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """uvicorn serves on for weeks when a task of the application fails in its lifespan."""
    page = app_that("page_hit")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await page(scope, receive, send)
            return
        await receive()
        if failure != "startup.failed":
            await send({"type": "lifespan.startup.complete"})
        if failure == "raise":
            raise ZeroDivisionError
        await send({"type": f"lifespan.{failure}", "message": "a task has failed"})

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    states: list[dict[str, Any]] = []

    async def send(message: Message) -> None:
        states.append(dict(state) if copies else state)

    state: dict[str, Any] = {}
    middleware = UserComMiddleware(app, usercom.config())
    with suppress(ZeroDivisionError):
        await middleware({"type": "lifespan", "state": state}, receive, send)
    headers = {"cookie": f"__ca__chat={usercom.new_user()}"}
    for _ in range(2):
        await call(middleware, headers=headers, state=dict(states[0]))
    assert len(usercom.store.hits) == 2
    assert caplog.text.count("The application's lifespan has ended and requests still arrive") == 1


async def test_provider_websocket_that_outlives_the_lifespan_delivers(
    usercom: FakeUserCom,
) -> None:
    """It began while the delivery ran, and may stay open for weeks after it has ended."""
    has_begun, may_go_on = anyio.Event(), anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        visitor = get_visitor(scope)
        visitor.identify(user_id="u-1")
        assert await (await visitor.event("before")).delivered(30)
        has_begun.set()
        await may_go_on.wait()
        for n in range(3):
            await visitor.event("after", n=n)

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    middleware = UserComMiddleware(app, usercom.config())
    async with anyio.create_task_group() as tasks:
        async with lifespan(middleware) as state:
            scope = {**http_scope("/"), "type": "websocket", "state": dict(state)}
            tasks.start_soon(middleware, scope, nothing, nothing)
            await has_begun.wait()
        may_go_on.set()
    assert [each.name for each in usercom.store.events] == ["before", "after", "after", "after"]
    assert [each.data.get("n") for each in usercom.store.events[1:]] == [0, 1, 2]
