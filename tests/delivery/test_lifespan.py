"""What applications do with the lifespan, and that the delivery starts and ends in it whatever they do."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest
from helpers.asgi_client import call, html, lifespan
from helpers.fake_usercom import CONFIG, FakeUserCom
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usercom_asgi import Status, UserComMiddleware, get_visitor
from usercom_asgi.middleware.delivery_provider import DeliveryProvider

PAGE = b"<html><body></body></html>"


async def sends_event(scope: Scope, receive: Receive, send: Send) -> None:
    await get_visitor(scope).event("said")
    await html(PAGE)(scope, receive, send)


def application(on_lifespan: ASGIApp) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (on_lifespan if scope["type"] == "lifespan" else sends_event)(scope, receive, send)

    return app


async def completes_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    await send({"type": "lifespan.shutdown.complete"})


async def returns_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    return


async def raises_like_django(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("Django can only handle ASGI/HTTP connections, not lifespan.")


async def raises_like_channels(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("No application configured for scope type 'lifespan'")


async def raises_after_receive(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise KeyError("type")


async def returns_after_startup(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})


async def never_completes_shutdown(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()


@pytest.mark.parametrize(
    "inner",
    [
        completes_lifespan,
        returns_at_once,
        raises_like_django,
        raises_after_receive,
        returns_after_startup,
        never_completes_shutdown,
    ],
)
async def test_lifespan_of_any_application_delivers_all_before_shutdown_completes(
    inner: ASGIApp, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    middleware = UserComMiddleware(application(inner), usercom.config(inline_deadline=0))
    async with lifespan(middleware) as state:
        for _ in range(20):
            await call(middleware, headers={"cookie": f"__ca__chat={key}"}, state=dict(state))
    # `lifespan` has seen shutdown.complete: all was delivered before that.
    assert len(usercom.store.events) == 20


async def test_lifespan_event_sent_during_application_shutdown_is_delivered(
    usercom: FakeUserCom,
) -> None:
    key = usercom.new_user()

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await call(middleware, headers={"cookie": f"__ca__chat={key}"}, state=dict(scope["state"]))
        await send({"type": "lifespan.shutdown.complete"})

    middleware = UserComMiddleware(application(inner), usercom.config())
    async with lifespan(middleware):
        pass
    assert len(usercom.store.events) == 1


async def run_until_it_ends(app: ASGIApp) -> list[Message]:
    sent: list[Message] = []
    received = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Message:
        return received.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    with anyio.fail_after(30):
        await app({"type": "lifespan", "asgi": {}, "state": {}}, receive, send)
    return sent


async def test_lifespan_startup_error_of_the_application_is_raised_unchanged() -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match="no database"):  # and no ExceptionGroup
        await run_until_it_ends(UserComMiddleware(application(inner), CONFIG))


async def test_lifespan_startup_failed_without_an_error_is_passed_on() -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed"})

    assert await run_until_it_ends(UserComMiddleware(application(inner), CONFIG)) == [
        {"type": "lifespan.startup.failed"}
    ]


async def test_lifespan_messages_for_any_application_are_sent_once() -> None:
    for inner in (
        completes_lifespan,
        returns_at_once,
        raises_like_django,
        returns_after_startup,
        never_completes_shutdown,
    ):
        sent = await run_until_it_ends(UserComMiddleware(application(inner), CONFIG))
        assert [each["type"] for each in sent] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]


async def test_lifespan_error_of_the_application_except_djangos_and_channels_logs_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cases = ((raises_like_django, 0), (raises_like_channels, 0), (raises_after_receive, 1))
    for inner, warnings in cases:
        caplog.clear()
        await run_until_it_ends(UserComMiddleware(application(inner), CONFIG))
        assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) == warnings


async def test_lifespan_drain_of_hanging_calls_ends_at_its_timeout_and_logs_the_loss(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    usercom.faults.hang()
    key = "abc123"
    receipts: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        receipts.append(await get_visitor(scope).event("said"))
        await html(PAGE)(scope, receive, send)

    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        await (completes_lifespan if scope["type"] == "lifespan" else app)(scope, receive, send)

    middleware = UserComMiddleware(whole, usercom.config(shutdown_timeout=0.3))
    with anyio.fail_after(30):
        async with lifespan(middleware) as state:
            for _ in range(5):
                await call(middleware, headers={"cookie": f"__ca__chat={key}"}, state=dict(state))
    assert [each.status for each in receipts] == [Status.DROPPED] * 5
    assert "dropped: 5" in caplog.text


async def test_request_after_the_lifespan_is_delivered_inline(usercom: FakeUserCom) -> None:
    key = usercom.new_user()
    middleware = UserComMiddleware(application(completes_lifespan), usercom.config())
    async with lifespan(middleware, no_state=True):
        pass
    await call(middleware, headers={"cookie": f"__ca__chat={key}"})
    assert len(usercom.store.events) == 1


async def test_lifespan_run_twice_on_one_application_delivers_in_each(usercom: FakeUserCom) -> None:
    """As under --reload, or in tests: nothing that runs is kept on the middleware itself."""
    key = usercom.new_user()
    middleware = UserComMiddleware(application(completes_lifespan), usercom.config())
    for _ in range(2):
        async with lifespan(middleware) as state:
            await call(middleware, headers={"cookie": f"__ca__chat={key}"}, state=dict(state))
    assert len(usercom.store.events) == 2


async def test_lifespan_with_a_delivery_that_cannot_open_serves_the_application(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise OSError("no certificates")

    monkeypatch.setattr(DeliveryProvider, "_open_sender", broken)
    middleware = UserComMiddleware(application(completes_lifespan), CONFIG)
    async with lifespan(middleware) as state:
        got = await call(middleware, headers={"cookie": "__ca__chat=abc123"}, state=dict(state))
    assert b"widget.js" in got.body
    assert "cannot run" in caplog.text
