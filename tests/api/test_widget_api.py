"""Guards ``api/widget_api.py``: requests as ``widget.js`` makes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from helpers.apps import app_with
from helpers.asgi_client import call, lifespan
from helpers.fake_usercom import FakeUserCom
from helpers.serving import serve_app
from helpers.waiting import until
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from usercom_asgi import Event, UserComClient, UserComConfig, UserComMiddleware
from usercom_asgi.api import client as module
from usercom_asgi.api.widget_api import _user_key
from usercom_asgi.core.envelope import PageContext
from usercom_asgi.core.exceptions import RejectedError

if TYPE_CHECKING:
    import httpx2 as httpx
else:
    httpx = module.httpx


@pytest.mark.parametrize("agent", ["Shop 1.0 日本", "x\r\nX-Evil: 1", "\0", "é"])
async def test_send_user_agent_that_a_header_cannot_hold_delivers_the_event(
    agent: str, usercom: FakeUserCom
) -> None:
    async with UserComClient(usercom.config()) as client:
        receipt = await client.send(
            Event("said"), key=usercom.new_user(), page=PageContext(user_agent=agent)
        )
        assert await receipt.delivered(20)


async def test_send_event_makes_the_same_request_as_widget_js() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200)

    settings = UserComConfig(app="acme", api_key="ABC123", shutdown_timeout=30)
    async with UserComClient(settings, transport=httpx.MockTransport(answer)) as client:
        page = PageContext(user_agent="Shop 1.0", domain="shop.example.com")
        assert await (await client.send(Event("sold", {"n": 1}), key="k1", page=page)).delivered(20)
    request = requests[0]
    assert (request.method, str(request.url)) == ("POST", "https://acme.user.com/api/event/")
    assert request.headers["host"] == "acme.user.com"
    assert request.headers["x-requested-with"] == "XMLHttpRequest"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == "Shop 1.0"
    assert json.loads(request.content)["user_key"] == "k1"
    assert json.loads(json.loads(request.content)["data"]) == {"n": 1}


def test_user_key_response_nested_without_end_is_refused() -> None:
    with pytest.raises(RejectedError, match="without a user key"):
        _user_key(b"[" * 200_000)


async def test_send_cookie_of_a_response_is_not_sent_with_the_next_call() -> None:
    seen: list[str | None] = []

    async def ping(request: Request) -> JSONResponse:
        seen.append(request.headers.get("cookie"))
        key = (await request.json())["userKey"]
        return JSONResponse(
            {"user": {"key": key}}, headers={"set-cookie": f"sessionid=of-{key}; Path=/"}
        )

    with serve_app(
        Starlette(routes=[Route("/api/v2/user-chatping/", ping, methods=["POST"])])
    ) as port:
        config = UserComConfig(base_url=f"http://127.0.0.1:{port}", api_key="ABC123")
        middleware = UserComMiddleware(app_with(lambda visitor: visitor.page_hit()), config)
        async with lifespan(middleware) as state:
            for key in ("alice1", "bob2"):
                before = len(seen)
                await call(middleware, headers={"cookie": f"__ca__chat={key}"}, state=dict(state))
                await until(lambda before=before: len(seen) > before)  # type: ignore[misc]
    assert seen == [None, None]


async def test_send_odd_user_agent_of_the_request_delivers_the_event(usercom: FakeUserCom) -> None:
    middleware = UserComMiddleware(app_with(lambda visitor: visitor.event("x")), usercom.config())
    key = usercom.new_user()
    async with lifespan(middleware) as state:
        for agent in ("\xe9 Mozilla", " ", "\xff", "a\tb "):
            await call(
                middleware,
                headers={"cookie": f"__ca__chat={key}", "user-agent": agent},
                state=dict(state),
            )
    assert len(usercom.store.events) == 4
