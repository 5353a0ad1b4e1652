"""The public helpers of a visitor, and the commands that they refuse."""

from __future__ import annotations

import logging
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from helpers.apps import app_with, make_app
from helpers.asgi_client import call, html, lifespan
from helpers.fake_usercom import FakeUserCom
from helpers.waiting import until
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from usercom_asgi import (
    Event,
    InvalidCommand,
    PageHit,
    Receipt,
    Status,
    UserComConfig,
    UserComMiddleware,
    get_visitor,
)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


# Values that may come from what a visitor entered.
DATA: list[Any] = [
    lambda v: v.event("x", d=10**400),
    lambda v: v.event("x", d=nested(600)),
    lambda v: v.event("x", {"__proto__": 1, "": 2, "a\x00b": 3, "x" * 300: 4}),
    lambda v: v.event("x", d="\ud800"),
    lambda v: v.event("", d=1),
    lambda v: v.event("\n"),
    lambda v: v.event("a\x1b[31mb" + "x" * 300, q="x" * 300),
    lambda v: v.event("x", d=Decimal("sNaN")),
    lambda v: v.event("x", d=[Decimal("Infinity"), 1]),
    lambda v: v.event("x", d=float("nan")),
    lambda v: v.update(**{"x" * 300: 1}),
    lambda v: v.update(**{"a\x00b": 1}),
    lambda v: v.update(d=nested(600)),
    lambda v: v.update(gender=7, status=3),
    lambda v: v.page_hit("ftp://x/"),
    lambda v: v.page_hit(email="nobody", phone_number="123"),
    lambda v: v.page_hit(user_id=""),
    lambda v: v.page_hit(user_id="x" * 300),
    lambda v: v.page_hit(event=Event("searched", query="x" * 300)),
    lambda v: v.product_event("", "purchase"),
    lambda v: v.product_event("x" * 300, "purchase"),
    lambda v: v.product_event("sku", "purchase", name="", description="a\nb" * 300),
    lambda v: v.reset_auth(email="nobody"),
]

# Mistakes of the code, whatever a visitor enters.
MISTAKES: list[Any] = [
    lambda v: v.page_hit(5),
    lambda v: v.page_hit(apiKey="x"),
    lambda v: v.page_hit(x=object()),
    lambda v: v.page_hit(event="login"),
    lambda v: v.page_hit(email=7),
    lambda v: v.event(None),
    lambda v: v.event("x", "y"),
    lambda v: v.event("x", {1: 2}),
    lambda v: v.event("x", at=datetime(2026, 1, 1)),  # noqa: DTZ001
    lambda v: v.product_event("sku", "buy"),
    lambda v: v.product_event("sku", "view", custom_data="x"),
    lambda v: v.product_event(None, "view"),
    lambda v: v.update(user_id=1.5),
    lambda v: v.update(address={"city": "x"}),
    lambda v: v.update(event="x"),
    lambda v: v.reset_auth(score="high"),
]


