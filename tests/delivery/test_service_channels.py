"""Promises of the delivery under each channel, against the sandbox."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from helpers.apps import app_with
from helpers.asgi_client import call
from helpers.fake_usercom import CHANNELS, FakeUserCom
from helpers.waiting import until

from usercom_asgi import (
    Event,
    SqliteOutbox,
    Status,
    Update,
    UserComClient,
    UserComConfig,
    UserComMiddleware,
)
from usercom_asgi.core.receipts import Receipt
from usercom_asgi.delivery.retry import RetryPolicy


@pytest.fixture(params=CHANNELS)
def config(request: pytest.FixtureRequest, usercom: FakeUserCom) -> UserComConfig:
    return usercom.config(**CHANNELS[request.param])


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = partial(RetryPolicy, initial_delay=0.02, max_delay=0.05)
    monkeypatch.setattr("usercom_asgi.delivery.service.RetryPolicy", quick)


@pytest.fixture
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usercom_asgi.delivery.circuit_breaker.AUTH_RETRY_INITIAL", 0.1)


def state(client: UserComClient) -> str:
    assert client.delivery is not None
    return client.delivery.readiness().state


def arrived(usercom: FakeUserCom, key: str) -> list[object]:
    return [each.data["n"] for each in usercom.store.events if each.key == key]


@pytest.mark.parametrize("status", [400, 404])
async def test_channel_rejected_command_is_a_dead_letter_and_the_next_is_delivered(
    usercom: FakeUserCom, config: UserComConfig, status: int
) -> None:
    key = usercom.new_user()
    async with UserComClient(config) as client:
        usercom.faults.status(status)
        bad = await client.send(Event("said", {"n": 1}), key=key)
        assert not await bad.delivered(20)
        usercom.faults.clear()
        assert await (await client.send(Event("said", {"n": 2}), key=key)).delivered(20)
        assert client.delivery is not None
        [letter] = client.delivery.dead_letters
    assert bad.status is Status.DEAD
    assert letter.http_status == status
    assert arrived(usercom, key) == [2]


@pytest.mark.parametrize(("status", "visitors"), [(401, 1), (403, 3)])
@pytest.mark.usefixtures("quick_probes")
async def test_channel_rejected_token_pauses_all_and_loses_no_command(
    usercom: FakeUserCom, config: UserComConfig, status: int, visitors: int
) -> None:
    keys = [usercom.new_user() for _ in range(visitors)]
    usercom.faults.status(status)
    async with UserComClient(config) as client:
        receipts = [await client.send(Event("said", {"n": 1}), key=key) for key in keys]
        await until(lambda: state(client) == "unauthorized")
        receipts += [await client.send(Event("said", {"n": 2}), key=key) for key in keys]
        usercom.faults.clear()
        assert all([await each.delivered(20) for each in receipts])
        assert state(client) == "sending"
    assert [arrived(usercom, key) for key in keys] == [[1, 2]] * visitors


@pytest.mark.waits
async def test_channel_retry_after_pauses_all_visitors(
    usercom: FakeUserCom, config: UserComConfig
) -> None:
    first, second = usercom.new_user(), usercom.new_user()
    usercom.faults.status(429, times=1, headers={"Retry-After": "1"})
    async with UserComClient(config) as client:
        began = anyio.current_time()
        one = await client.send(Event("said", {"n": 1}), key=first)
        await until(lambda: state(client) == "paused")
        two = await client.send(Event("said", {"n": 1}), key=second)
        assert await two.delivered(20)
        assert await one.delivered(20)
        assert anyio.current_time() - began >= 0.9
    assert client.stats.retried == 1


async def test_channel_outage_keeps_the_order_of_each_visitor(
    usercom: FakeUserCom, config: UserComConfig
) -> None:
    keys = [usercom.new_user() for _ in range(3)]
    for status in (503, 502, 408, 425):
        usercom.faults.status(status, times=1)
    usercom.faults.drop(times=1, only="search" if config.channel == "rest" else "event")
    async with UserComClient(config) as client:
        receipts: list[Receipt] = []
        for n in range(8):
            receipts += [await client.send(Event("said", {"n": n}), key=key) for key in keys]
        assert all([await each.delivered(30) for each in receipts])
    for key in keys:
        assert list(dict.fromkeys(arrived(usercom, key))) == list(range(8))


@pytest.mark.waits
async def test_channel_outage_longer_than_give_up_after_is_a_dead_letter(
    usercom: FakeUserCom, config: UserComConfig
) -> None:
    usercom.faults.status(503)
    settings = {"channel": config.channel, "rest_token": config.rest_token, "give_up_after": 1}
    async with UserComClient(usercom.config(**settings)) as client:
        receipt = await client.send(Event("said", {"n": 1}), key="abc123")
        assert not await receipt.delivered(20)
    assert receipt.status is Status.DEAD
    assert "given up" in receipt.reason


async def test_channel_outbox_delivers_after_the_next_start_what_an_outage_kept(
    usercom: FakeUserCom, config: UserComConfig, tmp_path: Path
) -> None:
    key = usercom.new_user()
    usercom.faults.status(503)
    outbox = tmp_path / "usercom.db"
    settings = {"channel": config.channel, "rest_token": config.rest_token}
    short = usercom.config(**settings, shutdown_timeout=0)
    async with UserComClient(short, outbox=SqliteOutbox(outbox, lease=1)) as client:
        for n in range(3):
            await client.send(Event("said", {"n": n}), key=key)
        await client.send(Update({"first_name": "Ana"}), key=key)
    usercom.faults.clear()
    async with UserComClient(config, outbox=SqliteOutbox(outbox, lease=1)) as client:
        await until(lambda: client.stats.delivered == 4)
    assert arrived(usercom, key) == [0, 1, 2]
    assert usercom.store.users[key].attributes["first_name"] == "Ana"


async def test_channel_inline_delivery_sends_in_order_behind_the_response(
    usercom: FakeUserCom, config: UserComConfig
) -> None:
    key = usercom.new_user()

    async def handler(visitor: Any) -> None:
        for n in range(3):
            await visitor.event("said", n=n)
        await visitor.update(first_name="Ana")

    app = UserComMiddleware(app_with(handler), config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(call, app, headers={"cookie": f"__ca__chat={key}"}))
    assert arrived(usercom, key) == [0, 1, 2]
    assert usercom.store.users[key].attributes["first_name"] == "Ana"
