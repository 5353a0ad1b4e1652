"""flush() waits for the real delivery, in its event loop."""

from __future__ import annotations

import anyio
import httpx
import pytest
from helpers.asgi_client import lifespan
from helpers.fake_usercom import FakeUserCom
from starlette.testclient import TestClient

from testing.shop import NOWHERE, make_shop
from usercom_asgi import UserComClient, UserComConfig
from usercom_asgi.testing import flush


async def test_flush_in_a_lifespan_waits_until_the_commands_have_arrived(
    usercom: FakeUserCom,
) -> None:
    app = make_shop(UserComConfig.sandbox(usercom.url))
    async with (
        lifespan(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a.test") as client,
    ):
        client.cookies.set("__ca__chat", usercom.new_user(), domain="a.test")
        await client.post("/buy")
        assert await flush(app)
        assert [each.name for each in usercom.store.events] == ["purchase"]


def test_flush_in_the_portal_of_a_test_client_waits(usercom: FakeUserCom) -> None:
    app = make_shop(UserComConfig.sandbox(usercom.url))
    with TestClient(app, cookies={"__ca__chat": usercom.new_user()}) as client:
        client.post("/buy")
        assert client.portal is not None
        assert client.portal.call(flush, app)
        assert [each.name for each in usercom.store.events] == ["purchase"]


async def test_flush_of_a_client_that_cannot_deliver_returns_false_in_time(
    usercom: FakeUserCom,
) -> None:
    usercom.faults.status(500)
    async with UserComClient(UserComConfig.sandbox(usercom.url)) as client:
        await client.visitor(user_id=7).event("renewed")
        before = anyio.current_time()
        assert not await flush(client, timeout=0.05)
        assert anyio.current_time() - before < 2
        assert client.delivery is not None
        assert not await client.delivery.flush(0)


async def test_flush_without_a_running_delivery_returns_true() -> None:
    assert await flush(make_shop())
    assert await flush(UserComClient(UserComConfig.sandbox(NOWHERE)))


def test_flush_of_the_handle_without_a_lifespan_returns_true() -> None:
    assert TestClient(make_shop()).get("/counts").json()["is_flushed"]


def test_flush_of_the_handle_of_a_disabled_middleware_returns_true() -> None:
    app = make_shop(UserComConfig(enabled=False))
    assert TestClient(app).get("/counts").json()["is_flushed"]


async def test_flush_of_something_else_raises() -> None:
    with pytest.raises(TypeError, match="UserComMiddleware"):
        await flush(None)  # type: ignore[arg-type]
