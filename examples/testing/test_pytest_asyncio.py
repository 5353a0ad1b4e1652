from __future__ import annotations

import httpx
import pytest

from examples.testing.shop import app
from usercom_asgi.testing import Captured, capture

TRANSPORT = httpx.ASGITransport(app)


@pytest.mark.asyncio
async def test_purchase(usercom: Captured) -> None:
    async with httpx.AsyncClient(transport=TRANSPORT, base_url="http://shop.test") as client:
        await client.post("/buy")
    usercom.assert_event("purchase", product="cup")


@pytest.mark.asyncio
async def test_purchase_in_a_block() -> None:
    async with httpx.AsyncClient(transport=TRANSPORT, base_url="http://shop.test") as client:
        with capture(app) as captured:
            await client.post("/buy")
    captured.assert_event("purchase")
