"""The public helpers of a visitor, and the commands that they refuse."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from helpers.apps import app_with
from helpers.asgi_client import call, html, lifespan
from helpers.fake_usercom import CONFIG, FakeUserCom
from helpers.waiting import until
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from usercom_asgi import (
    InvalidCommand,
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
    async def said(visitor: Any) -> None:
        with pytest.raises(InvalidCommand):
            await bad(visitor)

    await call(UserComMiddleware(app_with(said), UserComConfig(app="acme", api_key="ABC123")))


async def test_visitor_attribute_named_like_an_argument_is_sent(usercom: FakeUserCom) -> None:
    key = usercom.new_user()

    async def said(visitor: Any) -> None:
        await visitor.event("signup", name="Bob", self="x", data="y")
        await visitor.update(self="me")

    await call(
        UserComMiddleware(app_with(said), usercom.config()), headers={"cookie": f"__ca__chat={key}"}
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
    ("say", "says"),
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
async def test_visitor_invalid_command_names_the_field(say: Any, says: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(InvalidCommand, match=says):
            await say(get_visitor(HTTPConnection(scope)))
        await html(PAGE)(scope, receive, send)

    await call(UserComMiddleware(app, CONFIG))
