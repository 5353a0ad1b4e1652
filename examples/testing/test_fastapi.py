from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from examples.testing.api import add_to_cart, app, renew
from usercom_asgi import get_visitor
from usercom_asgi.testing import Captured, CapturedVisitor, make_visitor

client = TestClient(app)


def test_cart(usercom: Captured) -> None:
    client.post("/cart/sku-1")
    usercom.assert_product_event("sku-1", "add to cart", price=19.90)


@pytest.fixture
def visitor() -> Iterator[CapturedVisitor]:
    visitor = make_visitor(user_id=7)
    app.dependency_overrides[get_visitor] = lambda: visitor
    yield visitor
    app.dependency_overrides.clear()


def test_renewal_of_a_known_visitor(visitor: CapturedVisitor) -> None:
    assert client.post("/renew").json() == {"is_known": True}
    assert visitor.captured.assert_event("renewed", plan="gold").user_id == "7"


def test_handler_by_itself() -> None:
    visitor = make_visitor(email="ada@shop.example")
    renew(visitor)
    visitor.captured.assert_event("renewed")


@pytest.mark.anyio
async def test_async_handler_by_itself() -> None:
    visitor = make_visitor(key="abc123", headers={"user-agent": "a test"})
    await add_to_cart("sku-1", visitor)
    visitor.captured.assert_product_event("sku-1", "add to cart")
