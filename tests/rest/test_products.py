"""Guards ``rest/products.py``."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
from helpers.rest_server import RestServer

from usercom_asgi import InvalidCommand
from usercom_asgi.core.commands import EventType
from usercom_asgi.rest import (
    BadRequestError,
    CustomId,
    Email,
    Key,
    UnexpectedResponseError,
    UserComRest,
)

PRODUCT = {"id": 5, "custom_id": "p1", "name": "Mug", "price": "9.50", "colour": "red"}


async def test_ensure_of_a_known_product_changes_nothing(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer(PRODUCT)
    product = await rest.products.ensure("p1", name="Cup")
    assert (product.name, product.price, product.attributes) == (
        *("Mug", Decimal("9.50")),
        {"colour": "red"},
    )
    assert server.lines == ["GET /products-by-id/p1/details/"]


async def test_ensure_of_a_new_product_creates_it(rest: UserComRest, server: RestServer) -> None:
    server.answer({"detail": "Not found."}, 404)
    server.answer(PRODUCT, 201)
    assert (await rest.products.ensure(CustomId("p1"), name="Mug")).id == 5
    assert server.last.line == "POST /products/"
    assert server.last.json == {"custom_id": "p1", "name": "Mug"}


async def test_ensure_that_comes_second_reads(rest: UserComRest, server: RestServer) -> None:
    for found in (PRODUCT, None):
        server.answer({"detail": "Not found."}, 404)
        server.answer({"errors": {"custom_id": ["Exists."]}}, 400)
        if found is not None:
            server.answer(found)
            assert (await rest.products.ensure("p1")).id == 5
        else:
            server.answer({"detail": "Not found."}, 404)
            with pytest.raises(BadRequestError):
                await rest.products.ensure("p1")


async def test_products_take_both_paths(rest: UserComRest, server: RestServer) -> None:
    server.answer(PRODUCT, times=3)
    server.answer({"results": [PRODUCT]})
    await rest.products.get(5)
    await rest.products.update(CustomId("p1"), price=Decimal("9.50"))
    await rest.products.create(custom_id="p1", attributes={"colour": "red"})
    assert (await rest.products.list()).items[0].id == 5
    assert server.lines == [
        "GET /products/5/details/",
        "PUT /products-by-id/p1/",
        "POST /products/",
        "GET /products/",
    ]


@pytest.mark.parametrize(
    ("user", "product", "line", "names"),
    [
        (52, 5, "POST /products/5/product_event/", {"user_id": 52}),
        (
            CustomId("c"),
            CustomId("p1"),
            "POST /products-by-id/p1/product_event/",
            {"user_custom_id": "c"},
        ),
    ],
)
async def test_product_event_follows_both_identifiers(
    rest: UserComRest, server: RestServer, user: Any, product: Any, line: str, names: Any
) -> None:
    server.answer({"id": 388})
    event = await rest.product_events.create(user, product, EventType.PURCHASE, {"size": "L"})
    assert event.id == 388
    body = server.last.json
    assert server.last.line == line
    assert abs(body.pop("timestamp") - time.time()) < 60
    assert body == {**names, "event_type": "purchase", "data": {"size": "L"}}


async def test_product_event_by_key_looks_the_user_up(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer({"id": 52})
    server.answer({"id": 388})
    await rest.product_events.create(Key("k3v9"), 5, "view", timestamp=1893553445)
    assert server.last.json == {
        "user_id": 52,
        "event_type": "view",
        "data": {},
        "timestamp": 1893553445,
    }
    server.answer({"email": "a@b.example"})
    with pytest.raises(UnexpectedResponseError, match="without id"):
        await rest.product_events.create(Email("a@b.example"), 5, "view")
    bad: Any = Email("a@b.example")
    with pytest.raises(InvalidCommand, match="must be an int, Id or CustomId, got Email"):
        await rest.product_events.create(52, bad, "view")