@pytest.mark.parametrize("bad", DATA)
async def test_visitor_value_of_a_visitor_never_raises_and_is_logged(
    bad: Any, usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    receipts: list[Receipt] = []

    async def send_commands(visitor: Any) -> None:
        receipts.append(await bad(visitor))

    site = UserComMiddleware(app_with(send_commands), usercom.config())
    got = await call(site, headers={"cookie": f"__ca__chat={usercom.new_user()}"})
    assert got.status == 200
    assert receipts[0].status in (Status.DELIVERED, Status.SKIPPED)
    [line] = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert line.getMessage().isascii()
    assert len(line.getMessage()) < 800
    for value in ("x" * 300, "nobody", "123 "):
        assert value not in line.getMessage()
    assert usercom.store.rejected == []


@pytest.mark.parametrize("bad", DATA)
async def test_visitor_value_of_a_visitor_with_strict_raises_invalid_command(bad: Any) -> None:
    async def send_commands(visitor: Any) -> None:
        with pytest.raises(InvalidCommand):
            await bad(visitor)

    await call(make_app(app_with(send_commands), strict=True))


@pytest.mark.parametrize("bad", MISTAKES)
@pytest.mark.parametrize("settings", [{}, {"strict": True}, {"enabled": False}])
async def test_visitor_mistake_of_the_code_always_raises_invalid_command(
    bad: Any, settings: dict[str, Any]
) -> None:
    async def send_commands(visitor: Any) -> None:
        with pytest.raises(InvalidCommand):
            await bad(visitor)

    await call(make_app(app_with(send_commands), **settings))


async def test_visitor_long_strings_arrive_truncated_and_the_rest_is_complete(
    usercom: FakeUserCom,
) -> None:
    long = "x" * 300

    async def send_commands(visitor: Any) -> None:
        await visitor.event(long, {"text": long, "items": [1, float("nan"), {"a": long}]}, n=1)
        await visitor.product_event("sku", "view", name=long, text=long)
        await visitor.update(note=long, email=f"{long}@example.com", phone_number="12")
        await visitor.page_hit(note=long)
        visitor.identify(email="not an address", first_name="Ada")

    site = UserComMiddleware(app_with(send_commands), usercom.config())
    async with lifespan(site) as state:
        got = await call(
            site, headers={"cookie": f"__ca__chat={usercom.new_user()}"}, state=dict(state)
        )
    cut = "x" * 255
    [event] = usercom.store.events
    assert event.name == cut
    assert event.data == {"text": cut, "items": [1, {"a": cut}], "n": 1}
    assert usercom.store.product_events[0].data["name"] == cut
    assert usercom.store.updates[0].data == {"note": cut}
    assert usercom.store.hits[-1].payload["note"] == cut
    assert '"first_name":"Ada"' in got.text
    assert "not an address" not in got.text


async def test_visitor_event_takes_a_mapping_keywords_or_both(usercom: FakeUserCom) -> None:
    async def send_commands(visitor: Any) -> None:
        await visitor.event("x", {"a": 1})
        await visitor.event("x", a=1)
        await visitor.event("x", {"a": 2}, a=1)
        await visitor.page_hit(event=Event("x", {"a": 1}))
        await visitor.page_hit(event=Event("x", a=1))

    site = UserComMiddleware(app_with(send_commands), usercom.config())
    async with lifespan(site) as state:
        await call(site, headers={"cookie": f"__ca__chat={usercom.new_user()}"}, state=dict(state))
    assert [each.data for each in usercom.store.events] == [{"a": 1}] * 5


async def test_visitor_attribute_named_like_an_argument_is_sent(usercom: FakeUserCom) -> None:
    key = usercom.new_user()

    async def send_commands(visitor: Any) -> None:
        await visitor.event("signup", name="Bob", self="x", data="y")
        await visitor.update(self="me")

    await call(
        UserComMiddleware(app_with(send_commands), usercom.config()),
        headers={"cookie": f"__ca__chat={key}"},
    )
    assert usercom.store.events[0].data == {"name": "Bob", "self": "x", "data": "y"}


PAGE = b"<html><body><p>hello</p></body></html>"


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({}, "a value of None is left out"),
        ({"plan": None}, "a value of None is left out"),
        ({"phone_number": "600100200"}, "no given value can be sent"),
    ],
)
async def test_visitor_update_of_nothing_is_skipped_with_the_reason(
    attributes: dict[str, Any], reason: str, usercom: FakeUserCom
) -> None:
    receipts: list[Receipt] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            receipts.append(await get_visitor(scope).update(**attributes))
            assert receipts[0].reason == f"there is nothing to change: {reason}"
            await get_visitor(scope).update(plan="pro")
        await html(PAGE)(scope, receive, send)

    site = UserComMiddleware(app, usercom.config())
    async with lifespan(site) as state:
        await call(site, state=state, headers={"cookie": f"__ca__chat={usercom.new_user()}"})
        await until(lambda: usercom.store.updates)
    assert receipts[0].status is Status.SKIPPED
    assert [each.data for each in usercom.store.updates] == [{"plan": "pro"}]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (lambda visitor: visitor.event(""), r"^event name: .*, got str of 0 characters$"),
        (
            lambda visitor: visitor.event("searched", query="x" * 256),
            r"^data\.query: must have at most 255 characters, got 256$",
        ),
        (
            lambda visitor: visitor.product_event("1", "purchased"),
            r"^event_type: must be one of: .*; did you mean 'purchase'\?$",
        ),
        (
            lambda visitor: visitor.update(url="x"),
            r"^url: must be another name, such as my_url: the widget uses this one$",
        ),
    ],
)
async def test_visitor_invalid_command_names_the_field(command: Any, message: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(InvalidCommand, match=message):
            await command(get_visitor(HTTPConnection(scope)))
        await html(PAGE)(scope, receive, send)

    await call(make_app(app, strict=True))


CIVCHAT = b'window.civchat = {"apiKey":"ABC123"}'


@pytest.mark.parametrize(
    ("cookie", "key"),
    [
        ("", None),
        ("__ca__chat=abc123", "abc123"),
        ("a=b; __ca__chat=abc123; c=d", "abc123"),
        ("__ca__chat=", None),
        ("__ca__chat=" + "a" * 65, None),
        ("__ca__chat=<script>", None),
        ("__ca__chat=a%0d%0ab", None),
        ("__CA__CHAT=abc123", None),
        ("k=" + '\xff\\"{},' * 1500 + "; __ca__chat=abc123", "abc123"),
    ],
)
async def test_visitor_key_is_that_of_the_cookie(cookie: str, key: str | None) -> None:
    seen: list[str | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(get_visitor(scope).key)
        await html(PAGE)(scope, receive, send)

    got = await call(make_app(app), headers={"cookie": cookie} if cookie else {})
    assert seen == [key]
    assert got.all("set-cookie") == []
    assert CIVCHAT in got.body


async def test_visitor_repr_holds_no_secret() -> None:
    shown: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        visitor.identify(email="a@example.com", phone_number="+48123456789")
        shown.append(repr(visitor))
        shown.append(repr(await visitor.page_hit(plan="secretplan")))
        await html(PAGE)(scope, receive, send)

    shown.append(
        repr(PageHit(attributes={"email": "a@example.com"}, event=Event("x", {"total": "abc123"})))
    )
    config = UserComConfig(base_url="http://127.0.0.1:9", api_key="ABC123", inline_deadline=0)
    await call(UserComMiddleware(app, config), headers={"cookie": "__ca__chat=abc123"})
    for text in shown:
        for secret in ("abc123", "a@example.com", "48123456789", "secretplan"):
            assert secret not in text


async def test_visitor_commands_arrive_in_order(usercom: FakeUserCom) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        visitor.identify(user_id=7)
        await visitor.page_hit(event=Event("seen", {"n": 0}), plan="gold")
        for n in range(1, 20):
            await visitor.event("seen", n=n)
        await visitor.product_event("sku-1", "purchase", price=19.9)
        await visitor.update(plan="silver")
        await html(PAGE)(scope, receive, send)

    key = usercom.new_user()
    middleware = UserComMiddleware(app, usercom.config())
    async with lifespan(middleware) as state:
        headers = {
            "cookie": f"__ca__chat={key}",
            "user-agent": "Browser/1.0",
            "referer": "http://shop.example.com/?__ca__chat=zzz&a=1",
        }
        await call(
            middleware, "/buy", headers=headers, query="q=1&__ca__chat=abc", state=dict(state)
        )
    [hit] = usercom.store.hits
    assert (hit.key, hit.url, hit.domain) == (
        key,
        "http://shop.example.com/buy?q=1",
        "shop.example.com",
    )
    assert (hit.referrer, hit.user_agent) == ("http://shop.example.com/?a=1", "Browser/1.0")
    assert [each.data["n"] for each in usercom.store.events] == list(range(20))
    assert {each.key for each in usercom.store.events} == {key}
    [purchase] = usercom.store.product_events
    assert (purchase.key, purchase.product_id, purchase.event_type) == (key, "sku-1", "purchase")
    assert usercom.store.users[key].attributes == {"user_id": "7", "plan": "silver"}
    assert usercom.store.rejected == []
