from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from examples.testing.shop import make_app
from usercom_asgi import UserComClient
from usercom_asgi.testing import LiveSandbox, flush


def test_purchase_arrives(usercom_sandbox: LiveSandbox) -> None:
    app = make_app(usercom_sandbox.config())
    with TestClient(app, cookies={"session": "7"}) as client:
        client.post("/buy")
        assert client.portal is not None
        assert client.portal.call(flush, app)
        [purchase] = usercom_sandbox.store.events
    assert purchase.name == "purchase"


def test_purchase_without_a_lifespan_arrives(usercom_sandbox: LiveSandbox) -> None:
    app = make_app(usercom_sandbox.config())
    TestClient(app, cookies={"session": "7"}).post("/buy")
    assert [each.name for each in usercom_sandbox.store.events] == ["purchase"]


@pytest.mark.anyio
async def test_job_waits_while_user_com_fails(usercom_sandbox: LiveSandbox) -> None:
    usercom_sandbox.faults.status(500)
    async with UserComClient(usercom_sandbox.config()) as client:
        await client.visitor(user_id=7).event("renewed")
        assert client.delivery is not None
        assert not await client.delivery.flush(timeout=0.05)
        assert client.stats.waiting == 1
        usercom_sandbox.faults.clear()
