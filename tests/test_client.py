from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from helpers.asgi_client import call, html
from helpers.fake_usercom import CONFIG, FakeUserCom

from usercom_asgi import (
    ConfigurationError,
    Event,
    InvalidCommand,
    PageHit,
    ProductEvent,
    Receipt,
    ResetAuth,
    Status,
    Update,
    UserComClient,
    UserComMiddleware,
)
from usercom_asgi.core.hooks import warn_once


async def test_every_command_reaches_its_endpoint(usercom: FakeUserCom) -> None:
    key = usercom.new_user()
    async with UserComClient(usercom.config()) as client:
        receipts = [
            await client.send(
                PageHit("http://shop.example.com/x", Event("with", {"n": 1}), {"plan": "gold"}),
                key=key,
            ),
            await client.send(Event("alone", {"n": 2}), key=key),
            await client.send(
                ProductEvent("sku-1", "purchase", "Cup", custom_data={"total": 9}), key=key
            ),
            await client.send(Update({"plan": "silver"}), key=key),
        ]
        assert [await each.delivered(5) for each in receipts] == [True] * 4
        reset = await client.send(ResetAuth({"first_name": "Bob"}), key=key)
        assert await reset.delivered(5)
    assert [(each.name, each.key) for each in usercom.store.events] == [
        ("with", key),
        ("alone", key),
    ]
    [product] = usercom.store.product_events
    assert (product.product_id, product.event_type, product.data["custom_data"]) == (
        "sku-1",
        "purchase",
        {"total": 9},
    )
    assert usercom.store.users[key].attributes == {"plan": "silver"}
    assert reset.key is not None
    assert usercom.store.users[reset.key].attributes == {"first_name": "Bob"}
    assert usercom.store.rejected == []


async def test_a_person_without_a_key_is_found_by_name(usercom: FakeUserCom) -> None:
    async with UserComClient(usercom.config()) as client:
        for n in range(3):
            await client.send(Event("job", {"n": n}), user_id=7)
    [user] = usercom.store.users.values()
    assert user.attributes == {"user_id": "7"}
    assert [each.data["n"] for each in usercom.store.events] == [0, 1, 2]


async def test_leaving_delivers_what_waits_and_entering_again_works(usercom: FakeUserCom) -> None:
    key = usercom.new_user()
    client = UserComClient(usercom.config())
    for _ in range(2):
        async with client:
            for n in range(20):
                await client.send(Event("job", {"n": n}), key=key)
    assert len(usercom.store.events) == 40


async def test_an_error_in_the_block_is_not_wrapped(usercom: FakeUserCom) -> None:
    with pytest.raises(ZeroDivisionError):
        async with UserComClient(usercom.config()):
            raise ZeroDivisionError


async def test_misuse_is_refused_at_the_call() -> None:
    client = UserComClient(CONFIG)
    with pytest.raises(RuntimeError, match="async with"):
        await client.send(Event("x"), key="abc123")
    async with client:
        with pytest.raises(InvalidCommand, match="user key"):
            await client.send(Event("x"), key="not a key")
        with pytest.raises(InvalidCommand, match="user_id"):
            await client.send(Event("x"))
        with pytest.raises(RuntimeError, match="already running"):
            async with client:
                pass


async def test_nobody_listens_and_the_end_comes_within_the_grace(usercom: FakeUserCom) -> None:
    usercom.faults.hang()
    receipt: Receipt
    async with UserComClient(usercom.config(shutdown_timeout=0.2)) as client:
        receipt = await client.send(Event("x"), key="abc123")
    assert receipt.status is Status.DROPPED


def test_a_middleware_beside_a_client_has_the_client_s_config() -> None:
    client = UserComClient(CONFIG)
    page = html(b"<html><body></body></html>")
    assert UserComMiddleware(page, client=client).config is CONFIG
    assert UserComMiddleware(page, replace(CONFIG), client=client).config == CONFIG
    with pytest.raises(
        ConfigurationError,
        match="another config than the one given beside it: give the UserComClient alone",
    ):
        UserComMiddleware(page, replace(CONFIG, api_key="OTHER1"), client=client)


