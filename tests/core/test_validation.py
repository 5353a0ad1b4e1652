"""Values that User.com accepts, and values that it does not."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest

from usercom_asgi import Event, InvalidCommand, Update
from usercom_asgi.core.problems import Problems
from usercom_asgi.core.validation import clean_attributes


@pytest.mark.parametrize("number", ["1E+200000", "-1E+200000", "1E+17", "9007199254740992"])
def test_validation_huge_decimal_is_rejected_within_half_a_second(number: str) -> None:
    began = time.process_time()
    event = Event("purchase", {"price": Decimal(number)})
    assert str(event.problems[0]).startswith("data.price: must be at most 2**53 - 1")
    assert dict(event.data) == {}
    assert time.process_time() - began < 0.5  # it took 1 s, and 40 s with five more zeros


def test_validation_numbers_at_the_limit_pass() -> None:
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


@pytest.mark.parametrize("digits", [5000, 260])
def test_validation_too_long_user_id_is_left_out(digits: int) -> None:
    number = 10**digits
    with pytest.raises(InvalidCommand, match=r"^user_id: must have at most 255"):
        clean_attributes({"user_id": number})
    assert dict(Update({"user_id": number, "plan": "gold"}).attributes) == {"plan": "gold"}


def test_validation_user_id_at_the_limit_passes() -> None:
    assert Update({"user_id": 10**254}).attributes["user_id"] == str(10**254)


@pytest.mark.parametrize("name", ["userId", "UserID", "user_ID", "userid", "user-id"])
def test_validation_attribute_like_a_standard_one_is_sent_with_a_warning(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert dict(Update({name: "7"}).attributes) == {name: "7"}
    assert caplog.messages == [
        f"The attribute {name} is a custom one; did you mean 'user_id'? (logged once)"
    ]
    assert dict(Update({"user_id": "7", "plan": "x"}).attributes) == {"user_id": "7", "plan": "x"}
    assert len(caplog.messages) == 1


def test_clean_attributes_company_with_a_long_id_keeps_the_rest_and_no_part_of_the_id() -> None:
    """A truncated id would name another company."""
    problems: Problems = []
    cleaned = clean_attributes({"company": {"company_id": "c" * 300, "name": "Acme"}}, problems)
    assert cleaned == {"company": {"name": "Acme"}}
    assert [(each.field, each.effect) for each in problems] == [("company.company_id", "left out")]
