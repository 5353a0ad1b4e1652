"""Assertions pass for what was recorded, and their failures show it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from usercom_asgi import Event, InvalidCommand
from usercom_asgi.testing import CapturedVisitor, make_visitor


@pytest.fixture
def visitor() -> CapturedVisitor:
    return make_visitor("/cart?a=1", user_id=7, key="abc123")


def failure(call: object, *args: object, **more: object) -> str:
    with pytest.raises(AssertionError) as raised:
        call(*args, **more)  # type: ignore[operator]
    return str(raised.value)


def test_assert_event_returns_the_first_that_has_the_attributes(visitor: CapturedVisitor) -> None:
    visitor.sync.event("purchase", total=1)
    visitor.sync.event("purchase", total=2, product="cup")
    found = visitor.captured.assert_event("purchase", total=2)
    assert found.data == {"total": 2, "product": "cup"}
    assert visitor.captured.assert_event("purchase", {"total": 1}).data == {"total": 1}
    assert (found.user_id, found.key) == ("7", "abc123")
    assert found.url == "http://testserver/cart?a=1"


def test_assert_event_compares_values_as_they_are_sent(visitor: CapturedVisitor) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    visitor.sync.event("purchase", at=at)
    visitor.captured.assert_event("event.purchase", at=at)


def test_assert_event_without_one_shows_what_was_recorded(visitor: CapturedVisitor) -> None:
    visitor.sync.event("purchased", total=19.9)
    visitor.sync.update()
    text = failure(visitor.captured.assert_event, "purchase", total=19.9)
    person = "of user_id='7', key='abc123' on http://testserver/cart?a=1"
    reason = "there is nothing to change: a value of None is left out"
    assert text.splitlines() == [
        "no event 'purchase' with total=19.9 was recorded; did you mean 'purchased'?",
        "recorded:",
        f"  <event 'purchased' {{'total': 19.9}} {person}>",
        "skipped:",
        f"  <update {{}} {person}>: {reason}",
    ]


def test_assert_event_with_another_attribute_names_the_similar_one(
    visitor: CapturedVisitor,
) -> None:
    visitor.sync.event("purchase", product="cup")
    text = failure(visitor.captured.assert_event, "purchase", products="cup")
    assert text.startswith(
        "no event 'purchase' with products='cup' was recorded; did you mean 'product'?"
    )


def test_assert_event_of_a_first_visit_names_the_remedy() -> None:
    visitor = make_visitor(key=None)
    visitor.sync.event("purchase")
    text = failure(visitor.captured.assert_event, "purchase")
    assert "recorded: no command" in text
    assert "remedy: name the user by identify()" in text
    assert "'__ca__chat'" in text


def test_assert_event_with_an_impossible_name_raises(visitor: CapturedVisitor) -> None:
    with pytest.raises(InvalidCommand, match="dot"):
        visitor.captured.assert_event("shop.purchase")


def test_assert_product_event_compares_product_type_and_attributes(
    visitor: CapturedVisitor,
) -> None:
    visitor.sync.product_event("sku-1", "purchase", price=5, custom_data={"a": [1]})
    visitor.captured.assert_product_event("sku-1", "purchase", price=5, custom_data={"a": [1]})
    assert "did you mean 'sku-1'?" in failure(
        visitor.captured.assert_product_event, "sku-2", "purchase"
    )
    text = failure(visitor.captured.assert_product_event, "sku-1", "view")
    assert text.startswith(
        "no product event 'sku-1' 'view' was recorded\nrecorded:\n  <product event"
    )
    assert "price=6" in failure(visitor.captured.assert_product_event, "sku-1", "purchase", price=6)


def test_assert_page_hit_compares_url_and_attributes(visitor: CapturedVisitor) -> None:
    visitor.sync.page_hit("https://shop.example/a", Event("login"), plan="gold")
    visitor.captured.assert_page_hit("https://shop.example/a", plan="gold")
    visitor.captured.assert_event("login")
    text = failure(visitor.captured.assert_page_hit, "https://shop.example/b")
    assert "no page hit https://shop.example/b was recorded" in text
    assert "<page hit {'user_id': '7', 'plan': 'gold'} with event 'login' {} of" in text


def test_assert_update_and_reset_compare_attributes(visitor: CapturedVisitor) -> None:
    assert "no reset was recorded" in failure(visitor.captured.assert_reset)
    visitor.sync.update(plan="gold")
    visitor.sync.reset_auth(user_id=8)
    visitor.captured.assert_update(plan="gold")
    visitor.captured.assert_reset(user_id=8)
    assert "with plan='free'" in failure(visitor.captured.assert_update, plan="free")
    assert "<reset {'user_id': '8'} of" in failure(visitor.captured.assert_reset, user_id=9)


def test_assert_nothing_fails_for_commands_and_browser_commands(visitor: CapturedVisitor) -> None:
    visitor.captured.assert_nothing()
    visitor.browser.event("seen", a=1)
    text = failure(visitor.captured.assert_nothing)
    assert "for the widget in the page:\n  <userengage('event.seen', {'a': 1})>" in text
    visitor.captured.clear()
    visitor.captured.assert_nothing()
    asyncio.run(visitor.event("x"))
    assert "a command was recorded" in failure(visitor.captured.assert_nothing)
