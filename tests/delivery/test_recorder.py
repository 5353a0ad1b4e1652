"""Counters and readiness of a delivery, and the clients and processes that may submit to it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest
from helpers.asgi_client import call, lifespan
from helpers.fake_sender import FakeSender, balanced, make_envelope, running
from helpers.fake_usercom import CONFIG, FakeUserCom
from helpers.waiting import until
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse

from usercom_asgi import (
    Command,
    ConfigurationError,
    Event,
    Outcome,
    ResetAuth,
    Status,
    Update,
    UserComClient,
    UserComMiddleware,
    get_delivery,
)
from usercom_asgi.core.envelope import Envelope
from usercom_asgi.core.exceptions import RejectedError
from usercom_asgi.core.receipts import OutcomeCallbacks
from usercom_asgi.delivery.service import DeliveryService


def update(key: str = "key", lane: str = "a", **attributes: Any) -> Envelope:
    return Envelope(command=Update(attributes), ordering_key=lane, key=key)


async def test_submit_consecutive_updates_sends_each_separately_and_in_order() -> None:
    post = FakeSender(holding=True)
    async with running(post) as runtime:
        first = runtime.submit(update(plan="free", city="Oslo"))
        await until(lambda: post.now == 1)
        later = [runtime.submit(update(plan="gold")), runtime.submit(update(score=1))]
        assert runtime.waiting == 3
        post.release()
        assert all([await each.delivered(20) for each in (first, *later)])
    assert [dict(command.attributes) for _, command, _ in post.sent] == [
        {"plan": "free", "city": "Oslo"},
        {"plan": "gold"},
        {"score": 1},
    ]
    assert runtime.stats.delivered == 3


# Hooks.


async def test_recorder_callbacks_are_called_for_every_outcome() -> None:
    told: list[Outcome] = []
    callbacks = OutcomeCallbacks(
        on_delivered=told.append, on_dropped=told.append, on_dead=told.append
    )
    post = FakeSender(RejectedError("answered 400", status=400, detail="the body"), delay=0.01)
    async with running(post, callbacks=callbacks, max_queue_size=2) as runtime:
        for n in range(3):
            runtime.submit(make_envelope(n))
    assert [(each.status, each.command.data["n"]) for each in told] == [  # type: ignore[union-attr]
        (Status.DROPPED, 2),
        (Status.DEAD, 0),
        (Status.DELIVERED, 1),
    ]
    dropped, dead, delivered = told
    assert "max_queue_size" in dropped.reason
    assert (dead.http_status, dead.detail, dead.key) == (400, "the body", "key")
    assert (delivered.reason, delivered.key) == ("", "key")
    assert [each.detail for each in runtime.dead_letters] == ["the body"]
    for each in told:
        assert "key" not in repr(each)
        assert "the body" not in repr(each)


async def test_outcome_detail_of_a_rejected_command_has_at_most_500_characters(
    usercom: FakeUserCom,
) -> None:
    letters: list[Outcome] = []
    async with UserComClient(usercom.config(), on_dead=letters.append) as client:
        assert not await (await client.send(Event("said"), key="unknownkey12")).delivered(20)
    [letter] = letters
    assert letter.http_status == 404
    assert 0 < len(letter.detail) <= 500


async def test_recorder_callback_that_raises_is_logged_once_and_changes_no_outcome(
    anyio_backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(outcome: Outcome) -> None:
        raise ZeroDivisionError("a value of somebody's")

    broken.__qualname__ = f"broken_on_{anyio_backend}"

    post = FakeSender()
    async with running(post, callbacks=OutcomeCallbacks(on_delivered=broken)) as runtime:
        receipts = [runtime.submit(make_envelope(n)) for n in range(3)]
    assert {each.status for each in receipts} == {Status.DELIVERED}
    assert caplog.text.count(f"broken_on_{anyio_backend} raises ZeroDivisionError") == 1
    assert "somebody" not in caplog.text


def test_callbacks_that_are_no_plain_functions_raise_configuration_error() -> None:
    async def later(outcome: Outcome) -> None: ...

    for hook in (later, 3):
        with pytest.raises(ConfigurationError, match="on_dead"):
            UserComClient(CONFIG, on_dead=hook)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="on_dropped"):
            UserComMiddleware(PlainTextResponse("x"), CONFIG, on_dropped=hook)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="client"):
        UserComMiddleware(PlainTextResponse("x"), client=UserComClient(CONFIG), on_dead=print)


async def test_middleware_callbacks_with_and_without_a_lifespan_are_called(
    usercom: FakeUserCom,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await scope["state"]["usercom"].event("said")
            await PlainTextResponse("x")(scope, receive, send)

    told: list[Outcome] = []
    middleware = UserComMiddleware(app, usercom.config(), on_delivered=told.append)
    cookies = {"cookie": f"__ca__chat={usercom.new_user()}"}
    await call(middleware, headers=cookies)
    assert len(told) == 1
    async with lifespan(middleware) as state:
        await call(middleware, headers=cookies, state=dict(state))
    assert len(told) == 2


# A health route.


async def test_get_delivery_in_a_health_route_without_consent_shows_the_state(
    usercom: FakeUserCom,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            delivery = get_delivery(Request(scope))
            shown = {"state": delivery.readiness().state, "delivered": delivery.stats.delivered}
            await JSONResponse(shown)(scope, receive, send)

    # A client without consent, such as a load balancer, gets the readiness as well.
    middleware = UserComMiddleware(app, usercom.config(), consent=lambda connection: False)
    assert b'"state":"inline"' in (await call(middleware)).body
    async with lifespan(middleware) as state:
        assert b'"state":"sending"' in (await call(middleware, state=dict(state))).body
    with pytest.raises(RuntimeError, match="UserComMiddleware"):
        get_delivery({"type": "http"})


# Whose delivery it is.


async def test_client_event_after_a_reset_with_the_old_key_keeps_the_old_key(
    usercom: FakeUserCom,
) -> None:
    """An event with the old key after a reset is recorded for the old visitor, not the new one."""
    key = usercom.new_user()
    async with UserComClient(usercom.config()) as client:
        await client.send(Event("before"), key=key)
        reset = await client.send(ResetAuth(), key=key)
        await client.send(Event("after"), key=key)
        assert await reset.delivered(20)
    assert reset.key not in (None, key)
    assert [(each.name, each.key) for each in usercom.store.events] == [
        ("before", key),
        ("after", key),
    ]


async def test_service_submit_in_a_forked_process_drops_with_a_reason(usercom: FakeUserCom) -> None:
    post = FakeSender()
    async with running(post) as runtime:
        read, write = os.pipe()
        child = os.fork()
        if not child:  # pragma: no cover  in the child
            receipt = runtime.submit(make_envelope(1))
            os.write(
                write,
                f"{receipt.status.value}: {receipt.reason}; {runtime.stats.rejected}".encode(),
            )
            os._exit(0)
        os.waitpid(child, 0)  # noqa: ASYNC222  nothing else is to happen meanwhile
        child_output = os.read(read, 1000).decode()
        os.close(read)
        os.close(write)
    assert child_output.startswith("dropped: this process is a fork")
    assert child_output.endswith("; 1")
    assert post.sent == []


@pytest.mark.waits
def test_middleware_made_before_a_fork_delivers_in_the_child(
    usercom: FakeUserCom,
) -> None:
    """As `gunicorn --preload` does: imported and made in the master, served in its children."""
    code = (
        "import os, sys, anyio\n"
        "from helpers.asgi_client import call, lifespan\n"
        "from usercom_asgi import UserComConfig, UserComMiddleware\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        await scope['state']['usercom'].event('said', n=os.getpid())\n"
        "        await send({'type': 'http.response.start', 'status': 204, 'headers': []})\n"
        "        await send({'type': 'http.response.body'})\n"
        "middleware = UserComMiddleware(app, UserComConfig(base_url=sys.argv[1], api_key='ABC123'))\n"
        "async def live():\n"
        "    async with lifespan(middleware) as state:\n"
        "        for _ in range(5):\n"
        "            await call(middleware, headers={'cookie': '__ca__chat=' + sys.argv[2]}, state=dict(state))\n"
        "for _ in range(2):\n"
        "    if not os.fork():\n"
        "        anyio.run(live)\n"
        "        os._exit(0)\n"
        "print(sorted(os.wait()[1] for _ in range(2)))\n"
    )
    command = [sys.executable, "-c", code, usercom.url, usercom.new_user()]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[0, 0]\n", done.stderr
    assert sorted(Counter(each.data["n"] for each in usercom.store.events).values()) == [5, 5]


def test_middleware_shared_by_several_event_loops_delivers_all_events(
    usercom: FakeUserCom, anyio_backend: str
) -> None:
    """As a server with free-threaded workers does: one application object, a loop and a lifespan in each thread."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        await scope["state"]["usercom"].event("said", n=int(scope["query_string"]))
        await PlainTextResponse("x")(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config())
    key = usercom.new_user()

    async def live(thread: int) -> None:
        async with lifespan(middleware) as state:
            for n in range(20):
                headers = {"cookie": f"__ca__chat={key}"}
                # Some servers pass no lifespan state; the event loop then identifies the delivery.
                given = dict(state) if n % 2 else {}
                await call(middleware, headers=headers, state=given, query=str(thread * 100 + n))

    threads = [
        threading.Thread(target=anyio.run, args=[live, n], kwargs={"backend": anyio_backend})
        for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.data["n"] for each in usercom.store.events) == [
        t * 100 + n for t in range(3) for n in range(20)
    ]


