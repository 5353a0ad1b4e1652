"""A visitor without an application behaves as that of a request."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from usercom_asgi import InvalidCommand, UserComConfig, Visitor
from usercom_asgi.testing import make_visitor


async def test_visitor_records_awaited_verbs() -> None:
    visitor = make_visitor(key="abc123", email="ada@shop.example", plan="gold")
    assert isinstance(visitor, Visitor)
    assert (visitor.key, visitor.email, visitor.is_identified) == (
        "abc123",
        "ada@shop.example",
        True,
    )
    receipt = await visitor.event("seen")
    assert await receipt.delivered()
    await visitor.page_hit()
    assert visitor.captured.page_hits[0].data == {"email": "ada@shop.example", "plan": "gold"}


async def test_visitor_in_the_thread_of_an_event_loop_refuses_plain_verbs() -> None:
    with pytest.raises(RuntimeError, match=r"await visitor\.event"):
        make_visitor().sync.event("seen")


async def test_visitor_of_another_thread_records_plain_verbs() -> None:
    import anyio

    visitor = make_visitor()
    await anyio.to_thread.run_sync(lambda: visitor.sync.event("seen"))
    visitor.captured.assert_event("seen")


def test_visitor_records_from_threads() -> None:
    visitor = make_visitor()
    threads = [threading.Thread(target=visitor.sync.event, args=("seen",)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(5)
    assert len(visitor.captured.events("seen")) == 8


def test_visitor_is_strict_by_default() -> None:
    with pytest.raises(InvalidCommand):
        make_visitor().sync.update(email="no address" * 100)
    lenient = make_visitor(config=UserComConfig(app="acme", api_key="ABC123"))
    assert lenient.sync.update(email="no address" * 100).status == "skipped"


@pytest.mark.parametrize(
    ("request_of", "url"),
    [
        ({}, "http://testserver/"),
        ({"url": "/cart?a=1"}, "http://testserver/cart?a=1"),
        ({"url": "https://shop.example/cart"}, "https://shop.example/cart"),
        (
            {"method": "POST", "headers": {"Referer": "http://testserver/form"}},
            "http://testserver/form",
        ),
        ({"websocket": True, "url": "wss://shop.example/feed"}, "https://shop.example/feed"),
    ],
)
def test_visitor_of_a_request_names_its_page(request_of: dict[str, Any], url: str) -> None:
    visitor = make_visitor(**request_of)
    visitor.sync.event("seen")
    assert visitor.captured.events()[0].url == url


def test_visitor_of_a_websocket_has_no_browser_commands() -> None:
    with pytest.raises(InvalidCommand, match="websocket"):
        make_visitor(websocket=True).browser.open()


def test_visitor_with_headers_and_cookies_is_read_as_a_request() -> None:
    visitor = make_visitor(
        headers={"HX-Request": "true"}, cookies={"__ca__chat": "xyz789", "session": "1"}
    )
    assert visitor.key == "xyz789"
    visitor.sync.reset_auth()
    assert visitor.captured.assert_reset().by_widget


def test_visitor_of_a_disabled_config_skips() -> None:
    visitor = make_visitor(config=UserComConfig(enabled=False))
    visitor.sync.event("seen")
    with pytest.raises(AssertionError, match="USERCOM_ENABLED=0"):
        visitor.captured.assert_event("seen")


def test_visitor_of_a_prefetch_skips_a_page_hit() -> None:
    visitor = make_visitor(headers={"Sec-Purpose": "prefetch"})
    visitor.sync.page_hit()
    assert visitor.captured.skipped[0].reason == "a prefetch is no page view"


def test_visitor_without_a_key_gets_the_one_of_its_profile() -> None:
    visitor = make_visitor(key=None, user_id=7)
    first, second = visitor.sync.event("a"), visitor.sync.event("b")
    assert first.key == second.key == visitor.key
