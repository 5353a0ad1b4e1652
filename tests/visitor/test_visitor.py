"""The public helpers of a visitor, and the commands that they refuse."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from helpers.apps import app_with, make_app
from helpers.asgi_client import call, html, lifespan
from helpers.fake_usercom import CONFIG, FakeUserCom
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


@pytest.mark.parametrize(
    "bad",
    [
        lambda v: v.event("x", d=10**400),
        lambda v: v.event("x", d=nested(600)),
        lambda v: v.update(d=nested(600)),
        lambda v: v.event("x", d=Decimal("sNaN")),
        lambda v: v.event("x", d=Decimal("Infinity")),
        lambda v: v.event("x", d=float("nan")),
        lambda v: v.page_hit(5),
        lambda v: v.event(None),
        lambda v: v.update(**{"x" * 300: 1}),
        lambda v: v.update(**{"a\x00b": 1}),
    ],
)
async def test_visitor_invalid_value_raises_invalid_command(bad: Any) -> None:
    async def send_commands(visitor: Any) -> None:
        with pytest.raises(InvalidCommand):
            await bad(visitor)

    await call(
        UserComMiddleware(app_with(send_commands), UserComConfig(app="acme", api_key="ABC123"))
    )


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


@pytest.mark.parametrize("attributes", [{}, {"plan": None}])
async def test_visitor_update_of_nothing_is_skipped(
    attributes: dict[str, Any], usercom: FakeUserCom
) -> None:
    receipts: list[Receipt] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            receipts.append(await get_visitor(scope).update(**attributes))
            await get_visitor(scope).update(plan="pro")
        await html(PAGE)(scope, receive, send)

    site = UserComMiddleware(app, usercom.config())
    async with lifespan(site) as state:
        await call(site, state=state, headers={"cookie": f"__ca__chat={usercom.new_user()}"})
        await until(lambda: usercom.store.updates)
    assert receipts[0].status is Status.SKIPPED
    assert "None is left out" in receipts[0].reason
    assert [each.data for each in usercom.store.updates] == [{"plan": "pro"}]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (lambda visitor: visitor.event(""), r"^event name: .*, got str of 0 characters$"),
        (
            lambda visitor: visitor.event("searched", query="x" * 256),
            r"^data\.query: must have at most 255 characters, got 256; .*truncate_strings=True",
        ),
        (
            lambda visitor: visitor.product_event("1", "purchased"),
            r"^event_type: must be one of: .*purchase",
        ),
    ],
)
async def test_visitor_invalid_command_names_the_field(command: Any, message: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(InvalidCommand, match=message):
            await command(get_visitor(HTTPConnection(scope)))
        await html(PAGE)(scope, receive, send)

    await call(UserComMiddleware(app, CONFIG))


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


@pytest.mark.parametrize(
    "bad",
    [
        lambda v: v.page_hit(email="nobody"),
        lambda v: v.page_hit(phone_number="123"),
        lambda v: v.page_hit(apiKey="x"),
        lambda v: v.page_hit(x=object()),
        lambda v: v.page_hit("ftp://x/"),
        lambda v: v.event(""),
        lambda v: v.product_event("sku", "buy"),
        lambda v: v.product_event("", "purchase"),
        lambda v: v.update(gender=7),
        lambda v: v.reset_auth(score="high"),
    ],
)
async def test_visitor_command_that_user_com_never_accepts_raises_invalid_command(
    bad: Any, usercom: FakeUserCom
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(InvalidCommand):
            await bad(get_visitor(scope))
        await html(PAGE)(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config())
    async with lifespan(middleware) as state:
        got = await call(middleware, headers={"cookie": "__ca__chat=abc123"}, state=dict(state))
    assert CIVCHAT in got.body
    assert got.all("set-cookie") == []
    assert usercom.store.hits == []


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
