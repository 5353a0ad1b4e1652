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
    OutboxError,
    PageHit,
    ProductEvent,
    Receipt,
    ResetAuth,
    SqliteOutbox,
    Status,
    Update,
    UserComClient,
    UserComConfig,
    UserComMiddleware,
)


async def test_client_every_command_reaches_its_endpoint(usercom: FakeUserCom) -> None:
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


async def test_client_person_without_a_key_is_found_by_name(usercom: FakeUserCom) -> None:
    async with UserComClient(usercom.config()) as client:
        for n in range(3):
            await client.send(Event("job", {"n": n}), user_id=7)
    [user] = usercom.store.users.values()
    assert user.attributes == {"user_id": "7"}
    assert [each.data["n"] for each in usercom.store.events] == [0, 1, 2]


async def test_client_exit_delivers_what_waits_and_allows_another_entry(
    usercom: FakeUserCom,
) -> None:
    key = usercom.new_user()
    client = UserComClient(usercom.config())
    for _ in range(2):
        async with client:
            for n in range(20):
                await client.send(Event("job", {"n": n}), key=key)
    assert len(usercom.store.events) == 40


async def test_client_error_in_the_block_is_not_wrapped(usercom: FakeUserCom) -> None:
    with pytest.raises(ZeroDivisionError):
        async with UserComClient(usercom.config()):
            raise ZeroDivisionError


async def test_client_misuse_is_refused_at_the_call() -> None:
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


async def test_client_without_a_server_ends_within_the_shutdown_timeout(
    usercom: FakeUserCom,
) -> None:
    usercom.faults.hang()
    receipt: Receipt
    async with UserComClient(usercom.config(shutdown_timeout=0.2)) as client:
        receipt = await client.send(Event("x"), key="abc123")
    assert receipt.status is Status.DROPPED


def test_client_gives_the_middleware_its_config() -> None:
    client = UserComClient(CONFIG)
    page = html(b"<html><body></body></html>")
    assert UserComMiddleware(page, client=client).config is CONFIG
    assert UserComMiddleware(page, replace(CONFIG), client=client).config == CONFIG
    with pytest.raises(
        ConfigurationError,
        match="another config than the one given beside it: give the UserComClient alone",
    ):
        UserComMiddleware(page, replace(CONFIG, api_key="OTHER1"), client=client)


async def test_client_that_was_not_entered_logs_an_error(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    middleware = UserComMiddleware(
        html(b"<html><body></body></html>"), client=UserComClient(usercom.config())
    )
    for _ in range(2):
        assert b"widget.js" in (await call(middleware)).body
    [line] = caplog.messages
    assert "The UserComClient is not entered in this event loop" in line
    caplog.clear()
    async with UserComClient(usercom.config()) as client:
        await call(UserComMiddleware(html(b"<html><body></body></html>"), client=client))
    assert caplog.messages == []


@pytest.mark.parametrize("outbox", ["var/outbox.db", Path("var/outbox.db"), object()])
def test_client_outbox_of_another_type_is_refused(outbox: Any) -> None:
    """Without the check, the application would start, and drop every command unnoticed."""
    for make in (UserComClient, lambda *args, **more: UserComMiddleware(html(b""), *args, **more)):
        with pytest.raises(
            ConfigurationError,
            match=r"outbox: must be an outbox, such as SqliteOutbox\('var/outbox.db'\)",
        ):
            make(CONFIG, outbox=outbox)


def test_client_config_of_another_type_is_refused() -> None:
    settings: Any = {"app": "acme", "api_key": "ABC123"}
    for make in (UserComClient, lambda given: UserComMiddleware(html(b""), given)):
        with pytest.raises(
            ConfigurationError, match=r"config: must be a UserComConfig.*, got dict"
        ):
            make(settings)


async def test_client_cancelled_during_entry_can_enter_again(
    usercom: FakeUserCom,
) -> None:
    client = UserComClient(usercom.config())
    with anyio.move_on_after(0):
        async with client:
            raise AssertionError("it was to be cancelled")
    async with client:
        assert await (await client.send(Event("x"), user_id=1)).delivered(5)


async def test_client_page_hit_with_user_id_is_stored_for_that_user(usercom: FakeUserCom) -> None:
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
async def test_client_cancelled_by_a_time_limit_still_delivers_the_queue(
    usercom: FakeUserCom,
) -> None:
    keys = [usercom.new_user() for _ in range(5)]
    usercom.faults.latency(0.2)
    with anyio.CancelScope() as scope:
        async with UserComClient(usercom.config(shutdown_timeout=30)) as client:
            for n in range(5):
                await client.send(Event("e", {"n": n}), key=keys[n])
            scope.deadline = anyio.current_time() + 0.1
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

    outbox: Any = Slow()
    with anyio.fail_after(30), anyio.move_on_after(0.05) as scope:
        async with UserComClient(UserComConfig(app="acme", api_key="ABC123"), outbox=outbox):
            raise AssertionError
    assert scope.cancelled_caught


async def test_client_entered_and_left_in_different_tasks_delivers(usercom: FakeUserCom) -> None:
    """Callbacks for start and end, and fixtures of pytest, run in tasks of their own."""
    client = UserComClient(usercom.config())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.__aenter__)
    for n in range(5):
        await client.send(Event("job", {"n": n}), user_id="u-1")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.__aexit__, None, None, None)
    assert [each.data["n"] for each in usercom.store.events] == list(range(5))
    assert client.delivery is None


