"""What an attack on delivery and identity found after the first one (tests/test_attacks.py)."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from typing import Any

import anyio
import pytest
from conftest import UserCom
from driver import answers, body, call, html, lifespan, start
from posting import Post, running, said
from starlette.types import Receive, Scope, Send
from test_login import KEYS, PEOPLE, Visit, who

from usercom_asgi import (
    Event,
    InvalidCommand,
    PageHit,
    Update,
    UserComClient,
    UserComMiddleware,
    get_visitor,
)
from usercom_asgi.api.client import Response
from usercom_asgi.core.envelope import Envelope
from usercom_asgi.core.receipts import OutcomeCallbacks
from usercom_asgi.core.serialization import from_text, to_text
from usercom_asgi.delivery.sqlite.admin import Row
from usercom_asgi.delivery.sqlite.database import (
    DeadLetterRow,
    LoadedRow,
    NewRow,
    WriteBatch,
    WriteResult,
)
from usercom_asgi.visitor.signed_cookies import IdentityCookie

PAGE = html(b"<html><body></body></html>")


def bob_after_a_while(asked: list[Any]) -> Any:
    """A hook that takes its time to find out who is logged in."""

    async def who_is_it(connection: Any) -> dict[str, str]:
        asked.append(connection)
        await anyio.sleep(0.3)
        return PEOPLE["bob"]

    return who_is_it


def alice_s(key: str) -> str:
    """The cookies of a browser that Alice was last identified in."""
    identity_cookie = IdentityCookie(KEYS, None)
    remembers = identity_cookie.set_cookie(
        identity_cookie.fingerprint(PEOPLE["alice"]), secure=False
    ).decode()
    return f"__ca__chat={key}; {remembers.partition(';')[0]}"


# -- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["1E+200000", "-1E+200000", "1E+17", "9007199254740992"])
def test_a_short_number_does_not_hold_up_the_process(number: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidCommand, match=r"^data\.price: is larger than JavaScript can hold"):
        Event("purchase", {"price": Decimal(number)})
    assert time.process_time() - began < 0.5  # it took 1 s, and 40 s with five more zeros


def test_numbers_at_the_edge_pass() -> None:
    data = Event(
        "e",
        {
            "a": Decimal(2**53 - 1),
            "b": Decimal("1E+15"),
            "c": Decimal("1E-400000"),
            "d": Decimal("-0.5"),
        },
    ).data
    assert dict(data) == {"a": 2**53 - 1, "b": 10**15, "c": 0.0, "d": -0.5}


def test_an_id_that_is_too_long_is_an_invalid_command() -> None:
    with pytest.raises(InvalidCommand, match=r"^user_id: has"):
        Update({"user_id": 10**5000})
    with pytest.raises(InvalidCommand, match=r"^user_id: has"):
        Update({"user_id": 10**260})
    assert Update({"user_id": 10**254}).attributes["user_id"] == str(10**254)


@pytest.mark.parametrize(
    "name", ["purchase", "event.purchase", "event.event.purchase", "event.event."]
)
def test_an_event_keeps_its_name_on_disk(name: str) -> None:
    envelope = Envelope(command=PageHit(event=Event(name)), ordering_key="a", key="k")
    assert from_text(to_text(envelope)).command == envelope.command


# -- Who --------------------------------------------------------------------------------------------------------------


async def test_a_page_hit_by_name_is_of_that_person(usercom: UserCom) -> None:
    async with UserComClient(usercom.config()) as client:
        for _ in range(2):
            receipt = await client.send(PageHit(event=Event("seen")), user_id="u-17")
            assert await receipt.delivered(30)
        await (await client.send(Event("renewed"), user_id="u-17")).delivered(30)
    assert [each.user_id for each in usercom.store.users.values()] == ["u-17"]
    assert [usercom.store.users[each.key].user_id for each in usercom.store.events] == ["u-17"] * 3


async def test_a_hit_s_own_attributes_count_before_the_name_it_is_sent_by(usercom: UserCom) -> None:
    key = usercom.new_user()
    async with UserComClient(usercom.config()) as client:
        hit = PageHit(attributes={"user_id": "u-18", "plan": "pro"})
        assert await (await client.send(hit, key=key, user_id="u-17")).delivered(30)
    assert usercom.store.users[key].user_id == "u-18"


@pytest.mark.parametrize("together", [False, True])
async def test_a_helper_that_was_cut_off_leaves_the_next_one_to_ask(
    usercom: UserCom, *, together: bool
) -> None:
    alice = usercom.new_user()
    usercom.store.users[alice].attributes["user_id"] = "id-alice"
    asked: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        visitor = get_visitor(scope)
        async with anyio.create_task_group() as tasks:
            if together:  # it waits for what the one that is cut off would have found out
                tasks.start_soon(visitor.event, "bob's as well")
                await anyio.sleep(0.02)
            with anyio.move_on_after(0.05):
                await visitor.event("first")
        await visitor.event("secret of bob's")
        await PAGE(scope, receive, send)

    middleware = UserComMiddleware(
        app, usercom.config(secret_keys=KEYS, reset_timeout=30), identify=bob_after_a_while(asked)
    )
    async with lifespan(middleware) as state:
        got = await call(middleware, headers={"cookie": alice_s(alice)}, state=dict(state))
    assert len(asked) <= 2
    assert not [each.name for each in usercom.store.events if each.key == alice]
    assert "secret of bob's" in [each.name for each in usercom.store.events]
    assert b"id-bob" in got.body


async def test_those_who_wait_for_one_that_is_cut_off_ask_themselves(usercom: UserCom) -> None:
    alice, asked = usercom.new_user(), list[Any]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        visitor = get_visitor(scope)

        async def cut_off() -> None:
            with anyio.move_on_after(0.1):
                await visitor.event("cut off")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut_off)
            await anyio.sleep(0.02)
            tasks.start_soon(visitor.event, "one")
            tasks.start_soon(visitor.event, "two")
        await PAGE(scope, receive, send)

    middleware = UserComMiddleware(
        app, usercom.config(secret_keys=KEYS, reset_timeout=30), identify=bob_after_a_while(asked)
    )
    async with lifespan(middleware) as state:
        await call(middleware, headers={"cookie": alice_s(alice)}, state=dict(state))
    assert len(asked) == 2
    assert sorted(each.name for each in usercom.store.events) == ["one", "two"]
    assert not [each for each in usercom.store.events if each.key == alice]


@pytest.mark.parametrize("was", ["somebody else", "alice"])
async def test_a_key_that_is_named_while_a_marker_lies_around_reaches_the_browser(
    was: str, usercom: UserCom
) -> None:
    other, alice = usercom.new_user(), usercom.new_user()
    usercom.store.users[alice].attributes["user_id"] = "alice"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        visitor = get_visitor(scope)
        if scope["path"] == "/logout":
            await visitor.reset_auth()
        elif scope["path"] == "/login":
            visitor.identify(user_id="alice")
            receipt = await visitor.page_hit()
            assert await receipt.delivered(30)
            assert receipt.key == alice
        await answers(start({"content-type": "application/json"}), body(b"{}"))(
            scope, receive, send
        )

    middleware = UserComMiddleware(app, usercom.config(reset_timeout=30))
    async with lifespan(middleware) as state:
        visit = Visit(middleware, state, __ca__chat=alice if was == "alice" else other)
        for path in ("/logout", "/login", "/"):
            await visit.go(path)
    assert visit.jar["__ca__chat"] == alice


async def test_a_cookie_is_signed_anew_after_a_rotation(usercom: UserCom) -> None:
    old, new = KEYS
    alice = usercom.new_user()
    jar = {"__ca__chat": alice, "user": "alice"}
    for keys in ((old,), (old, new), (new,)):
        middleware = UserComMiddleware(
            PAGE, usercom.config(secret_keys=keys, reset_timeout=30), identify=who
        )
        async with lifespan(middleware) as state:
            visit = Visit(middleware, state, **jar)
            if keys == (new,):
                visit.jar["user"] = "bob"
            await visit.go()
            if keys == (old, new):
                assert visit.jar["__ca__chat"] == alice
                assert IdentityCookie([new], None).load(visit.jar["__ca__identity"])
            jar = dict(visit.jar)
    assert jar.get("__ca__chat") != alice


# -- Tasks ------------------------------------------------------------------------------------------------------------


async def test_a_client_in_a_time_limit_delivers_within_the_grace(usercom: UserCom) -> None:
    keys = [usercom.new_user() for _ in range(5)]
    usercom.faults.latency(0.2)
    with anyio.move_on_after(0.1) as scope:
        async with UserComClient(usercom.config(shutdown_timeout=30)) as client:
            for n in range(5):
                await client.send(Event("e", {"n": n}), key=keys[n])
            await anyio.sleep(60)
    assert scope.cancelled_caught
    assert len(usercom.store.events) == 5


async def test_a_client_that_is_cut_off_while_it_opens_ends(tmp_path: Any) -> None:
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


@pytest.mark.parametrize("raised", [asyncio.CancelledError, ValueError, GeneratorExit])
async def test_what_a_hook_raises_changes_nothing(raised: type[BaseException]) -> None:
    def hook(outcome: Any) -> None:
        raise raised

    post = Post()
    async with running(
        post, callbacks=OutcomeCallbacks(on_delivered=hook), max_concurrency=2, shutdown_timeout=30
    ) as runtime:
        for n in range(6):
            runtime.submit(said(n, ordering_key=f"v{n}"))
    assert len(post.sent) == 6


# -- Secrets ----------------------------------------------------------------------------------------------------------


def test_no_repr_holds_a_key() -> None:
    key = "abcdef123456"
    letter = f'{{"user": {{"key": "{key}"}}}}'
    put = NewRow(key, 1.0, letter, may_load=True)
    burial = DeadLetterRow(key, 1.0, letter, 404, "refused", letter)
    loaded = LoadedRow(1, key, key, letter)
    made = [
        Response(200, body=letter.encode()),
        *(put, burial, loaded, Row(1, key, 1.0, letter)),
        *(
            WriteBatch(puts=[put], dead_letters=[burial], keys=[(key, key)]),
            WriteResult(loaded=[loaded]),
        ),
    ]
    assert not [each for each in made if key in repr(each)]
