"""A probe against the sandbox: answers, and what is left behind."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from helpers.fake_usercom import FakeUserCom
from helpers.waiting import until

from usercom_asgi.check import questions
from usercom_asgi.check.probe import Probe
from usercom_asgi.check.questions import QUESTIONS
from usercom_asgi.check.session import NAME
from usercom_asgi.sandbox.store import User
from usercom_asgi.sandbox.vendor import REST_TOKEN


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usercom_asgi.check.session.PAUSE", 0)


@pytest.fixture
def probe(usercom: FakeUserCom) -> Probe:
    return Probe(usercom.config(rest_token=REST_TOKEN))


def objects(usercom: FakeUserCom) -> list[Any]:
    store = usercom.store
    return [*store.active_users(), *store.tags.values(), *store.attributes.values()]


async def test_probe_of_the_sandbox_answers_each_question_and_cleans_up(
    probe: Probe, usercom: FakeUserCom
) -> None:
    await probe.run()
    report = probe.report()
    for text, _ in QUESTIONS:
        assert report.count(f"- **{text}** ") == 1
    assert "not asked" not in report
    assert report.count("Not answered") == 1  # the webhook
    assert not objects(usercom)
    assert not probe.leftovers
    assert f"event name `{NAME}`" in report


async def test_probe_leaves_other_objects_unchanged(probe: Probe, usercom: FakeUserCom) -> None:
    key = usercom.new_user()
    with usercom.store.lock:
        usercom.store.tags.add(name="vip")
    await probe.run()
    assert [each.key for each in usercom.store.active_users()] == [key]
    assert [each.name for each in usercom.store.tags.values()] == ["vip"]


async def test_report_holds_no_token_key_address_or_id(probe: Probe, usercom: FakeUserCom) -> None:
    keys: list[str] = []
    create = usercom.store.create

    def record(key: str | None = None, why: str = "") -> User:
        user = create(key, why)
        keys.append(user.key)
        return user

    usercom.store.create = record  # type: ignore[method-assign]
    try:
        await probe.run()
    finally:
        del usercom.store.create
    report = probe.report()
    assert len(keys) == 5
    for secret in (*keys, REST_TOKEN, "ABC123", usercom.url):
        assert secret not in report


async def test_probe_with_a_failing_call_goes_on_and_cleans_up(
    probe: Probe, usercom: FakeUserCom
) -> None:
    usercom.faults.status(403, only="/users/merge/")
    usercom.faults.status(500, only="/site-views/")
    await probe.run()
    report = probe.report()
    assert "Not answered: the merge is refused: `403`" in report
    assert "`500`" in report
    assert not objects(usercom)


async def test_probe_with_a_lost_answer_finds_the_user_again(
    probe: Probe, usercom: FakeUserCom
) -> None:
    usercom.faults.drop(only="/api/public/users/", times=1)  # after the user is made
    await probe.run()
    assert "Not answered: POST /users/" in probe.report()
    assert not objects(usercom)


async def test_probe_that_is_cancelled_cleans_up_and_reports_the_answers_so_far(
    probe: Probe, usercom: FakeUserCom
) -> None:
    usercom.faults.hang(only="/site-views/")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(probe.run)
        await until(lambda: bool(usercom.store.faulted))
        tasks.cancel_scope.cancel()
    assert not objects(usercom)
    report = probe.report()
    assert "the event is among" in report.lower()
    assert "not asked" in report


async def test_probe_with_a_bug_in_a_question_cleans_up(
    probe: Probe, usercom: FakeUserCom, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> str:
        raise RuntimeError("a bug")

    pairs = [*questions.QUESTIONS[:2], ("Broken?", broken)]
    monkeypatch.setattr("usercom_asgi.check.probe.QUESTIONS", pairs)
    with pytest.raises(RuntimeError):
        await probe.run()
    assert not objects(usercom)


async def test_probe_names_what_could_not_be_removed(probe: Probe, usercom: FakeUserCom) -> None:
    async def forbid(_: object) -> str:
        usercom.faults.status(403, only="/api/public/")
        return "Forbidden from now on."

    asked = (*QUESTIONS, ("The end?", forbid))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("usercom_asgi.check.probe.QUESTIONS", asked)
        await probe.run()
    report = probe.report()
    assert objects(usercom)
    assert f"user with the custom id `{NAME}-" in report
    assert f"tag `{NAME}-" in report
    assert "attribute `usercom_probe_" in report
    assert "visitors: " in report
    assert "Objects removed: 0" in report


async def test_probe_names_a_visitor_whose_answer_was_lost(
    probe: Probe, usercom: FakeUserCom
) -> None:
    usercom.faults.drop(only="user-chatping", times=1)
    await probe.run()
    assert probe.leftovers == [
        "visitors: 1, found by their page `https://usercom-asgi-probe.example.com/`"
    ]


async def test_report_before_a_run_has_no_answers(probe: Probe) -> None:
    assert probe.report().count("not asked") == len(QUESTIONS)
