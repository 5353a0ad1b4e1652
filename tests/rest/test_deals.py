"""Guards ``rest/deals.py``."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from helpers.rest_server import RestServer

from usercom_asgi import InvalidCommand
from usercom_asgi.rest import CustomId, Key, UserComRest
from usercom_asgi.rest.models import Line

DEAL = {"id": 7, "custom_id": "order-7", "value": "19.00"}


async def test_upsert_with_lines_is_an_order(rest: UserComRest, server: RestServer) -> None:
    server.answer(DEAL)
    deal = await rest.deals.upsert(
        "order-7",
        name="#7",
        status=2,
        user_custom_id="cust-52",
        expected_close_date=date(2030, 1, 2),
        lines=[
            Line(product=CustomId("p1"), quantity=2, value=Decimal("9.50")),
            Line(product=5),
        ],
        attributes={"coupon": "X"},
    )
    assert (deal.id, deal.value) == (7, Decimal("19.00"))
    assert server.last.line == "POST /deals/update_or_create/"
    assert server.last.json == {
        "custom_id": "order-7",
        "name": "#7",
        "status": 2,
        "user_custom_id": "cust-52",
        "expected_close_date": "2030-01-02",
        "order_products": [
            {"product_custom_id": "p1", "quantity": 2, "value": 9.5},
            {"product_id": 5, "quantity": 1},
        ],
        "coupon": "X",
    }


@pytest.mark.parametrize(
    ("user", "query"),
    [
        (52, "user_id=52"),
        (CustomId("c"), "user_custom_id=c"),
        (Key("k3v9"), "userkey=k3v9"),
    ],
)
async def test_list_of_a_user_follows_the_identifier(
    rest: UserComRest, server: RestServer, user: Any, query: str
) -> None:
    server.answer({"results": [DEAL]})
    assert [each.id async for each in rest.deals.list(user=user)] == [7]
    assert server.last.line == f"GET /deals/?{query}"


async def test_deals_take_both_paths(rest: UserComRest, server: RestServer) -> None:
    server.answer(DEAL, times=3)
    server.answer([DEAL])
    server.answer(DEAL)
    await rest.deals.get(CustomId("order-7"))
    await rest.deals.update(CustomId("order-7"), status=3)
    await rest.deals.create(name="#7")
    await rest.deals.list(stage=2)
    await rest.deals.delete(7)
    assert server.lines == [
        "GET /deals-by-id/order-7/",
        "PUT /deals-by-id/order-7/",
        "POST /deals/",
        "GET /deals/?stage=2",
        "DELETE /deals/7/",
    ]


async def test_lines_of_something_else_raise(rest: UserComRest) -> None:
    call: Any = rest.deals
    with pytest.raises(InvalidCommand, match="must be a list of Line"):
        await call.upsert("order-7", lines=[{"product_id": 5}])
    with pytest.raises(InvalidCommand, match="custom attributes only"):
        await call.upsert("order-7", attributes={"order_products": []})
