"""The identification matrix, row by row, under all four settings."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from usercom_asgi.sandbox.identification import MATRIX, Call, Owner

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.conftest import Api

    from usercom_asgi.sandbox import Sandbox

    Switches = tuple[bool, bool]
    Switch = Callable[[Switches], None]

EMAIL = "ann@example.com"
OFF, UNIFIED, AUTHORIZED, BOTH = (False, False), (True, False), (False, True), (True, True)
EVERY = [OFF, UNIFIED, AUTHORIZED, BOTH]


@pytest.fixture
def switch(sandbox: Sandbox) -> Switch:
    def set_switches(switches: Switches) -> None:
        sandbox.unified_identification, sandbox.authorize_by_email = switches

    return set_switches


def test_matrix_has_every_row_and_owner() -> None:
    assert set(MATRIX) == set(itertools.product((False, True), (False, True), Call))
    assert {len(row) for row in MATRIX.values()} == {len(Owner)}


class TestPageHit:
    @pytest.mark.parametrize("switches", EVERY)
    def test_unused_email_is_set_on_the_cookie_user(
        self, api: Api, sandbox: Sandbox, switch: Switch, switches: Switches
    ) -> None:
        switch(switches)
        key = api.ping()
        assert api.ping(userKey=key, email=EMAIL) == key
        assert sandbox.store.users[key].email == EMAIL

    @pytest.mark.parametrize("switches", EVERY)
    def test_own_email_in_another_case_keeps_the_cookie_user(
        self, api: Api, sandbox: Sandbox, switch: Switch, switches: Switches
    ) -> None:
        switch(switches)
        key = api.ping(email=EMAIL)
        assert api.ping(userKey=key, email=EMAIL.upper()) == key
        assert len(sandbox.store.users) == 1

    @pytest.mark.parametrize("switches", [OFF, AUTHORIZED])
    @pytest.mark.parametrize("mine", [{}, {"email": "joe@example.com"}])
    def test_used_email_without_unified_is_set_on_the_cookie_user(
        self,
        api: Api,
        sandbox: Sandbox,
        switch: Switch,
        switches: Switches,
        mine: dict[str, str],
    ) -> None:
        switch(switches)
        owner, key = api.ping(email=EMAIL), api.ping(**mine)
        assert api.ping(userKey=key, email=EMAIL) == key
        assert [sandbox.store.users[one].email for one in (owner, key)] == [EMAIL, EMAIL]

    def test_unified_merges_the_cookie_user_without_an_email_into_the_owner(
        self, api: Api, sandbox: Sandbox, switch: Switch
    ) -> None:
        switch(UNIFIED)
        owner = api.ping(email=EMAIL, plan="pro", url="/owner")
        key = api.ping(plan="free", colour="blue", url="/anonymous")
        api.event(key, "looked")
        assert api.ping(userKey=key, email=EMAIL, event={"event_name": "login"}) == owner
        assert sandbox.store.users[key].merged_into == owner
        assert sandbox.store.users[owner].attributes == {
            "email": EMAIL,
            "plan": "pro",
            "colour": "blue",
        }
        assert [(hit.key, hit.url) for hit in sandbox.store.hits[:2]] == [
            (owner, "/owner"),
            (owner, "/anonymous"),
        ]
        assert [(event.key, event.name) for event in sandbox.store.events] == [
            (owner, "looked"),
            (owner, "login"),
        ]

    def test_unified_used_email_from_a_user_with_another_email_makes_a_new_user(
        self, api: Api, sandbox: Sandbox, switch: Switch
    ) -> None:
        switch(UNIFIED)
        owner, key = api.ping(email=EMAIL), api.ping(email="joe@example.com")
        assert api.ping(userKey=key, email=EMAIL) not in {owner, key}
        assert sandbox.store.users[key].email == "joe@example.com"
        assert sandbox.store.users[owner].merged_into is None

    @pytest.mark.parametrize("mine", [{}, {"email": "joe@example.com"}])
    def test_used_email_with_both_settings_switches_to_the_owner(
        self, api: Api, sandbox: Sandbox, switch: Switch, mine: dict[str, str]
    ) -> None:
        switch(BOTH)
        owner, key = api.ping(email=EMAIL), api.ping(**mine)
        assert api.ping(userKey=key, email=EMAIL, vip=True) == owner
        assert sandbox.store.users[key].merged_into is None
        assert sandbox.store.users[owner].attributes["vip"] is True

    @pytest.mark.parametrize(
        ("switches", "same"), [(OFF, False), (AUTHORIZED, False), (UNIFIED, True), (BOTH, True)]
    )
    def test_used_email_without_a_cookie_is_the_owner_only_with_unified(
        self, api: Api, switch: Switch, switches: Switches, same: bool
    ) -> None:
        switch(switches)
        owner = api.ping(email=EMAIL)
        assert (api.ping(email=EMAIL) == owner) is same


class TestReset:
    @pytest.mark.parametrize("switches", [OFF, UNIFIED, AUTHORIZED])
    def test_used_email_without_both_settings_makes_a_new_user(
        self, api: Api, sandbox: Sandbox, switch: Switch, switches: Switches
    ) -> None:
        switch(switches)
        owner = api.ping(email=EMAIL)
        key = api.ping(create_new_gu=True, email=EMAIL)
        assert key != owner
        assert sandbox.store.users[key].email == EMAIL

    def test_used_email_with_both_settings_continues_as_the_owner(
        self, api: Api, sandbox: Sandbox, switch: Switch
    ) -> None:
        switch(BOTH)
        owner = api.ping(email=EMAIL)
        assert api.ping(create_new_gu=True, email=EMAIL) == owner
        assert len(sandbox.store.users) == 1

    @pytest.mark.parametrize("switches", EVERY)
    def test_unused_email_makes_a_new_user_with_that_email(
        self, api: Api, sandbox: Sandbox, switch: Switch, switches: Switches
    ) -> None:
        switch(switches)
        first = api.ping()
        key = api.ping(create_new_gu=True, email=EMAIL)
        assert key != first
        assert sandbox.store.users[key].email == EMAIL

    @pytest.mark.parametrize("switches", EVERY)
    def test_without_an_email_makes_a_new_user(
        self, api: Api, switch: Switch, switches: Switches
    ) -> None:
        switch(switches)
        assert api.ping() != api.ping(create_new_gu=True)


@pytest.mark.parametrize("switches", EVERY)
class TestUserId:
    def test_new_id_is_set_on_the_cookie_user(
        self, api: Api, sandbox: Sandbox, switch: Switch, switches: Switches
    ) -> None:
        switch(switches)
        key = api.ping()
        assert api.ping(userKey=key, user_id="1") == key
        assert sandbox.store.users[key].user_id == "1"

    def test_known_id_switches_to_its_profile(
        self, api: Api, sandbox: Sandbox, switch: Switch, switches: Switches
    ) -> None:
        switch(switches)
        ann, stranger = api.ping(user_id="1"), api.ping()
        assert api.ping(userKey=stranger, user_id="1") == ann
        assert sandbox.store.users[stranger].merged_into is None

    def test_new_id_with_a_used_email_keeps_the_cookie_user(
        self, api: Api, sandbox: Sandbox, switch: Switch, switches: Switches
    ) -> None:
        switch(switches)
        owner, key = api.ping(email=EMAIL), api.ping()
        assert api.ping(userKey=key, user_id="1", email=EMAIL) == key
        assert sandbox.store.users[owner].merged_into is None

    def test_known_id_in_a_reset_continues_as_its_profile(
        self, api: Api, sandbox: Sandbox, switch: Switch, switches: Switches
    ) -> None:
        switch(switches)
        ann = api.ping(user_id="1")
        assert api.ping(create_new_gu=True, user_id="1") == ann
        assert api.ping(create_new_gu=True, user_id="2") != ann

    def test_number_and_its_text_are_the_same_id(
        self, api: Api, switch: Switch, switches: Switches
    ) -> None:
        switch(switches)
        assert api.ping(user_id=7) == api.ping(user_id="7")

    def test_second_id_without_a_reset_overwrites_the_id_of_the_profile(
        self, api: Api, sandbox: Sandbox, switch: Switch, switches: Switches
    ) -> None:
        switch(switches)
        key = api.ping(user_id="1")
        assert api.ping(userKey=key, user_id="2") == key
        assert sandbox.store.users[key].user_id == "2"


def test_user_of_a_user_id_is_found_after_every_change(sandbox: Sandbox) -> None:
    store = sandbox.store
    one, two = store.create(), store.create()
    assert store.by_user_id("1") is None
    store.update(one, {"user_id": "1"})
    assert store.by_user_id("1") is one
    one.attributes["user_id"] = "2"  # as a test does
    two.attributes["user_id"] = "1"
    assert (store.by_user_id("1"), store.by_user_id("2")) == (two, one)
    store.merge(one, two)
    assert (store.by_user_id("1"), store.by_user_id("2")) == (two, None)
    store.delete(two)
    assert store.by_user_id("1") is None
    three = store.create()
    store.update(three, {"user_id": "1"})
    assert store.by_user_id("1") is three
    store.clear()
    assert store.by_user_id("1") is None
