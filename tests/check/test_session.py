"""Calls of the probe, and the objects that it may delete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from helpers.fake_usercom import FakeUserCom
from starlette.responses import Response

from usercom_asgi.api.client import open_api_client
from usercom_asgi.check.session import ProbeSession, Reply, shape
from usercom_asgi.rest import Key, UserComRest
from usercom_asgi.sandbox.rest import PATHS, users
from usercom_asgi.sandbox.rest.call import Call, ok
from usercom_asgi.sandbox.vendor import REST_TOKEN


@pytest.fixture
async def session(usercom: FakeUserCom) -> AsyncIterator[ProbeSession]:
    config = usercom.config(rest_token=REST_TOKEN)
    async with (
        UserComRest.from_config(config, retries=0) as rest,
        open_api_client(config, None) as client,
    ):
        yield ProbeSession(rest, client, config.api_key)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, "with an empty body"),
        ({"id": 5, "email": "ann@shop.example"}, "`{id: int, email: text}`"),
        ({"a": {"b": {"c": 1}}}, "`{a: {b: an object of 1 fields}}`"),
        ({str(n): n for n in range(20)}, "an object of 20 fields"),
        ([1, 2], "a list of 2"),
        (True, "bool"),
    ],
)
def test_shape_of_an_answer_has_types_and_no_values(data: object, text: str) -> None:
    assert shape(data) == text


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (Reply(201, {"id": 5}), "`201` `{id: int}`"),
        (Reply(404, detail="Not found."), "`404` (Not found.)"),
        (Reply(None), "`no answer`"),
    ],
)
def test_reply_is_shown_by_its_status_and_shape(reply: Reply, text: str) -> None:
    assert str(reply) == text


async def test_call_notes_headers_of_a_rate_limit(
    session: ProbeSession, usercom: FakeUserCom
) -> None:
    usercom.faults.status(200, times=1, headers={"X-RateLimit-Remaining": "7`", "X-Runtime": "1"})
    assert (await session.call("GET", "tags/")).is_ok
    assert session.limits == {"x-ratelimit-remaining": "7"}


@pytest.mark.parametrize("change", [{"email": "ann@shop.example"}, {"custom_id": "cust-52"}])
async def test_clean_up_keeps_a_visitor_that_became_known(
    change: dict[str, str], session: ProbeSession, usercom: FakeUserCom
) -> None:
    _, key = await session.ping(None)
    assert key is not None
    await session.rest.users.update(Key(key), **change)  # type: ignore[arg-type]
    await session.clean_up()
    assert key in usercom.store.users
    assert session.leftovers() == [
        "visitors: 1, found by their page `https://usercom-asgi-probe.example.com/`"
    ]


async def test_clean_up_keeps_a_visitor_from_before_the_probe(
    session: ProbeSession, usercom: FakeUserCom
) -> None:
    _, key = await session.ping(None)
    session.began = datetime.now(UTC) + timedelta(hours=1)
    await session.clean_up()
    assert key in usercom.store.users


async def test_clean_up_keeps_a_user_that_the_search_finds_by_another_key(
    session: ProbeSession, usercom: FakeUserCom
) -> None:
    _, key = await session.ping(None)
    session.keys[:] = ["another1"]

    def search(call: Call) -> Response:
        return ok(users.describe(call.store, call.store.users[key or ""]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PATHS["/users/search/"], "GET", search)
        await session.clean_up()
    assert key in usercom.store.users
    assert session.keys == ["another1"]


async def test_clean_up_without_any_object_makes_no_call(
    session: ProbeSession, usercom: FakeUserCom
) -> None:
    usercom.faults.status(500)
    await session.clean_up()
    assert not usercom.store.faulted
