"""Guards ``rest/parsing.py``: no answer makes a model raise."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercom_asgi.rest import models
from usercom_asgi.rest.models import User
from usercom_asgi.rest.parsing import Model, day, decimal, flag, integer, many, moment, text

MODELS = [
    each
    for each in vars(models).values()
    if isinstance(each, type) and issubclass(each, Model) and each is not Model
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.datetimes().map(str)
    | st.sampled_from(["1e999999", "-0", "٣", "2030-13-45", "2030-01-02T03:04:05.678901Z", "NaN"])
)
JSON: Any = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)
NAMES = sorted({name for each in MODELS for name in each.__dataclass_fields__} | {"key", "client"})


@pytest.mark.slow
@given(JSON | st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8))
def test_parse_of_anything_never_raises(data: Any) -> None:
    for model in MODELS:
        found = model.parse(data)
        assert isinstance(repr(found), str)
        assert isinstance(hash(found), int)
        assert isinstance(dict(found.attributes), dict)
        if isinstance(data, dict):
            assert found.raw is data


@pytest.mark.parametrize("data", [None, [], "x", 5, [{"id": 1}]])
def test_parse_without_an_object_is_empty(data: object) -> None:
    user = User.parse(data)
    assert (user.id, user.tags, user.raw) == (None, (), {})


def test_models_are_frozen_slots_and_picklable() -> None:
    user = User.parse({"id": 1, "plan": "pro"})
    assert not hasattr(user, "__dict__")
    with pytest.raises(AttributeError):
        user.id = 2  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(user)) == user
    assert user != User.parse({"id": 1, "plan": "free"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, 5), ("5", 5), (5.0, 5), ("-5", -5), (True, None), ("x", None), (5.5, None), (None, None)],
)
def test_integer_reads_numbers_and_text(value: object, expected: int | None) -> None:
    assert integer(value) == expected
    assert integer(float("inf")) is None
    assert integer("9" * 5000) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1250.00", Decimal("1250.00")), (9.5, Decimal("9.5")), (3, Decimal(3)), ("x", None)],
)
def test_decimal_reads_text_and_numbers(value: object, expected: Decimal | None) -> None:
    assert decimal(value) == expected
    strange: list[object] = ["1e999999999", "NaN", True, None, [], "sNaN"]
    assert [decimal(each) for each in strange] == [None] * 6


def test_moment_reads_iso_and_unix_seconds_as_aware_times() -> None:
    expected = datetime(2030, 1, 2, 3, 4, 5, 678901, UTC)
    assert moment("2030-01-02T03:04:05.678901Z") == expected
    assert moment("2030-01-02T04:04:05.678901+01:00") == expected
    assert moment("2030-01-02T03:04:05.678901") == expected
    assert moment(1893553445) == expected.replace(microsecond=0)
    strange: list[object] = [10**30, float("nan"), "soon", "", None, True, {}]
    assert [moment(each) for each in strange] == [None] * 7
    assert day("2030-01-02T00:00:00Z") == date(2030, 1, 2)
    assert day("soon") is None


def test_flag_text_and_many_read_what_they_can() -> None:
    assert [flag(each) for each in (True, 1, 0, "yes", 2)] == [True, True, False, None, None]
    assert [text(each) for each in ("a", 43, True, 4.5, 10**5000)] == ["a", "43", None, None, None]
    assert many(integer)([1, "2", None, {}]) == (1, 2)
    assert many(integer)("12") == ()