async def test_middleware_cancelled_request_delivers_its_events(usercom: FakeUserCom) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await scope["state"]["usercom"].event("said")
            scope["cancel"].cancel()
            await anyio.sleep(5)

    middleware = UserComMiddleware(app, usercom.config())
    headers = [(b"cookie", f"__ca__chat={usercom.new_user()}".encode())]

    async def receive() -> Any:
        await anyio.sleep_forever()

    async def send(message: Any) -> None:
        pytest.fail("nothing is sent")

    async def cancelled(state: dict[str, Any]) -> None:
        with anyio.CancelScope() as cancel:
            scope = {
                "type": "http",
                "method": "GET",
                "path": "/",
                "headers": headers,
                "state": state,
                "cancel": cancel,
            }
            await middleware(scope, receive, send)

    async with lifespan(middleware) as state:
        await cancelled(dict(state))
    assert len(usercom.store.events) == 1
    await cancelled({})  # without a lifespan too: behind what would have been the response
    assert len(usercom.store.events) == 2


async def test_recorder_internal_error_does_not_affect_other_commands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    post = FakeSender(RejectedError("answered 400", status=400))
    async with running(post) as runtime:
        throttle = runtime._recorder._throttle
        log_outcome = throttle.log_outcome

        def broken(command: Command, status: Status, *args: str, has_dead_letters: bool) -> None:
            if status is not Status.DELIVERED:
                monkeypatch.setattr(throttle, "log_outcome", log_outcome)
                raise ZeroDivisionError

        monkeypatch.setattr(throttle, "log_outcome", broken)
        receipts = [runtime.submit(make_envelope(n)) for n in range(3)]
        assert [await each.delivered(20) for each in receipts] == [False, True, True]
    assert balanced(runtime)


async def test_recorder_hook_that_submits_is_not_called_for_its_own_command() -> None:
    told: list[Outcome] = []

    def again(outcome: Outcome) -> None:
        told.append(outcome)
        runtimes[0].submit(make_envelope(99))

    post = FakeSender()
    runtimes: list[DeliveryService] = []
    async with running(
        post, callbacks=OutcomeCallbacks(on_dropped=again), max_queue_size=1
    ) as runtime:
        runtimes.append(runtime)
        runtime.submit(make_envelope(0))
        runtime.submit(make_envelope(1))
        assert len(told) == 1
        assert runtime.stats.rejected == 2
