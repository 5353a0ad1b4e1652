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


async def says(scope: Scope, receive: Receive, send: Send) -> None:
    await get_visitor(scope).event("said")
    await html(PAGE)(scope, receive, send)


def application(on_lifespan: ASGIApp) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (on_lifespan if scope["type"] == "lifespan" else says)(scope, receive, send)

    return app


async def speaks(scope: Scope, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    await send({"type": "lifespan.shutdown.complete"})


async def returns_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    return


async def raises_like_django(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("Django can only handle ASGI/HTTP connections, not lifespan.")


async def raises_after_it_received(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise KeyError("type")


async def returns_after_startup(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})


async def never_says_that_it_is_down(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()


@pytest.mark.parametrize(
    "inner",
    [
        speaks,
        returns_at_once,
        raises_like_django,
        raises_after_it_received,
        returns_after_startup,
        never_says_that_it_is_down,
    ],
)
async def test_the_delivery_lives_in_the_lifespan(inner: ASGIApp, usercom: FakeUserCom) -> None:
    key = usercom.new_user()
    middleware = UserComMiddleware(application(inner), usercom.config(inline_deadline=0))
    async with lifespan(middleware) as state:
        for _ in range(20):
            await call(middleware, headers={"cookie": f"__ca__chat={key}"}, state=dict(state))
    # `lifespan` has seen shutdown.complete: all was delivered before that.
    assert len(usercom.store.events) == 20


async def test_what_is_said_while_the_application_shuts_down_arrives(usercom: FakeUserCom) -> None:
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


async def test_a_startup_that_fails_is_the_application_s_own() -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match="no database"):  # and no ExceptionGroup
        await run_until_it_ends(UserComMiddleware(application(inner), CONFIG))


async def test_a_startup_that_fails_quietly() -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed"})

    assert await run_until_it_ends(UserComMiddleware(application(inner), CONFIG)) == [
        {"type": "lifespan.startup.failed"}
    ]


async def test_each_message_is_sent_once() -> None:
    for inner in (
        speaks,
        returns_at_once,
        raises_like_django,
        returns_after_startup,
        never_says_that_it_is_down,
    ):
        sent = await run_until_it_ends(UserComMiddleware(application(inner), CONFIG))
        assert [each["type"] for each in sent] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]


async def test_only_an_unknown_error_is_worth_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    for inner, warnings in ((raises_like_django, 0), (raises_after_it_received, 1)):
        caplog.clear()
        await run_until_it_ends(UserComMiddleware(application(inner), CONFIG))
        assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) == warnings


async def test_a_drain_is_bounded_and_says_what_was_lost(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    usercom.faults.hang()
    key = "abc123"
    receipts: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        receipts.append(await get_visitor(scope).event("said"))
        await html(PAGE)(scope, receive, send)

    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        await (speaks if scope["type"] == "lifespan" else app)(scope, receive, send)

    middleware = UserComMiddleware(whole, usercom.config(shutdown_timeout=0.3))
    with anyio.fail_after(30):
        async with lifespan(middleware) as state:
            for _ in range(5):
                await call(middleware, headers={"cookie": f"__ca__chat={key}"}, state=dict(state))
    assert [each.status for each in receipts] == [Status.DROPPED] * 5
    assert "dropped: 5" in caplog.text


async def test_after_the_lifespan_a_request_delivers_for_itself(usercom: FakeUserCom) -> None:
    key = usercom.new_user()
    middleware = UserComMiddleware(application(speaks), usercom.config())
    async with lifespan(middleware, no_state=True):
        pass
    await call(middleware, headers={"cookie": f"__ca__chat={key}"})
    assert len(usercom.store.events) == 1


async def test_two_lifespans_of_one_application_do_not_meet(usercom: FakeUserCom) -> None:
    """As under --reload, or in tests: nothing that runs is kept on the middleware itself."""
    key = usercom.new_user()
    middleware = UserComMiddleware(application(speaks), usercom.config())
    for _ in range(2):
        async with lifespan(middleware) as state:
            await call(middleware, headers={"cookie": f"__ca__chat={key}"}, state=dict(state))
    assert len(usercom.store.events) == 2


async def test_an_application_starts_even_if_the_delivery_cannot(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise OSError("no certificates")

    monkeypatch.setattr(DeliveryProvider, "_open_sender", broken)
    middleware = UserComMiddleware(application(speaks), CONFIG)
    async with lifespan(middleware) as state:
        got = await call(middleware, headers={"cookie": "__ca__chat=abc123"}, state=dict(state))
    assert b"widget.js" in got.body
    assert "cannot run" in caplog.text
