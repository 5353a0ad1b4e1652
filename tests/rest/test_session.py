"""Guards ``rest/session.py``: what is sent, what is repeated, the pause after a 429."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from helpers.rest_server import TOKEN, FakeClock, Recorded, RestServer, Scripted

from usercom_asgi.core.exceptions import DeliveryError
from usercom_asgi.rest import (
    Call,
    CustomId,
    Key,
    NoResponseError,
    NotFoundError,
    RateLimitError,
    RejectedError,
    ServerError,
    UnauthorizedError,
    UnexpectedResponseError,
    UserComRest,
)
from usercom_asgi.rest.call import MAX_BODY


async def test_call_sends_token_version_and_json(rest: UserComRest, server: RestServer) -> None:
    server.answer({"id": 1})
    await rest.events.create(52, "paid")
    headers = server.last.headers
    assert headers["authorization"] == f"Token {TOKEN}"
    assert headers["accept"] == "*/*; version=2"
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(server.last.body))
    assert server.last.path == "/api/public/events/"


async def test_call_get_has_no_body_headers(rest: UserComRest, server: RestServer) -> None:
    server.answer({"id": 52})
    await rest.users.get(52)
    assert server.last.headers.keys() == {"host", "accept", "accept-encoding", "authorization"}
    assert server.last.headers["host"] == server.url.removeprefix("http://")


#: A call that may be repeated and one that may not, whatever their verbs.
REPEATABLE: list[tuple[str, Callable[[UserComRest], Any]]] = [
    ("get", lambda rest: rest.users.get(52)),
    ("update", lambda rest: rest.users.update(52, email="a@b.example")),
    ("upsert", lambda rest: rest.users.upsert("c", email="a@b.example")),
    ("tag", lambda rest: rest.users.add_tag(52, "beta")),
    ("attributes", lambda rest: rest.users.set_attributes(52, {"a": 1})),
    ("list", lambda rest: rest.users.add_to_list(52, 3)),
    ("deal", lambda rest: rest.deals.upsert("o-7", name="7")),
    ("member", lambda rest: rest.companies.add_member(21, 52)),
]
ONCE: list[tuple[str, Callable[[UserComRest], Any]]] = [
    ("event", lambda rest: rest.events.create(52, "paid")),
    ("event by custom id", lambda rest: rest.events.create(CustomId("c"), "paid")),
    ("product event", lambda rest: rest.product_events.create(52, 1, "purchase")),
    ("create", lambda rest: rest.users.create(email="a@b.example")),
    ("merge", lambda rest: rest.users.merge(keep=52, others=[53])),
]


def named(calls: list[tuple[str, Callable[[UserComRest], Any]]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("call", [c for _, c in calls], ids=[name for name, _ in calls])


@named(REPEATABLE)
async def test_call_repeatable_with_lost_answer_is_repeated(
    rest: UserComRest, server: RestServer, clock: FakeClock, call: Any
) -> None:
    server.answer({"id": 52}, is_lost=True)
    server.answer({"detail": "Oops."}, 502)
    server.answer({"id": 52})
    await call(rest)
    assert len(set(server.lines)) == 1
    assert len(server.lines) == 3
    assert len(clock.slept) == 2
    assert all(0 <= each <= 1 for each in clock.slept)


@named(ONCE)
async def test_call_not_repeatable_with_lost_answer_raises(
    rest: UserComRest, server: RestServer, call: Any
) -> None:
    """The event may be stored, and there is no key by which a second one is recognised."""
    server.hang()
    with pytest.raises(NoResponseError, match="ReadTimeout") as raised:
        await call(rest.with_options(timeout=0.05))
    assert not raised.value.not_sent
    server.answer({}, 503)
    with pytest.raises(ServerError):
        await call(rest)
    assert len(server.requests) == 2


async def test_call_not_repeatable_with_a_lost_body_has_been_made(
    rest: UserComRest, server: RestServer
) -> None:
    """The status came, so an error would have the event recorded again."""
    server.answer({"id": 86}, 201, is_lost=True)
    assert (await rest.events.create(52, "paid")).id is None
    server.answer({"detail": "Slow down."}, 429, is_lost=True, retry_after="3")
    server.answer({"id": 86})
    assert (await rest.events.create(52, "paid")).id == 86
    server.answer({}, 401, is_lost=True)
    with pytest.raises(UnauthorizedError):
        await rest.events.create(52, "paid")


async def test_call_large_body_of_an_error_does_not_change_its_kind(
    rest: UserComRest, server: RestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usercom_asgi.rest.session.MAX_BODY", 1000)
    server.answer(body=b"x" * 2000, status=502)
    server.answer({"id": 52})
    assert (await rest.users.get(52)).id == 52


@named(ONCE)
async def test_call_not_repeatable_after_429_is_repeated(
    rest: UserComRest, server: RestServer, clock: FakeClock, call: Any
) -> None:
    server.answer({"detail": "Slow down."}, 429, retry_after="7")
    server.answer({"id": 1})
    await call(rest)
    assert len(server.requests) == 2
    assert clock.slept == [7.0]


async def test_call_not_reached_is_repeated_whatever_it_does(clock: FakeClock) -> None:
    calls: list[Call] = []
    async with UserComRest(
        base_url="http://127.0.0.1:9", token=TOKEN, timeout=0.5, on_call=calls.append
    ) as rest:
        rest._caller.session.clock = clock  # type: ignore[assignment]
        with pytest.raises(
            NoResponseError, match=r"POST /events/ not sent: ConnectError"
        ) as raised:
            await rest.events.create(52, "paid")
    assert raised.value.not_sent
    assert raised.value.status is None
    assert [each.attempt for each in calls] == [1, 2, 3]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 422])
async def test_call_rejected_is_not_repeated(
    rest: UserComRest, server: RestServer, status: int
) -> None:
    server.answer({"detail": "No."}, status)
    with pytest.raises(RejectedError) as raised:
        await rest.users.get(52)
    assert raised.value.status == status
    assert len(server.requests) == 1


async def test_call_failing_for_good_raises_after_the_retries(
    rest: UserComRest, server: RestServer, clock: FakeClock
) -> None:
    server.answer({"detail": "Oops."}, 500, times=3)
    with pytest.raises(ServerError, match="GET /users/:id/ answered 500: Oops"):
        await rest.users.get(52)
    assert len(server.requests) == 3
    patient = rest.with_options(retries=0)
    server.answer({}, 500)
    with pytest.raises(ServerError):
        await patient.users.get(52)
    assert len(server.requests) == 4


async def test_call_429_with_a_long_retry_after_raises_and_holds_back_the_others(
    rest: UserComRest, server: RestServer, clock: FakeClock
) -> None:
    server.answer({}, 429, retry_after="61")
    with pytest.raises(RateLimitError) as raised:
        await rest.users.get(52)
    assert (raised.value.retry_after, raised.value.not_sent) == (61, True)
    assert clock.slept == []
    with pytest.raises(RateLimitError, match="not sent: the rate limit pauses all calls") as raised:
        await rest.tags.create("beta")
    assert raised.value.retry_after == pytest.approx(61)
    assert len(server.requests) == 1
    clock.time += 30
    server.answer({"id": 1})
    await rest.tags.create("beta")
    assert clock.slept == [pytest.approx(31)]


async def test_call_429_pauses_all_calls_of_the_client_and_its_views(
    rest: UserComRest, server: RestServer, clock: FakeClock
) -> None:
    server.answer({}, 429, retry_after="30")
    with pytest.raises(RateLimitError):
        await rest.with_options(retries=0).users.get(52)
    # A caller without retries learns at once when to come back.
    with pytest.raises(RateLimitError) as raised:
        await rest.with_options(retries=0).users.get(52)
    assert raised.value.retry_after == pytest.approx(30)
    assert len(server.requests) == 1
    server.answer({"id": 53})
    await rest.with_options(timeout=5).users.get(53)
    assert clock.slept == [pytest.approx(30)]


async def test_call_429_with_an_absurd_retry_after_pauses_an_hour(
    rest: UserComRest, server: RestServer, clock: FakeClock
) -> None:
    server.answer({}, 429, retry_after="9" * 400)
    with pytest.raises(RateLimitError):
        await rest.users.get(52)
    with pytest.raises(RateLimitError) as raised:
        await rest.users.get(52)
    assert raised.value.retry_after == pytest.approx(3600)


@pytest.mark.parametrize("limit", [1, 3])
async def test_call_concurrency_is_limited(server: RestServer, limit: int) -> None:
    running = most = 0

    async with UserComRest(base_url=server.url, token=TOKEN, concurrency=limit) as rest:
        server.always(lambda request: Scripted(200, b'{"id": 52}'))
        session = rest._caller.session
        await rest.users.get(52)
        client: Any = session._client
        request = client.request

        async def counted(*args: Any, **options: Any) -> Any:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await anyio.sleep(0.01)
            try:
                return await request(*args, **options)
            finally:
                running -= 1

        client.request = counted
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(rest.users.get, 52)
    assert most == limit


async def test_call_repeatable_reuses_a_connection_and_others_take_a_new_one(
    rest: UserComRest, server: RestServer
) -> None:
    """A kept connection may be closed by the server just when an event is sent on it."""
    server.always(lambda request: Scripted(200, b'{"id": 52}'))
    for _ in range(5):
        await rest.users.get(52)
    assert len(server.connections) == 1
    for _ in range(3):
        await rest.events.create(52, "paid")
    assert len(server.connections) == 4


async def test_call_of_a_caller_with_retries_of_its_own_reuses_a_connection_for_events(
    rest: UserComRest, server: RestServer
) -> None:
    server.always(lambda request: Scripted(200, b'{"id": 52}'))
    own = rest.with_options(retries=0)
    for _ in range(3):
        await own.events.create(52, "paid")
        await own.product_events.create(52, 7, "purchase")
        await own.site_views.create(Key("abc"), "https://shop.example/x")
    assert len(server.connections) == 1
    await own.users.create(email="ada@shop.example")  # whose answer names a key
    assert len(server.connections) == 2


async def test_on_call_gets_each_attempt_without_ids(
    server: RestServer, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Call] = []

    def hook(call: Call) -> None:
        calls.append(call)
        raise RuntimeError("a bug of the hook")

    async with UserComRest(base_url=server.url, token=TOKEN, on_call=hook) as rest:
        rest._caller.session.clock = clock  # type: ignore[assignment]
        server.answer({}, 503)
        server.answer({"id": 52})
        await rest.users.get(CustomId("cust-52"))
    assert [(each.method, each.route, each.status, each.attempt) for each in calls] == [
        ("GET", "/users-by-id/:custom_id/", 503, 1),
        ("GET", "/users-by-id/:custom_id/", 200, 2),
    ]
    assert "cust-52" not in repr(calls)
    assert caplog.text.count("on_call hook failed, continuing") == 2


async def test_call_compressed_answer_is_read_and_bounded(
    rest: UserComRest, server: RestServer
) -> None:
    body = gzip.compress(b'{"id": 52}')
    server.answer(body=body, content_encoding="gzip")
    assert (await rest.users.get(52)).id == 52
    bomb = gzip.compress(b" " * (MAX_BODY + 10), 9)
    server.answer(body=bomb, content_encoding="gzip")
    with pytest.raises(UnexpectedResponseError, match="over the limit"):
        await rest.users.get(52)
    assert len(server.requests) == 2


async def test_call_large_answer_is_refused_and_not_repeated(
    rest: UserComRest, server: RestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usercom_asgi.rest.session.MAX_BODY", 1000)
    server.answer({"id": 52, "text": "x" * 2000})
    with pytest.raises(UnexpectedResponseError, match="over the limit"):
        await rest.users.get(52)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"<html>", {"content_type": "text/html; charset=utf-8"}),
        (b"not json", {}),
        (b"[" * 100_000, {}),
        (b"1" * 5000, {}),
        (b"\xff\xfe\xfa", {}),
        (b'"text"', {}),
        (b"[1]", {}),
    ],
)
async def test_call_get_of_something_else_raises_unexpected(
    rest: UserComRest, server: RestServer, body: bytes, headers: dict[str, Any]
) -> None:
    server.answer(body=body, **headers)
    with pytest.raises(UnexpectedResponseError) as raised:
        await rest.users.get(52)
    assert raised.value.status == 200


@pytest.mark.parametrize("body", [b"", b"ok", b"[1]", b"null", b'"x"', b"\xff"])
async def test_call_write_with_a_strange_answer_succeeds(
    rest: UserComRest, server: RestServer, body: bytes
) -> None:
    """The write has been made, so an error would have it made again."""
    server.answer(body=body)
    assert (await rest.users.update(52, email="a@b.example")).id is None


async def test_call_write_answered_by_a_page_raises(rest: UserComRest, server: RestServer) -> None:
    server.page()
    with pytest.raises(UnexpectedResponseError, match="with HTML"):
        await rest.users.delete(52)


async def test_call_with_an_endless_query_raises_without_a_call(
    rest: UserComRest, server: RestServer
) -> None:
    with pytest.raises(RejectedError, match="too long") as raised:
        await rest.users.list(name="x" * 70_000)
    assert len(str(raised.value)) < 200
    assert server.requests == []


async def test_call_timeout_of_a_view_counts(server: RestServer) -> None:
    def slow(request: Recorded) -> Scripted:
        import time

        time.sleep(0.3)
        return Scripted(200, b'{"id": 52}')

    server.always(slow)
    async with UserComRest(base_url=server.url, token=TOKEN, retries=0) as rest:
        with pytest.raises(NoResponseError, match="ReadTimeout"):
            await rest.with_options(timeout=0.05).users.get(52)
        assert (await rest.users.get(52)).id == 52


async def test_call_logs_neither_token_nor_values(
    rest: UserComRest, server: RestServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answer({"errors": {"email": ["ada@shop.example exists"]}}, 400)
    server.answer({"detail": "Not found."}, 404)
    with pytest.raises(DeliveryError):
        await rest.users.update(52, email="ada@shop.example")
    with pytest.raises(NotFoundError):
        await rest.users.get(CustomId("cust-52"))
    ours = [r.getMessage() for r in caplog.records]
    assert TOKEN not in str(ours)
    assert "ada@" not in str([r.getMessage() for r in caplog.records if "usercom" in r.name])
