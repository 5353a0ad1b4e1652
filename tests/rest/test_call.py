"""Guards ``rest/call.py``: queries, bodies, and when a call is repeated."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercom_asgi import InvalidCommand
from usercom_asgi.rest import UNSET, ServerError
from usercom_asgi.rest.call import encode_body, encode_query, mapping, retry_delay


class Plan(Enum):
    PRO = "pro"


@given(st.integers(1, 30), st.floats(0, 60) | st.none())
def test_retry_delay_lies_between_retry_after_and_the_ceiling(
    attempt: int, retry_after: float | None
) -> None:
    error = ServerError("x", status=503, retry_after=retry_after)
    delay = retry_delay(error, attempt, 30, is_repeatable=True)
    assert delay is not None
    assert (retry_after or 0) <= delay <= max(8.0, retry_after or 0)
    assert retry_delay(error, 31, 30, is_repeatable=True) is None
    assert retry_delay(error, attempt, 30, is_repeatable=False) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (Decimal("9.90"), 9.9),
        (Decimal("12"), 12),
        (Decimal("0.12345678901234567"), "0.12345678901234567"),
        (datetime(2030, 1, 2, tzinfo=UTC), "2030-01-02T00:00:00+00:00"),
        (date(2030, 1, 2), "2030-01-02"),
        (UUID(int=1), str(UUID(int=1))),
        (Plan.PRO, "pro"),
        ((1, 2), [1, 2]),
        ({"a": {"b": Decimal(1)}}, {"a": {"b": 1}}),
    ],
)
def test_encode_body_converts_values(value: object, expected: object) -> None:
    assert json.loads(encode_body({"a": value, "b": UNSET})) == {"a": expected}


@pytest.mark.parametrize(
    "value",
    [float("nan"), Decimal("inf"), object(), b"x", {1, 2}, datetime(2030, 1, 2), {(1, 2): 3}],  # noqa: DTZ001
)
def test_encode_body_unsendable_value_names_its_field(value: object) -> None:
    with pytest.raises(InvalidCommand, match=r"^plan: must"):
        encode_body({"a": 1, "plan": value, "b": 2})


def test_encode_query_leaves_out_none_and_unset() -> None:
    assert encode_query({"a": None, "b": UNSET}) == ""
    assert encode_query({"phone": "+48 1", "x": True, "n": 5}) == "?phone=%2B48%201&x=true&n=5"
    with pytest.raises(InvalidCommand):
        encode_query({"a": "\ud800"})


def test_encode_body_nested_unset_is_refused() -> None:
    with pytest.raises(InvalidCommand, match="data: must not hold UNSET"):
        encode_body({"data": {"plan": UNSET}})


@pytest.mark.parametrize("given", ["foo", [1], 7])
def test_mapping_of_something_else_is_refused(given: Any) -> None:
    with pytest.raises(InvalidCommand, match="data: must be a mapping, got"):
        mapping("data", given)
