"""The ids of users that are looked up by key or email."""

from __future__ import annotations

from typing import cast

import anyio
import pytest

from usercom_asgi.core.exceptions import NotFoundError, UnexpectedResponseError
from usercom_asgi.rest import sender_user_ids
from usercom_asgi.rest.identifiers import Email, Key
from usercom_asgi.rest.models import User
from usercom_asgi.rest.sender_user_ids import UserIds
from usercom_asgi.rest.users import Users


class LookUps:
    """Users whose id is the length of the value by which they are asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def get(self, who: Key | Email) -> User:
        self.asked.append(who.value)
        await anyio.sleep(0.01)
        if who.value == "missing":
            raise NotFoundError("none")
        return User(
            id=None if who.value == "odd" else len(who.value),
            user_key=who.value if isinstance(who, Key) else None,
            email=who.value if isinstance(who, Email) else None,
        )


@pytest.fixture
def look_ups() -> LookUps:
    return LookUps()


@pytest.fixture
def ids(look_ups: LookUps) -> UserIds:
    return UserIds(cast("Users", look_ups))


async def test_user_ids_of_concurrent_requests_share_a_look_up(
    ids: UserIds, look_ups: LookUps
) -> None:
    found: list[int] = []

    async def ask() -> None:
        found.append(await ids.get(Key("abc")))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert found == [3] * 20
    assert look_ups.asked == ["abc"]
    assert not ids._looking_up


async def test_user_ids_forgotten_are_looked_up_again(ids: UserIds, look_ups: LookUps) -> None:
    await ids.get(Key("abc"))
    ids.forget(Key("abc"))
    ids.forget(Key("never"))
    await ids.get(Key("abc"))
    assert look_ups.asked == ["abc", "abc"]


async def test_user_ids_expire(
    ids: UserIds, look_ups: LookUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_user_ids, "_SECONDS", 0.0)
    for _ in range(2):
        await ids.get(Key("abc"))
    assert look_ups.asked == ["abc", "abc"]


async def test_user_ids_are_bounded_by_dropping_the_oldest(
    ids: UserIds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_user_ids, "_MAX_ENTRIES", 2)
    for key in ("a", "bb", "ccc"):
        await ids.get(Key(key))
    assert list(ids._known) == [Key("bb"), Key("ccc")]


async def test_user_ids_of_a_key_and_an_equal_email_are_apart(ids: UserIds) -> None:
    names: list[Key | Email] = [Key("abc"), Email("a@b")]
    for name in names:
        assert await ids.get(name) == 3
    assert list(ids._known) == names


async def test_user_ids_missing_user_is_not_remembered(ids: UserIds, look_ups: LookUps) -> None:
    for _ in range(2):
        with pytest.raises(NotFoundError):
            await ids.get(Key("missing"))
    assert look_ups.asked == ["missing"] * 2
    assert not ids._looking_up


async def test_user_ids_user_without_an_id_is_unexpected(ids: UserIds) -> None:
    with pytest.raises(UnexpectedResponseError):
        await ids.get(Key("odd"))


async def test_user_ids_cancelled_look_up_frees_the_next(ids: UserIds) -> None:
    with anyio.move_on_after(0.001):
        await ids.get(Key("abc"))
    assert await ids.get(Key("abc")) == 3
    assert not ids._looking_up
