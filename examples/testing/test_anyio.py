from __future__ import annotations

import httpx
import pytest

from examples.testing.jobs import send_renewals
from examples.testing.shop import app
from usercom_asgi.testing import Captured

pytestmark = pytest.mark.anyio  # on asyncio and trio


async def test_purchase(usercom: Captured) -> None:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
        await client.post("/buy")
        usercom.assert_event("purchase", product="cup")


async def test_job(usercom: Captured) -> None:
    assert await send_renewals([7, 8]) == 2
    assert [each.user_id for each in usercom.events("renewed")] == ["7", "8"]
