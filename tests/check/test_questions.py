"""Questions of the probe, against sandboxes that behave otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from helpers.fake_usercom import FakeUserCom

from usercom_asgi.api.client import open_api_client
from usercom_asgi.check import questions
from usercom_asgi.check.session import ProbeSession, UnansweredError
from usercom_asgi.rest import UserComRest
from usercom_asgi.sandbox import vendor
from usercom_asgi.sandbox.rest import users
from usercom_asgi.sandbox.rest.fields import Field, anything


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usercom_asgi.check.session.PAUSE", 0)


@pytest.fixture
async def session(usercom: FakeUserCom) -> AsyncIterator[ProbeSession]:
    config = usercom.config(rest_token=vendor.REST_TOKEN)
    async with (
        UserComRest.from_config(config, retries=0) as rest,
        open_api_client(config, None) as client,
    ):
        yield ProbeSession(rest, client, config.api_key)


async def test_page_hit_with_a_wrong_app_key_has_no_user_key(session: ProbeSession) -> None:
    session.app_key = "WRONG1"
    assert await questions.page_hit(session) == "A page hit answers `403` without a user key."


async def test_page_hit_where_an_unknown_key_is_kept_finds_it(
    session: ProbeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vendor, "UNKNOWN_KEY_GETS_NEW_KEY", False)
    assert "`200` with that key" in await questions.page_hit(session)


async def test_event_where_the_key_is_not_taken_is_tried_with_a_null_id(
    session: ProbeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vendor, "EVENTS_TAKE_USER_KEY", False)
    answer = await questions.event_by_key(session)
    assert "`user_key` alone: `400`" in answer
    assert "With `user_id: null`: `400`" in answer


async def test_gender_as_a_word_is_found_where_it_is_taken(
    session: ProbeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(users.FIELDS, "gender", Field(anything))
    assert "`'male'` is read as `'male'`" in await questions.gender(session)


async def test_gender_as_a_word_is_refused_by_the_sandbox(session: ProbeSession) -> None:
    answer = await questions.gender(session)
    assert "`'male'` is refused: `400`" in answer
    assert "`3` is read as `'female'`" in answer


@pytest.mark.parametrize(("creates", "fate"), [(True, "created"), (False, "ignored")])
async def test_unknown_attribute_is_created_or_ignored(
    creates: bool,
    fate: str,
    session: ProbeSession,
    usercom: FakeUserCom,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(usercom.sandbox, "rest_creates_attributes", creates)
    assert (await questions.unknown_attribute(session)).count(fate) == 2
    await session.clean_up()
    assert not [*usercom.store.attributes.values()]


async def test_null_without_the_right_to_define_answers_for_the_standard_field(
    session: ProbeSession, usercom: FakeUserCom
) -> None:
    usercom.faults.status(403, only="/attributes/")
    answer = await questions.null(session)
    assert "`200`, null clears it" in answer
    assert "could not be defined: `403`" in answer


async def test_null_that_is_refused_is_answered_with_the_status(
    session: ProbeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(users.FIELDS, "city", Field(anything, nullable=False))
    assert "null is refused: `400`" in await questions.null(session)


async def test_merge_finds_where_keys_and_ids_lead(session: ProbeSession) -> None:
    answer = await questions.merge(session)
    assert "the other's key leads to the parent" in answer
    assert "the other's id is answered with `404`" in answer


async def test_remove_verbs_finds_those_that_the_sandbox_takes(session: ProbeSession) -> None:
    answer = await questions.remove_verbs(session)
    assert "`DELETE users/:id/remove_tag/`: `204`, the tag is removed" in answer
    assert "`POST users/:id/remove_tag/`: `405`" in answer
    assert "`DELETE users-by-id/:custom_id/remove_tag/`: `405`" in answer
    assert "`POST users-by-id/:custom_id/remove_tag/`: `200`, the tag is removed" in answer


async def test_rate_limit_lists_the_headers_that_were_seen(session: ProbeSession) -> None:
    session.limits["x-ratelimit-limit"] = "600"
    assert "`x-ratelimit-limit: 600`" in await questions.rate_limit(session)


async def test_webhook_has_no_answer(session: ProbeSession) -> None:
    with pytest.raises(UnansweredError, match="automation"):
        await questions.webhook(session)
