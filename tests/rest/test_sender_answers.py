"""The REST channel against answers that are wrong, late, or about another person."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from helpers.fake_usercom import FakeUserCom
from helpers.rest_server import TOKEN, FakeClock, Recorded, RestServer, Scripted

from usercom_asgi import ConfigurationError, Event, PageHit, ProductEvent, Update, UserComConfig
from usercom_asgi.core.commands import Command
from usercom_asgi.core.envelope import JOB, Envelope, PageContext, SendResult
from usercom_asgi.core.exceptions import (
    BadRequestError,
    NotFoundError,
    RejectedError,
    ServerError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedResponseError,
)
from usercom_asgi.rest.sender import RestSender, open_rest_sender
from usercom_asgi.sandbox.vendor import REST_TOKEN

PAGE = PageContext(url="https://shop.example.com/x", domain="shop.example.com")
KEY = "k3v9x0q2m7ab"
VISITOR = {"id": 52, "user_key": KEY, "custom_id": None, "email": None}
ANA = {"user_id": "ana"}
PAID = Event("paid")


def config(server: RestServer, **settings: Any) -> UserComConfig:
    return UserComConfig(base_url=server.url, api_key="ABC123", rest_token=TOKEN, **settings)


@pytest.fixture
async def sender(server: RestServer) -> AsyncIterator[RestSender]:
    async with open_rest_sender(config(server)) as sender:
        yield sender


@pytest.fixture
async def sandbox_sender(usercom: FakeUserCom) -> AsyncIterator[RestSender]:
    usercom.sandbox.rest_creates_attributes = True
    async with open_rest_sender(usercom.config(rest_token=REST_TOKEN)) as sender:
        yield sender


async def send(
    sender: RestSender, command: Command, key: str | None = None, **settings: Any
) -> SendResult:
    envelope = Envelope(command=command, ordering_key="q", key=key, page=PAGE, **settings)
    return await sender.send(envelope, key)


# Another person.


async def test_sender_lookup_with_the_answer_of_another_call_asks_again(
    sender: RestSender, server: RestServer
) -> None:
    """A duplicate response on a kept connection is taken for that of the next call."""
    server.answer({"id": 77, "created": True})  # of an event
    server.answer(VISITOR)
    server.answer({"id": 1})
    await send(sender, PAID, KEY)
    assert server.last.json["user_id"] == 52


async def test_sender_lookup_with_two_other_users_is_tried_later(
    sender: RestSender, server: RestServer
) -> None:
    for number in (77, 78):
        server.answer({"id": number, "user_key": "another12345"})
    with pytest.raises(UnavailableError) as error:
        await send(sender, PAID, KEY)
    assert error.value.not_sent
    assert len(server.requests) == 2


async def test_sender_lookup_of_an_email_with_another_user_sends_nothing(
    sender: RestSender, server: RestServer
) -> None:
    server.answer([{"id": 77, "email": "bob@example.com"}], times=2)
    with pytest.raises(UnexpectedResponseError):
        await send(sender, PAID, source=JOB, identity={"email": "ana@example.com"})
    assert len(server.requests) == 2


async def test_sender_lookup_of_an_email_in_another_case_is_the_user(
    sender: RestSender, server: RestServer
) -> None:
    server.answer([{"id": 52, "email": "Ana@Example.com"}])
    server.answer({"id": 1})
    await send(sender, PAID, source=JOB, identity={"email": "ana@example.com"})
    assert server.last.json["user_id"] == 52


async def test_sender_lookup_that_answers_a_list_of_all_users_sends_nothing(
    sender: RestSender, server: RestServer
) -> None:
    server.answer({"results": [VISITOR, {**VISITOR, "id": 53}], "next": None})
    with pytest.raises(RejectedError):
        await send(sender, PAID, KEY)
    assert len(server.requests) == 1


async def test_sender_unknown_user_does_not_become_another_visitor(
    sender: RestSender, server: RestServer
) -> None:
    """The answer to the look-up of the key is that of another browser."""
    server.answer({"detail": "Not found."}, 404)
    server.answer({**VISITOR, "id": 77, "user_key": "another12345"})
    server.answer({"id": 90, "created": True})
    server.answer({"id": 1})
    await send(sender, PAID, KEY, identity=ANA)
    assert [each.partition("?")[0] for each in server.lines] == [
        "POST /users-by-id/ana/events/",
        "GET /users/search/",
        "POST /users/update_or_create/",
        "POST /users-by-id/ana/events/",
    ]


async def test_sender_view_of_a_user_with_the_answer_of_another_is_not_recorded(
    sender: RestSender, server: RestServer
) -> None:
    server.answer({**VISITOR, "custom_id": "bob", "user_key": "another12345"})
    with pytest.raises(RejectedError):
        await send(sender, PageHit(), identity=ANA)
    assert len(server.requests) == 1


async def test_sender_new_user_of_an_email_is_created_once_if_look_ups_lag(
    sender: RestSender, server: RestServer
) -> None:
    server.answer([])
    server.answer({"id": 52})
    server.answer({"id": 1}, times=2)
    for _ in range(2):
        await send(sender, PAID, source=JOB, identity={"email": "ana@example.com"})
    assert [each.partition("?")[0] for each in server.lines] == [
        "GET /users/search/",
        "POST /users/",
        "POST /events/",
        "POST /events/",
    ]
    assert server.last.json["user_id"] == 52


async def test_sender_upsert_with_the_answer_of_another_call_is_tried_later(
    sender: RestSender, server: RestServer
) -> None:
    server.answer({"id": 77, "created": False})
    server.answer({**VISITOR, "id": 77, "custom_id": "bob"})
    with pytest.raises(UnavailableError):
        await send(sender, PAID, identity={"user_id": "a/b"})
    assert len(server.requests) == 2


async def test_sender_company_with_the_answer_of_another_is_not_changed(
    sender: RestSender, server: RestServer
) -> None:
    server.answer({"id": 9, "custom_id": "other"})
    with pytest.raises(UnexpectedResponseError):
        await send(sender, Update({"company": {"company_id": "acme"}}), identity=ANA)
    assert len(server.requests) == 1


# Answers that are no answers.


@pytest.mark.parametrize("command", [PAID, Update({"first_name": "Ana"}), PageHit()])
async def test_sender_page_of_html_instead_of_an_answer_is_tried_later(
    sender: RestSender, server: RestServer, command: Command
) -> None:
    """Such as the page of a maintenance, which a proxy sends with status 200."""
    server.page()
    with pytest.raises(UnavailableError):
        await send(sender, command, KEY)
    assert len(server.requests) == 1


async def test_sender_html_for_a_new_visitor_is_not_safe_to_repeat(
    sender: RestSender, server: RestServer
) -> None:
    server.page()
    with pytest.raises(UnavailableError) as error:
        await send(sender, PageHit(), may_create=True)
    assert not error.value.not_sent


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", NotFoundError),
        (b"nonsense", RejectedError),
        (b"[[[[", RejectedError),
        (b'"52"', NotFoundError),
        (b"[" * 9000, RejectedError),
        (b'{"id": true, "user_key": "k3v9x0q2m7ab"}', RejectedError),
        (b'{"id": -4, "user_key": "k3v9x0q2m7ab"}', RejectedError),
        (b'{"id": 1e999, "user_key": "k3v9x0q2m7ab"}', RejectedError),
        (b"x" * 20_000, RejectedError),
    ],
    ids=["empty", "text", "cut", "string", "deep", "bool", "negative", "infinite", "huge"],
)
async def test_sender_lookup_with_a_strange_answer_costs_one_command(
    sender: RestSender,
    server: RestServer,
    monkeypatch: pytest.MonkeyPatch,
    body: bytes,
    expected: type[Exception],
) -> None:
    monkeypatch.setattr("usercom_asgi.rest.session.MAX_BODY", 10_000)
    server.answer(body=body, times=2)
    with pytest.raises(expected):
        await send(sender, PAID, KEY)
    assert {each.method for each in server.requests} == {"GET"}


async def test_sender_id_as_a_string_is_the_id(sender: RestSender, server: RestServer) -> None:
    server.answer({**VISITOR, "id": "52"})
    server.answer(status=204)
    await send(sender, PAID, KEY)
    assert server.last.json["user_id"] == 52


async def test_sender_slow_answer_is_unavailable(server: RestServer) -> None:
    server.hang()
    async with open_rest_sender(config(server, timeout=0.1)) as sender:
        with pytest.raises(UnavailableError):
            await send(sender, PAID, KEY)


async def test_sender_slow_answers_of_one_command_take_no_longer_than_one_call_may(
    server: RestServer,
) -> None:
    """A broker takes a command over that takes longer."""
    settings = config(server, timeout=0.2)
    server.answer(VISITOR)
    server.hang()
    async with open_rest_sender(settings) as sender:
        sender._rest = sender._rest.with_options(timeout=30)
        with pytest.raises(UnavailableError), anyio.fail_after(20):
            await send(sender, PAID, KEY)
    assert len(server.requests) in (1, 2)


@pytest.mark.parametrize("key", ["x; Path=/", "", None, 5, "a" * 65])
async def test_sender_new_visitor_with_a_malformed_key_names_none(
    sender: RestSender, server: RestServer, key: object
) -> None:
    """It would become a cookie."""
    server.answer({"id": 52, "user_key": key})
    result = await send(sender, PageHit(), may_create=True)
    assert result.key in (None, "5")
    assert len(server.requests) in (1, 2)


@pytest.mark.parametrize("status", [400, 409])
async def test_sender_custom_id_that_is_taken_meanwhile_is_used(
    sender: RestSender, server: RestServer, status: int
) -> None:
    server.answer({"detail": "Not found."}, 404)
    server.answer(VISITOR)
    server.answer({"errors": {"custom_id": ["Taken."]}}, status)
    server.answer({"id": 90, "created": False})
    server.answer({"id": 1})
    await send(sender, PAID, KEY, identity=ANA)
    assert server.last.line == "POST /users-by-id/ana/events/"


async def test_sender_custom_id_that_the_visitor_lost_meanwhile_is_created(
    sender: RestSender, server: RestServer
) -> None:
    """Another process gave the visitor of a shared key to the person who logged in there."""
    gone = {"detail": "Not found."}
    server.answer(gone, 404)
    server.answer(VISITOR)
    server.answer({"id": 52})
    server.answer(gone, 404)
    server.answer({"id": 90, "created": True})
    server.answer({"id": 90, "custom_id": "ana"})
    server.answer({"id": 1})
    await send(sender, PAID, KEY, identity=ANA)
    assert server.lines[-3:] == [
        "POST /users/update_or_create/",
        "GET /users/90/",
        "POST /events/",
    ]
    assert server.last.json["user_id"] == 90


@pytest.mark.parametrize("status", [400, 409])
async def test_sender_company_and_product_created_by_another_process_are_used(
    sender: RestSender, server: RestServer, status: int
) -> None:
    gone, taken = ({"detail": "Not found."}, 404), ({"detail": "Exists."}, status)
    server.answer(*gone)
    server.answer(*taken)
    server.answer({"id": 7, "custom_id": "acme"}, times=3)
    await send(sender, Update({"company": {"company_id": "acme"}}), identity=ANA)
    assert server.last.line == "POST /companies-by-id/acme/add_member/"
    server.answer(*gone)
    server.answer(*gone)
    server.answer(*taken)
    server.answer({"id": 8, "custom_id": "p1"})
    server.answer({"id": 1})
    await send(sender, ProductEvent("p1", "view"), identity=ANA)
    assert server.last.line == "POST /products-by-id/p1/product_event/"


async def test_sender_conflict_of_an_event_is_rejected(
    sender: RestSender, server: RestServer
) -> None:
    server.answer({"detail": "Conflict."}, 409)
    with pytest.raises(RejectedError) as error:
        await send(sender, PAID, identity=ANA)
    assert error.value.status == 409


# Page views, whose route the vendor does not document.


@pytest.mark.parametrize("answer", ["unknown route", "no key", "rejected"])
async def test_sender_rejected_view_does_not_cost_its_event(
    sender: RestSender, server: RestServer, answer: str
) -> None:
    if answer == "no key":
        server.answer({"id": 52, "custom_id": "ana", "user_key": None})
    else:
        server.answer({"id": 52, "custom_id": "ana", "user_key": KEY})
        server.page(404) if answer == "unknown route" else server.answer({}, 400)
    result = await send(sender, PageHit(event=PAID), identity=ANA)
    assert result.next_command == PAID


async def test_sender_rejected_view_without_an_event_is_rejected(
    sender: RestSender, server: RestServer
) -> None:
    server.page(404)
    with pytest.raises(RejectedError):
        await send(sender, PageHit(), KEY)


@pytest.mark.parametrize(("status", "error"), [(401, UnauthorizedError), (503, ServerError)])
async def test_sender_view_that_may_succeed_later_is_repeated_before_its_event(
    sender: RestSender, server: RestServer, status: int, error: type[Exception]
) -> None:
    server.answer({}, status)
    with pytest.raises(error):
        await send(sender, PageHit(event=PAID), KEY)


# Values.


@pytest.mark.parametrize(
    "user_id", ["a/b", "/", "a//b c", "ąćż/ü", "../x", ".", "a?b#c%2F", "x" * 255, "ą" * 255, "🦊"]
)
async def test_sender_user_id_of_any_text_reaches_the_user(
    sandbox_sender: RestSender, usercom: FakeUserCom, user_id: str
) -> None:
    for n in range(2):
        await send(sandbox_sender, Event(f"e{n}"), identity={"user_id": user_id})
    await send(sandbox_sender, Update({"first_name": "Ana"}), identity={"user_id": user_id})
    [found] = usercom.store.active_users()
    assert found.user_id == user_id
    assert [each.key for each in usercom.store.events] == [found.key] * 2
    assert found.attributes["first_name"] == "Ana"


async def test_sender_deleted_user_with_a_slash_in_the_id_is_created_again(
    sandbox_sender: RestSender, usercom: FakeUserCom
) -> None:
    await send(sandbox_sender, Event("before"), identity={"user_id": "a/b"})
    usercom.store.clear()
    await send(sandbox_sender, Event("after"), identity={"user_id": "a/b"})
    assert [each.name for each in usercom.store.events] == ["after"]


async def test_sender_attributes_named_like_fields_are_set_as_what_they_are(
    sandbox_sender: RestSender, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    odd = {"User_Id": "bob", "Custom Id": "bob", "custom_id": "bob", "USER_KEY": "bob", "key": "z"}
    given = {**odd, "gender": 2, "status": 2, "score": 7, "user_ids": "a", "company_id": 4}
    await send(sandbox_sender, Update(given), key)
    found = usercom.store.users[key]
    assert (found.user_id, found.email, found.key) == (None, None, key)
    assert (found.attributes["gender"], found.attributes["score"]) == (2, 7)
    assert found.attributes["user_ids"] == "a"


@pytest.mark.parametrize("tags", ["beta", ["beta"], ["beta", 5]])
async def test_sender_tags_as_text_or_list_are_added(
    sender: RestSender, server: RestServer, tags: object
) -> None:
    server.answer({"id": 52})
    await send(sender, Update({"tags": tags}), identity=ANA)
    assert server.last.json["tags"] == (["beta"] if tags != ["beta", 5] else ["beta", "5"])


@pytest.mark.parametrize("seen", ["2024-05-01T12:00:00+00:00", 1714564800])
async def test_sender_moment_of_a_field_is_in_unix_seconds(
    sender: RestSender, server: RestServer, seen: object
) -> None:
    server.answer({"id": 52})
    await send(sender, Update({"first_seen": seen}), identity=ANA)
    assert server.last.json == {"first_seen": 1714564800}


@pytest.mark.parametrize(
    "company", [{}, {"name": "Acme"}, {"company_id": ""}, {"company_id": True}, {"company_id": [1]}]
)
async def test_sender_company_without_a_usable_id_costs_no_other_attribute(
    sender: RestSender, server: RestServer, company: dict[str, object]
) -> None:
    server.answer({"id": 52})
    await send(sender, Update({"first_name": "Ana", "company": company}), identity=ANA)
    assert server.lines == ["PUT /users-by-id/ana/"]


async def test_sender_company_of_a_new_visitor_is_joined(
    sandbox_sender: RestSender, usercom: FakeUserCom
) -> None:
    company = {"company_id": 7, "name": "Acme"}
    await send(sandbox_sender, PageHit(attributes={"company": company}), may_create=True)
    [found], [saved] = usercom.store.active_users(), usercom.store.companies.values()
    assert (saved.custom_id, list(saved.members)) == ("7", [found.id])


async def test_sender_rejected_company_of_a_new_visitor_does_not_cost_the_key(
    sender: RestSender, server: RestServer
) -> None:
    server.answer(VISITOR)
    server.answer({}, 400)
    server.answer(status=204)
    command = PageHit(attributes={"company": {"company_id": "acme"}})
    assert (await send(sender, command, may_create=True)).key == KEY


async def test_sender_email_of_a_new_visitor_is_no_part_of_its_creation(
    sender: RestSender, server: RestServer
) -> None:
    """A server that finds the owner of the email would answer with the owner's key."""
    server.answer(VISITOR)
    server.answer({"id": 52})
    server.answer(status=204)
    command = PageHit(attributes={"email": "ana@shop.example", "first_name": "Ana"})
    assert (await send(sender, command, may_create=True)).key == KEY
    assert server.requests[0].json == {"first_name": "Ana"}
    assert server.lines[:2] == ["POST /users/", "PUT /users/52/"]
    assert server.requests[1].json == {"email": "ana@shop.example"}