async def test_client_two_that_are_left_in_order_of_entry_deliver(usercom: FakeUserCom) -> None:
    first, second = UserComClient(usercom.config()), UserComClient(usercom.config())
    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__(None, None, None)
    await second.send(Event("job"), user_id="u-1")
    await second.__aexit__(None, None, None)
    assert [each.name for each in usercom.store.events] == ["job"]


async def test_client_entered_by_two_tasks_at_once_refuses_one(usercom: FakeUserCom) -> None:
    client, refused = UserComClient(usercom.config()), list[RuntimeError]()

    async def enter() -> None:
        try:
            await client.__aenter__()
        except RuntimeError as error:
            refused.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(enter)
    await client.__aexit__(None, None, None)
    assert len(refused) == 1


async def test_client_outbox_that_cannot_be_used_raises_outbox_error() -> None:
    """Not an ExceptionGroup, which `except OutboxError` does not see."""
    client = UserComClient(CONFIG, outbox=SqliteOutbox("/nonexistent/outbox.db"))
    for _ in range(2):
        with pytest.raises(OutboxError, match="the folder /nonexistent is missing"):
            async with client:
                raise AssertionError


def test_client_of_an_event_loop_that_has_ended_can_enter_again(usercom: FakeUserCom) -> None:
    """A script or a test that forgets to leave it."""
    client = UserComClient(usercom.config())

    async def send() -> None:
        await client.__aenter__()
        assert await (await client.send(Event("job"), user_id="u-1")).delivered(30)

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(send, backend=backend)
    assert len(usercom.store.events) == 3


@pytest.mark.parametrize(
    ("command", "given"), [("x", "str"), (Event, "the class Event"), (None, "NoneType")]
)
async def test_client_send_of_something_else_raises_type_error(command: Any, given: str) -> None:
    async with UserComClient(CONFIG) as client:
        with pytest.raises(TypeError, match=rf"^command must be a command, .*, got {given}$"):
            await client.send(command, user_id=1)
        page: Any = "http://shop.example.com/"
        with pytest.raises(TypeError, match=r"^page must be a PageContext"):
            await client.send(Event("x"), user_id=1, page=page)
        key: Any = 5
        with pytest.raises(InvalidCommand, match="user key"):
            await client.send(Event("x"), key=key)


async def test_client_visitor_has_the_verbs_of_a_visitor(usercom: FakeUserCom) -> None:
    async with UserComClient(usercom.config()) as client:
        visitor = client.visitor(user_id=7)
        await visitor.event("renewed", {"plan": "gold"}, n=1)
        await visitor.product_event("sku-1", "refund", price=9)
        await visitor.update(plan="gold")
        await visitor.page_hit("http://shop.example.com/renew", Event("seen"), city="Paris")
        assert (await visitor.event("a" * 300)).status is Status.ACCEPTED
    assert [each.name for each in usercom.store.events] == ["renewed", "seen", "a" * 255]
    assert usercom.store.events[0].data == {"plan": "gold", "n": 1}
    [user] = usercom.store.users.values()
    assert user.attributes == {"user_id": "7", "plan": "gold", "city": "Paris"}
    assert repr(visitor) == "<ClientVisitor>"


async def test_client_visitor_without_a_name_raises_at_once() -> None:
    with pytest.raises(InvalidCommand, match="user_id or email"):
        UserComClient(CONFIG).visitor()


async def test_client_person_with_an_invalid_email_is_skipped_and_the_job_goes_on(
    usercom: FakeUserCom,
) -> None:
    async with UserComClient(usercom.config()) as client:
        receipt = await client.visitor(email="nobody").event("renewed")
        assert (receipt.status, "e-mail" in receipt.reason) == (Status.SKIPPED, True)
        await client.visitor(user_id=7, email="nobody").event("renewed")
    assert len(usercom.store.events) == 1
    async with UserComClient(usercom.config(strict=True)) as client:
        with pytest.raises(InvalidCommand, match="e-mail"):
            await client.visitor(email="nobody").event("renewed")


async def test_client_stats_after_the_block_are_the_result(
    usercom: FakeUserCom, tmp_path: Path
) -> None:
    client = UserComClient(usercom.config(), outbox=SqliteOutbox(tmp_path / "outbox.db"))
    assert client.stats.accepted == 0
    async with client:
        for _ in range(3):
            await client.visitor(user_id=7).event("renewed")
    stats = client.stats
    assert (stats.accepted, stats.delivered, stats.dropped, stats.waiting) == (3, 3, 0, 0)


async def test_client_switched_off_skips_all(tmp_path: Path) -> None:
    config = UserComConfig(enabled=False)
    client = UserComClient(config, outbox=SqliteOutbox(tmp_path / "outbox.db"))
    async with client:
        receipt = await client.visitor(user_id=7).event("renewed")
        with pytest.raises(InvalidCommand):
            await client.visitor(user_id=7).event("renewed", x=object())
    assert receipt.status is Status.SKIPPED
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_enabled", [True, False])
def test_client_in_a_script_delivers_without_an_event_loop(
    is_enabled: bool, usercom: FakeUserCom
) -> None:
    client = UserComClient(usercom.config(enabled=is_enabled))
    for _ in range(2):
        with client:
            client.visitor(user_id=7).sync.event("renewed", plan="gold")
            client.visitor(user_id=7).sync.update(plan="gold")
    assert len(usercom.store.events) == (2 if is_enabled else 0)
    assert client.stats.delivered == (2 if is_enabled else 0)
    with pytest.raises(ZeroDivisionError), client:
        raise ZeroDivisionError


async def test_client_entered_without_async_in_a_loop_raises() -> None:
    with pytest.raises(RuntimeError, match="write `async with client:`"), UserComClient(CONFIG):
        pass
