"""The visitor's verbs in plain threads: `visitor.sync`."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio
from helpers.asgi_client import call, html, lifespan
from helpers.fake_usercom import FakeUserCom
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from usercom_asgi import Event, InvalidCommand, Receipt, Status, UserComMiddleware, get_visitor

PAGE = b"<html><body></body></html>"


async def in_a_plain_thread(work: Callable[[], object]) -> None:
    """Run a function as Litestar and Quart do: not in a thread of anyio, with the context."""
    context, errors = contextvars.copy_context(), list[BaseException]()

    def run() -> None:
        try:
            context.run(work)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        await anyio.sleep(0.005)
    for error in errors:
        raise error


Runner = Callable[[Callable[[], object]], Awaitable[object]]
RUNNERS: list[Runner] = [in_a_plain_thread, anyio.to_thread.run_sync]


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("has_lifespan", [True, False])
async def test_sync_verbs_in_a_thread_arrive_in_order(
    run: Runner, has_lifespan: bool, usercom: FakeUserCom
) -> None:
    receipts: list[Receipt] = []

    def handler(visitor: Any) -> None:
        receipts.append(visitor.sync.event("renewed", {"plan": "gold"}, n=1))
        visitor.sync.product_event("sku-1", "purchase", price=19.9)
        visitor.sync.update(plan="gold")
        visitor.sync.page_hit(event=Event("seen"), city="Paris")
        with pytest.raises(InvalidCommand, match="event_type"):
            visitor.sync.product_event("sku-1", "buy")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await Starlette()(scope, receive, send)
            return
        await run(partial(handler, get_visitor(scope)))
        await html(PAGE)(scope, receive, send)

    site = UserComMiddleware(app, usercom.config())
    await visit(site, usercom, has_lifespan=has_lifespan)
    assert [each.name for each in usercom.store.events] == ["renewed", "seen"]
    assert usercom.store.events[0].data == {"plan": "gold", "n": 1}
    assert usercom.store.product_events[0].product_id == "sku-1"
    assert usercom.store.updates[0].data == {"plan": "gold"}
    assert receipts[0].status is Status.DELIVERED


async def test_sync_reset_in_a_def_handler_of_starlette_sets_the_cookie(
    usercom: FakeUserCom,
) -> None:
    def logout(request: Request) -> HTMLResponse:
        request.state.usercom.sync.reset_auth()
        return HTMLResponse(PAGE)

    key = usercom.new_user()
    site = UserComMiddleware(
        Starlette(routes=[Route("/", logout)]), usercom.config(reset_timeout=30)
    )
    async with lifespan(site) as state:
        got = await call(site, headers={"cookie": f"__ca__chat={key}"}, state=dict(state))
    [cookie] = [each for each in got.set_cookies("__ca__chat") if "Max-Age=0" not in each]
    assert key not in cookie


@pytest.mark.parametrize("settings", [{"enabled": False}, {}])
async def test_sync_verb_of_a_visitor_who_is_not_tracked_is_skipped(
    settings: dict[str, Any], usercom: FakeUserCom
) -> None:
    receipts: list[Receipt] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        await in_a_plain_thread(lambda: receipts.append(visitor.sync.event("x")))
        await html(PAGE)(scope, receive, send)

    site = UserComMiddleware(app, usercom.config(**settings), consent=lambda _: False)
    await call(site, headers={"cookie": "__ca__chat=abc123"})
    assert receipts[0].status is Status.SKIPPED


async def test_sync_verb_on_the_event_loop_raises_with_the_remedy(usercom: FakeUserCom) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(RuntimeError, match=r"write `await visitor\.event\(\.\.\.\)`"):
            get_visitor(scope).sync.event("x")
        await html(PAGE)(scope, receive, send)

    await call(UserComMiddleware(app, usercom.config()))


@pytest.mark.parametrize("has_lifespan", [True, False])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_verb_in_a_second_event_loop_is_submitted_in_the_first(
    backend: str, has_lifespan: bool, usercom: FakeUserCom
) -> None:
    """`asyncio.run(visitor.event(...))` in a plain `def` handler."""
    threads: list[tuple[str, int]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await Starlette()(scope, receive, send)
            return
        visitor: Any = get_visitor(scope)
        submit = visitor._session.delivery.submit

        def submitted(envelope: Any) -> Any:
            threads.append(("submit", threading.get_ident()))
            return submit(envelope)

        visitor._session.delivery = Proxy(visitor._session.delivery, submitted)
        threads.append(("app", threading.get_ident()))
        second: Any = run_asyncio if backend == "asyncio" else trio.run
        await in_a_plain_thread(partial(second, visitor.event, "x"))
        await html(PAGE)(scope, receive, send)

    site = UserComMiddleware(app, usercom.config())
    await visit(site, usercom, has_lifespan=has_lifespan)
    assert len(usercom.store.events) == 1
    assert dict(threads)["submit"] == dict(threads)["app"]


async def visit(site: UserComMiddleware, usercom: FakeUserCom, *, has_lifespan: bool) -> None:
    headers = {"cookie": f"__ca__chat={usercom.new_user()}"}
    if has_lifespan:
        async with lifespan(site) as state:
            await call(site, headers=headers, state=dict(state))
    else:
        await call(site, headers=headers)


def run_asyncio(function: Any, *args: Any) -> None:
    asyncio.run(function(*args))


class Proxy:
    """A delivery that shows the thread of each submit."""

    def __init__(self, delivery: Any, submit: Any) -> None:
        self._delivery = delivery
        self.submit = submit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._delivery, name)