async def test_sender_rejected_email_of_a_new_visitor_does_not_cost_the_key(
    sender: RestSender, server: RestServer
) -> None:
    server.answer(VISITOR)
    server.answer({"errors": {"email": ["Taken."]}}, 400)
    server.answer(status=204)
    command = PageHit(attributes={"email": "ana@shop.example"})
    assert (await send(sender, command, may_create=True)).key == KEY


# The configuration.


async def test_sender_of_requests_per_second_counts_each_call(server: RestServer) -> None:
    server.always(lambda request: Scripted(200, body_of(request)))
    async with open_rest_sender(config(server, requests_per_second=10)) as sender:
        sender._rest._caller.session.clock = clock = FakeClock()  # type: ignore[assignment]
        for n in range(5):
            await send(sender, PAID, f"key{n}")
    assert len(server.requests) == 10
    assert sum(clock.slept) == pytest.approx(0.9)


def body_of(request: Recorded) -> bytes:
    key = request.params.get("key", "")
    return b'{"id": 5, "user_key": "%s"}' % key.encode()


def test_sender_over_http_to_another_host_is_refused_by_the_configuration() -> None:
    """The delivery could not run with it, and would drop every command."""
    with pytest.raises(ConfigurationError, match="base_url: must begin with https"):
        UserComConfig(base_url="http://10.0.0.1", api_key="ABC123", rest_token=TOKEN)
    UserComConfig(base_url="http://10.0.0.1", api_key="ABC123", rest_token=TOKEN, channel="widget")


async def test_sender_for_thousands_of_visitors_at_once_opens(server: RestServer) -> None:
    async with open_rest_sender(config(server, max_concurrency=5000)):
        pass


async def test_sender_rejected_values_are_a_bad_request(
    sender: RestSender, server: RestServer
) -> None:
    server.answer({"errors": {"score": ["No."]}}, 400)
    with pytest.raises(BadRequestError):
        await send(sender, Update({"score": 5}), identity=ANA)
