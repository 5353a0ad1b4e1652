"""Which user key a queued command travels under."""

from __future__ import annotations

from functools import partial

import anyio
import pytest
from helpers.asgi_client import call, lifespan
from helpers.fake_sender import FakeSender, running
from helpers.fake_usercom import FakeUserCom
from helpers.waiting import until
from starlette.types import Receive, Scope, Send

from usercom_asgi import Event, PageHit, ResetAuth, UserComMiddleware, get_visitor
from usercom_asgi.core.envelope import Envelope, SendResult
from usercom_asgi.delivery.key_ring import KeyRing


def envelope(source: str = "r1", key: str | None = "K1", **identity: str) -> Envelope:
    return Envelope(
        command=Event("e"), ordering_key="K1", key=key, source=source, identity=identity
    )


async def test_key_ring_without_an_answer_gives_the_key_of_the_envelope() -> None:
    assert KeyRing().key_for(envelope()) == "K1"
    assert KeyRing().key_for(envelope(key=None)) is None


async def test_key_ring_learned_key_applies_to_the_same_request_and_person_only() -> None:
    ring = KeyRing()
    assert ring.learn(envelope(user_id="a"), "KA")
    assert ring.key_for(envelope(user_id="a")) == "KA"
    assert ring.key_for(envelope(user_id="b")) == "K1"
    assert ring.key_for(envelope()) == "K1"
    assert ring.key_for(envelope("r2", user_id="a")) == "K1"
    assert ring.key_for(envelope("r2", key=None, user_id="a")) is None


async def test_key_ring_key_of_a_reset_applies_to_all_envelopes_without_a_key() -> None:
    ring = KeyRing()
    ring.learn(Envelope(command=ResetAuth(), ordering_key="token", source="r1"), "NEW")
    assert ring.key_for(envelope("r2", key=None, user_id="b")) == "NEW"
    assert ring.key_for(envelope("r2", key="K2")) == "K2"


async def test_key_ring_restore_takes_dumped_keys_and_ignores_malformed_text() -> None:
    ring, other = KeyRing(), KeyRing()
    ring.learn(Envelope(command=ResetAuth(), ordering_key="token", source="r1"), "NEW")
    ring.learn(envelope(user_id="a"), "KA")
    other.learn(envelope(user_id="a"), "newer")
    other.restore(ring.dumps())
    assert other.key_for(envelope(user_id="a")) == "newer"
    assert other.key_for(envelope("r2", key=None)) == "NEW"
    for text in (None, "", "{}", "[1]", "[null,[1]]", "K2"):
        ring = KeyRing()
        ring.restore(text)
        assert ring.key_for(envelope()) == "K1"


async def test_key_ring_with_thousands_of_answers_keeps_a_bounded_number() -> None:
    ring = KeyRing()
    ring.learn(Envelope(command=ResetAuth(), ordering_key="token", source="r0"), "NEW")
    for n in range(5000):
        ring.learn(envelope(f"r{n}"), f"K{n}")
    assert len(ring.dumps()) < 5000
    assert ring.key_for(envelope("r4999")) == "K4999"
    assert ring.key_for(envelope("r9999", key=None)) == "NEW"


async def test_key_ring_restored_by_one_process_after_another_keeps_the_newest() -> None:
    text = ""
    for process in range(20):
        ring = KeyRing()
        ring.restore(text)
        for n in range(60):
            ring.learn(envelope(f"r{process}-{n}"), f"K{process}x{n}")
            ring.restore(text)
        text = ring.dumps()
    assert len(text) < 10_000
    assert ring.key_for(envelope("r19-59")) == "K19x59"


async def test_queue_of_a_key_learned_by_another_browsers_hit_stays_separate() -> None:
    """A stranger's hit returns the victim's key.

    The victim's later commands do not wait for the stranger's, and keep the victim's key.
    """
    post = FakeSender(SendResult("VICTIM"), holding=True)
    async with running(post, max_concurrency=4) as runtime:
        runtime.submit(
            Envelope(command=PageHit(), ordering_key="STRANGER", key="STRANGER", source="r1")
        )
        for n in range(20):
            runtime.submit(
                Envelope(
                    command=Event(f"s{n}"), ordering_key="STRANGER", key="STRANGER", source="r2"
                )
            )
        await until(lambda: post.now == 1)
        post.release()
        await until(lambda: len(post.sent) > 1)
        receipt = runtime.submit(
            Envelope(command=Event("mine"), ordering_key="VICTIM", key="VICTIM", source="r3")
        )
        assert await receipt.delivered(20)
        await runtime.drain()
    assert {key for lane, _, key in post.sent[1:] if lane == "STRANGER"} == {"STRANGER"}
    assert [key for lane, _, key in post.sent if lane == "VICTIM"] == ["VICTIM"]


@pytest.mark.parametrize("has_lifespan", [True, False])
async def test_visitor_that_names_two_people_in_one_request_sends_each_under_its_own_key(
    usercom: FakeUserCom, has_lifespan: bool
) -> None:
    """An event of one customer of a call centre never reaches the next customer's profile."""
    keys = {name: usercom.new_user() for name in ("alice", "bob")}
    for name, key in keys.items():
        usercom.store.users[key].attributes["user_id"] = name
    desk = usercom.new_user()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        for name in ("alice", "bob", "alice"):
            visitor.identify(user_id=name)
            await (await visitor.page_hit()).delivered(20)
            await visitor.event(f"of {name}")
        visitor.identify(user_id="nobody known")
        await visitor.event("of another")
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    middleware = UserComMiddleware(app, usercom.config())
    if has_lifespan:
        async with lifespan(middleware) as state:
            await call(middleware, headers={"cookie": f"__ca__chat={desk}"}, state=dict(state))
            await until(lambda: len(usercom.store.events) == 4)
    else:
        await call(middleware, headers={"cookie": f"__ca__chat={desk}"})
    assert [(each.name, each.key) for each in usercom.store.events] == [
        ("of alice", keys["alice"]), ("of bob", keys["bob"]), ("of alice", keys["alice"]), ("of another", desk),
    ]  # fmt: skip


async def test_key_ring_two_browsers_with_one_key_do_not_share_a_learned_key(
    usercom: FakeUserCom,
) -> None:
    """After Unified Identification one person's key is in two browsers; then another person uses one of them."""
    shared, bob = usercom.new_user(), usercom.new_user()
    usercom.store.users[bob].attributes["user_id"] = "bob"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        if scope["path"] == "/bob":
            await visitor.page_hit(user_id="bob")
        else:
            await visitor.event("by the other browser")
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    middleware = UserComMiddleware(app, usercom.config())
    headers = {"cookie": f"__ca__chat={shared}"}
    usercom.faults.latency(0.2)
    async with lifespan(middleware) as state, anyio.create_task_group() as tasks:
        await call(middleware, "/bob", headers=headers, state=dict(state))
        tasks.start_soon(partial(call, middleware, "/event", headers=headers, state=dict(state)))
    assert [(each.name, each.key) for each in usercom.store.events] == [
        ("by the other browser", shared)
    ]