async def test_a_client_that_nobody_has_entered_is_missed_aloud(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    warn_once.cache_clear()
    middleware = UserComMiddleware(
        html(b"<html><body></body></html>"), client=UserComClient(usercom.config())
    )
    for _ in range(2):
        assert b"widget.js" in (await call(middleware)).body
    [line] = caplog.messages
    assert "The UserComClient is not entered (async with client)" in line
    caplog.clear()
    async with UserComClient(usercom.config()) as client:
        await call(UserComMiddleware(html(b"<html><body></body></html>"), client=client))
    assert caplog.messages == []


@pytest.mark.parametrize("outbox", ["var/outbox.db", Path("var/outbox.db"), object()])
def test_what_is_no_outbox_is_refused_at_once(outbox: Any) -> None:
    """An application that starts, and drops all that is said, is found out too late."""
    for make in (UserComClient, lambda *args, **more: UserComMiddleware(html(b""), *args, **more)):
        with pytest.raises(
            ConfigurationError,
            match=r"outbox: must be an outbox, such as SqliteOutbox\('var/outbox.db'\)",
        ):
            make(CONFIG, outbox=outbox)


def test_what_is_no_config_is_refused_at_once() -> None:
    settings: Any = {"app": "acme", "api_key": "ABC123"}
    for make in (UserComClient, lambda given: UserComMiddleware(html(b""), given)):
        with pytest.raises(
            ConfigurationError, match=r"config: must be a UserComConfig.*, got dict"
        ):
            make(settings)


async def test_client_cancelled_while_it_enters_can_enter_again(
    usercom: FakeUserCom,
) -> None:
    client = UserComClient(usercom.config())
    with anyio.move_on_after(0):
        async with client:
            raise AssertionError("it was to be cancelled")
    async with client:
        assert await (await client.send(Event("x"), user_id=1)).delivered(5)


async def test_client_page_hit_by_user_id_is_of_that_person(usercom: FakeUserCom) -> None:
    async with UserComClient(usercom.config()) as client:
        for _ in range(2):
            receipt = await client.send(PageHit(event=Event("seen")), user_id="u-17")
            assert await receipt.delivered(30)
        await (await client.send(Event("renewed"), user_id="u-17")).delivered(30)
    assert [each.user_id for each in usercom.store.users.values()] == ["u-17"]
    assert [usercom.store.users[each.key].user_id for each in usercom.store.events] == ["u-17"] * 3


async def test_client_attributes_of_a_hit_win_over_user_id(
    usercom: FakeUserCom,
) -> None:
    key = usercom.new_user()
    async with UserComClient(usercom.config()) as client:
        hit = PageHit(attributes={"user_id": "u-18", "plan": "pro"})
        assert await (await client.send(hit, key=key, user_id="u-17")).delivered(30)
    assert usercom.store.users[key].user_id == "u-18"


@pytest.mark.slow
async def test_client_in_a_time_limit_delivers_within_the_shutdown_timeout(
    usercom: FakeUserCom,
) -> None:
    keys = [usercom.new_user() for _ in range(5)]
    usercom.faults.latency(0.2)
    with anyio.move_on_after(0.1) as scope:
        async with UserComClient(usercom.config(shutdown_timeout=30)) as client:
            for n in range(5):
                await client.send(Event("e", {"n": n}), key=keys[n])
            await anyio.sleep(60)
    assert scope.cancelled_caught
    assert len(usercom.store.events) == 5


async def test_client_cancelled_while_the_outbox_opens_ends(tmp_path: Any) -> None:
    class Slow:
        def open(self, *_: Any, **__: Any) -> Any:
            from contextlib import asynccontextmanager

            @asynccontextmanager
            async def opening() -> Any:
                await anyio.sleep(60)
                yield None

            return opening()

    from usercom_asgi import UserComConfig

    outbox: Any = Slow()
    with anyio.fail_after(30), anyio.move_on_after(0.05) as scope:
        async with UserComClient(UserComConfig(app="acme", api_key="ABC123"), outbox=outbox):
            raise AssertionError
    assert scope.cancelled_caught
