from __future__ import annotations

import pickle
from copy import copy
from typing import assert_type, get_args

import pytest

from usercom_asgi import Event, EventType, InvalidCommand, PageHit, ProductEvent, Update
from usercom_asgi.core.commands import EventTypeName


@pytest.mark.parametrize(
    "event",
    [Event("x", {"a": 1}), Event("x", a=1), Event("x", {"a": 2}, a=1), Event("event.x", a=1)],
)
def test_event_takes_a_mapping_keywords_or_both(event: Event) -> None:
    assert event == Event("x", {"a": 1})
    assert (event.name, dict(event.data)) == ("x", {"a": 1})
    assert repr(event) == "Event('x', data={a})"
    assert copy(event) == event


def test_event_with_attributes_named_like_arguments_keeps_them() -> None:
    assert dict(Event("x", name="Bob", data="y", self="z").data) == {
        "name": "Bob",
        "data": "y",
        "self": "z",
    }


def test_event_with_text_instead_of_data_raises() -> None:
    with pytest.raises(InvalidCommand, match=r"^data: must be a mapping such as .*, got str$"):
        Event("x", "a")  # type: ignore[arg-type]


def test_product_event_types_are_a_literal_for_type_checkers() -> None:
    assert list(get_args(EventTypeName)) == [each.value for each in EventType]
    event = ProductEvent("sku", "add to cart")
    assert_type(event.event_type, EventType | EventTypeName)
    assert event == ProductEvent("sku", EventType.ADD_TO_CART)
    # mypy reports an ignore that is not needed, so this line is a test of the types.
    with pytest.raises(InvalidCommand, match="did you mean 'purchase'"):
        ProductEvent("sku", "purchased")  # type: ignore[arg-type]


def test_command_with_a_value_of_a_visitor_notes_the_problem_and_never_compares_it() -> None:
    long = PageHit(event=Event("x", q="y" * 300), attributes={"email": "nobody"})
    assert [each.field for each in long.problems] == ["data.q", "email"]
    assert [each.__traceback__ for each in long.problems] == [None, None]  # they hold the values
    assert long == PageHit(event=Event("x", q="y" * 255))
    assert "nobody" not in repr(long) + repr(long.problems)
    assert Update({"plan": "gold"}).problems == ()


def test_problem_pickled_and_loaded_is_equal() -> None:
    [problem] = Update({"email": "nobody"}).problems
    again = pickle.loads(pickle.dumps(problem))
    assert (str(again), again.effect) == (str(problem), "left out")
