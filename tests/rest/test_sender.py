"""The delivery's channel by the REST API, against the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from helpers.fake_usercom import FakeUserCom

from usercom_asgi import Event, PageHit, ProductEvent, ResetAuth, Update
from usercom_asgi.api.client import ssl_context
from usercom_asgi.core.commands import Command
from usercom_asgi.core.envelope import JOB, Envelope, PageContext, SendResult
from usercom_asgi.core.exceptions import (
    AmbiguousError,
    NotFoundError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from usercom_asgi.rest.sender import RestSender, open_rest_sender
from usercom_asgi.sandbox.store import User
from usercom_asgi.sandbox.vendor import REST_TOKEN

PAGE = PageContext(url="https://shop.example.com/x", domain="shop.example.com")
ANA = {"user_id": "ana", "email": "ana@example.com"}


@pytest.fixture
async def sender(usercom: FakeUserCom) -> AsyncIterator[RestSender]:
    async with open_rest_sender(usercom.config(rest_token=REST_TOKEN)) as sender:
        yield sender


async def send(
    sender: RestSender, command: Command, key: str | None = None, **settings: Any
) -> SendResult:
    """Send a command as the worker does, which goes on with the next one."""
    envelope = Envelope(command=command, ordering_key="q", key=key, page=PAGE, **settings)
    result = await sender.send(envelope, key)
    if result.next_command is not None:
        await send(sender, result.next_command, result.key or key, **settings)
    return result


def calls(usercom: FakeUserCom) -> list[str]:
    """Return the path of each call that a fault saw, which all are slow for."""
    return [each.path for each in usercom.store.faulted]


def user(usercom: FakeUserCom, user_id: str = "ana") -> User:
    found = usercom.store.by_user_id(user_id)
    assert found is not None
    return found


async def test_event_by_key_is_recorded_for_the_visitor_of_the_key(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    result = await send(sender, Event("paid", sum=10), key, created_at=1_700_000_000.5)
    [event] = usercom.store.events
    assert (event.key, event.name, event.data) == (key, "paid", {"sum": 10})
    assert result == SendResult()
    assert len(usercom.store.users) == 1


async def test_event_by_key_looks_the_visitor_up_once(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    usercom.faults.latency(0.0, sender="server")
    async with anyio.create_task_group() as tasks:
        for n in range(5):
            tasks.start_soon(send, sender, Event(f"e{n}"), key)
    await send(sender, Event("later"), key)
    assert len(usercom.store.events) == 6
    assert sum("search" in path for path in calls(usercom)) == 1


async def test_event_of_an_unknown_key_is_rejected(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    with pytest.raises(NotFoundError) as error:
        await send(sender, Event("paid"), "unknown12345")
    assert error.value.status == 404
    assert "unknown12345" not in str(error.value)
    assert not usercom.store.users


async def test_event_of_a_merged_visitor_reaches_the_user_that_they_became(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    await send(sender, Event("before"), key)
    with usercom.store.lock:
        kept = usercom.store.create()
        loser = usercom.store.find(key)
        assert loser is not None
        usercom.store.merge(loser, kept)
    await send(sender, Event("after"), key)
    assert [each.key for each in usercom.store.events] == [kept.key, kept.key]


async def test_event_of_an_unknown_user_creates_the_user(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    await send(sender, Event("paid"), identity=ANA)
    await send(sender, Event("again"), identity=ANA)
    assert user(usercom).email == "ana@example.com"
    assert [each.key for each in usercom.store.events] == [user(usercom).key] * 2
    assert len(usercom.store.users) == 1


async def test_event_of_an_unknown_user_keeps_the_history_of_the_anonymous_visitor(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    await send(sender, Event("before"), key)
    await send(sender, Event("paid"), key, identity=ANA)
    assert user(usercom).key == key
    assert [each.name for each in usercom.store.events if each.key == key] == ["before", "paid"]


@pytest.mark.parametrize("other", [{"user_id": "bob"}, {"email": "bob@example.com"}])
async def test_event_of_an_unknown_user_in_another_persons_browser_merges_nothing(
    sender: RestSender, usercom: FakeUserCom, other: dict[str, str]
) -> None:
    key = usercom.new_user()
    bob = usercom.store.users[key]
    usercom.store.update(bob, other)
    result = await send(sender, Event("paid"), key, identity=ANA)
    assert user(usercom) is not bob
    assert result.key is None
    assert [each.key for each in usercom.store.events] == [user(usercom).key]
    assert bob.attributes == other


async def test_event_by_email_outside_of_requests_finds_or_creates_the_user(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    identity = {"email": "ana@example.com"}
    for name in ("one", "two"):
        await send(sender, Event(name), source=JOB, identity=identity)
    [found] = usercom.store.active_users()
    assert found.email == "ana@example.com"
    assert [each.key for each in usercom.store.events] == [found.key] * 2


async def test_event_by_an_email_of_two_users_is_rejected(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    for _ in range(2):
        usercom.store.update(usercom.store.create(), {"email": "ana@example.com"})
    with pytest.raises(AmbiguousError):
        await send(sender, Event("paid"), source=JOB, identity={"email": "ana@example.com"})
    assert not usercom.store.events


async def test_command_with_an_email_from_a_form_alone_is_not_sent(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    owner = usercom.store.create()
    usercom.store.update(owner, {"email": "ana@example.com"})
    for command in (Event("paid"), Update({"plan": "gold"}), PageHit()):
        with pytest.raises(RejectedError) as error:
            await send(sender, command, identity={"email": "ana@example.com"})
        assert error.value.status is None
    assert not usercom.store.events
    assert owner.attributes == {"email": "ana@example.com"}


async def test_page_hit_sets_attributes_then_records_the_view_and_the_event(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    usercom.sandbox.rest_creates_attributes = True
    key = usercom.new_user()
    command = PageHit(event=Event("seen", n=1), attributes={"first_name": "Ana", "plan": "gold"})
    result = await send(sender, command, key)
    [hit], [event] = usercom.store.hits, usercom.store.events
    assert (hit.key, hit.url) == (key, PAGE.url)
    assert (event.key, event.name) == (key, "seen")
    attributes = usercom.store.users[key].attributes
    assert (attributes["first_name"], attributes["plan"]) == ("Ana", "gold")
    assert result.key is None


async def test_page_hit_of_a_known_user_is_their_view(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    await send(sender, PageHit(url="https://shop.example.com/y"), identity=ANA)
    [hit] = usercom.store.hits
    assert (hit.key, hit.url) == (user(usercom).key, "https://shop.example.com/y")


async def test_page_hit_that_may_create_a_visitor_names_the_key(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    command = PageHit(event=Event("seen"), attributes={"first_name": "Ana"})
    result = await send(sender, command, may_create=True)
    [found] = usercom.store.active_users()
    assert result.key == found.key
    assert usercom.store.hits[0].key == usercom.store.events[0].key == found.key


async def test_page_hit_without_an_address_is_an_update(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    envelope = Envelope(command=PageHit(attributes={"first_name": "Ana"}), ordering_key="q")
    await sender.send(envelope, key)
    assert usercom.store.users[key].attributes["first_name"] == "Ana"
    assert not usercom.store.hits


async def test_product_event_of_an_unknown_product_creates_the_product_once(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    command = ProductEvent(
        "p1", "purchase", name="Book", attributes={"price": 9.5}, custom_data={"n": 2}
    )
    for _ in range(2):
        await send(sender, command, key)
    assert len(usercom.store.products) == 1
    assert [(each.key, each.product_id) for each in usercom.store.product_events] == [
        (key, "p1")
    ] * 2
    assert usercom.store.product_events[0].data["custom_data"] == {"n": 2}


async def test_product_event_of_an_unknown_user_and_product_creates_both(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    await send(sender, ProductEvent("p1", "purchase"), identity=ANA)
    assert [each.key for each in usercom.store.product_events] == [user(usercom).key]
    assert len(usercom.store.products) == 1


async def test_update_sets_standard_and_custom_attributes_and_the_company(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    usercom.sandbox.rest_creates_attributes = True
    company = {"company_id": "acme", "name": "Acme", "country": "pl"}
    attributes = {"name": "Ana Nowak", "gender": 3, "seats": 4, "company": company}
    for _ in range(2):
        await send(sender, Update(attributes), identity=ANA)
    found = user(usercom)
    assert found.attributes["first_name"] == "Ana"
    assert found.attributes["last_name"] == "Nowak"
    assert found.attributes["gender"] == 3
    assert found.attributes["seats"] == 4
    [saved] = usercom.store.companies.values()
    assert (saved.custom_id, saved.fields["name"]) == ("acme", "Acme")
    assert list(saved.members) == [found.id]
    assert found.company["company_id"] == "acme"


async def test_update_by_key_changes_the_visitor_of_the_key(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    await send(sender, Update({"email": "new@example.com"}), key)
    assert usercom.store.users[key].email == "new@example.com"


async def test_reset_with_a_known_user_keeps_the_details_and_names_no_key(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    result = await send(sender, ResetAuth({**ANA, "first_name": "Ana"}))
    assert result == SendResult()
    assert user(usercom).attributes["first_name"] == "Ana"


async def test_reset_without_a_user_calls_nothing(sender: RestSender, usercom: FakeUserCom) -> None:
    assert await send(sender, ResetAuth({"email": "ana@example.com"})) == SendResult()
    assert not usercom.store.users


async def test_open_rest_sender_reads_the_certificates_before_the_first_call(
    usercom: FakeUserCom,
) -> None:
    ssl_context.cache_clear()
    async with open_rest_sender(usercom.config(rest_token=REST_TOKEN)):
        assert ssl_context.cache_info().currsize


async def test_send_with_a_wrong_token_is_unauthorized(usercom: FakeUserCom) -> None:
    config = usercom.config(rest_token="another-token")
    async with open_rest_sender(config) as sender:
        with pytest.raises(UnauthorizedError) as error:
            await send(sender, Event("paid"), identity=ANA)
    assert error.value.status == 401
    assert "another-token" not in repr(error.value)


async def test_send_while_usercom_is_down_is_unavailable(
    sender: RestSender, usercom: FakeUserCom
) -> None:
    usercom.faults.status(503, sender="server")
    with pytest.raises(UnavailableError):
        await send(sender, Event("paid"), identity=ANA)
    usercom.faults.clear()
    await send(sender, Event("paid"), identity=ANA)
    assert len(usercom.store.events) == 1
