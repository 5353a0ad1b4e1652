"""The REST token in a whole delivery: where it must not be."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.apps import PAGE
from helpers.asgi_client import call, html, lifespan
from helpers.fake_usercom import FakeUserCom
from helpers.rest_server import RestServer, rest_server
from helpers.waiting import until
from starlette.types import Receive, Scope, Send

from usercom_asgi import (
    Event,
    Outcome,
    SqliteOutbox,
    Status,
    Update,
    UserComClient,
    UserComConfig,
    UserComMiddleware,
    get_delivery,
    get_visitor,
)
from usercom_asgi.api.client import Transport
from usercom_asgi.client import open_sender
from usercom_asgi.core.envelope import Envelope
from usercom_asgi.core.exceptions import DeliveryError
from usercom_asgi.sandbox.vendor import REST_TOKEN


class Shown:
    """All that a process shows: log records with the variables of their tracebacks."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, *values: object) -> None:
        self.texts.extend(f"{each!r} {each}" for each in values)

    def add_error(self, error: BaseException) -> None:
        found = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.texts.append("".join(found.format()))

    def __contains__(self, text: str) -> bool:
        return any(text in each for each in self.texts)


@pytest.fixture
def shown(caplog: pytest.LogCaptureFixture) -> Iterator[Shown]:
    """Capture all loggers at DEBUG, those of httpx and httpcore included."""
    shown = Shown()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.add(record.name, record.getMessage(), record.args)
            if record.exc_info and record.exc_info[1]:
                shown.add_error(record.exc_info[1])

    handler, root = Handler(logging.DEBUG), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield shown
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@pytest.mark.waits
async def test_token_of_a_whole_delivery_is_in_no_log_repr_file_or_response(
    usercom: FakeUserCom, shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usercom_asgi.delivery.circuit_breaker.AUTH_RETRY_INITIAL", 0.1)
    key = usercom.new_user()
    outcomes: list[Outcome] = []
    deliveries: list[Any] = []
    config = usercom.config(rest_token=REST_TOKEN, secret_keys=("0123456789abcdef",), bridge=True)
    outbox = SqliteOutbox(tmp_path / "usercom.db", lease=1)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        deliveries.append(get_delivery(scope))
        visitor: Any = get_visitor(scope)
        shown.add(visitor, await visitor.event("said"), await visitor.page_hit())
        shown.add(await visitor.update(first_name="Ana", company={"company_id": "acme"}))
        await html(PAGE)(scope, receive, send)

    hooks: dict[str, Any] = dict.fromkeys(
        ("on_delivered", "on_dropped", "on_dead"), outcomes.append
    )
    app = UserComMiddleware(answer, config, outbox=outbox, **hooks)
    async with lifespan(app) as state:
        for status in (None, 400, 401, 503):
            if status is not None:
                usercom.faults.status(status, times=1)
            got = await call(app, headers={"cookie": f"__ca__chat={key}"}, state=dict(state))
            shown.add(got.headers, got.body)
        await until(lambda: outcomes)
        delivery = deliveries[0]
        shown.add(delivery, delivery.stats, delivery.readiness(), delivery.dead_letters)
        for each in tmp_path.iterdir():
            shown.add(each.read_bytes())
    shown.add(*outcomes, config, outbox, app)
    assert "said" in shown
    assert "send_request_headers" in shown  # httpcore's own
    assert REST_TOKEN not in shown


async def test_token_of_errors_of_the_sender_is_in_no_traceback(
    usercom: FakeUserCom, shown: Shown
) -> None:
    usercom.faults.status(503)
    config = usercom.config(rest_token=REST_TOKEN)
    async with open_sender(config) as sender:
        for command in (Event("said"), Update({"first_name": "Ana"})):
            envelope = Envelope(command=command, ordering_key="q", key="abc123")
            with pytest.raises(DeliveryError) as error:
                await sender.send(envelope, "abc123")
            shown.add_error(error.value)
            shown.add(error.value, vars(error.value), pickle.dumps(error.value))
        shown.add(sender, vars(sender))
    assert "503" in shown
    assert REST_TOKEN not in shown


class Broken(Transport):
    """A transport with a bug, whose frames hold the request."""

    async def handle_async_request(self, request: Any) -> Any:
        headers = list(request.headers.raw)
        raise ZeroDivisionError(len(headers))


async def test_token_of_an_unexpected_error_is_in_no_traceback(
    usercom: FakeUserCom, shown: Shown
) -> None:
    config = usercom.config(rest_token=REST_TOKEN)
    async with UserComClient(config, transport=Broken()) as client:
        receipt = await client.send(Event("said"), key="abc123")
        assert not await receipt.delivered(20)
        shown.add(receipt, client.stats, client)
    assert "ZeroDivisionError" in shown
    assert REST_TOKEN not in shown


async def test_token_of_a_delivery_that_cannot_open_is_in_no_traceback(
    usercom: FakeUserCom, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("usercom_asgi.rest.client.Session", fail)
    async with UserComClient(usercom.config(rest_token=REST_TOKEN)) as client:
        shown.add(await client.send(Event("said"), key="abc123"))
    assert "ZeroDivisionError" in shown
    assert REST_TOKEN not in shown


def test_token_of_a_configuration_is_in_no_pickle() -> None:
    """Another process reads its own environment, and pickles end up in caches."""
    config = UserComConfig(app="acme", api_key="ABC123", rest_token=REST_TOKEN)
    assert REST_TOKEN not in f"{config!r} {config} {copy.copy(config)!r}"
    for make in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            make(config)


@pytest.fixture
def elsewhere() -> Iterator[RestServer]:
    with rest_server() as server:
        yield server


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_token_is_not_sent_to_the_target_of_a_redirect(
    usercom: FakeUserCom, elsewhere: RestServer, status: int
) -> None:
    usercom.faults.status(status, headers={"Location": f"{elsewhere.url}/api/public/events/"})
    config = usercom.config(rest_token=REST_TOKEN)
    async with UserComClient(config) as client:
        known = await client.send(Event("said"), user_id="ana")
        keyed = await client.send(Event("said"), key="abc123")
        await until(lambda: client.stats.retried)
        assert not known.is_final
        assert not keyed.is_final
        usercom.faults.clear()
    assert known.status is Status.DELIVERED
    assert elsewhere.requests == []
