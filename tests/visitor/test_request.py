"""Requests with odd scopes and headers."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.apps import app_with
from helpers.asgi_client import call, http_scope
from helpers.fake_usercom import FakeUserCom
from starlette.types import Message

from usercom_asgi import UserComMiddleware


@pytest.mark.parametrize("missing", ["scheme", "query_string", "server", "client", "state"])
async def test_request_scope_without_an_optional_key_is_enough(
    missing: str, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    scope = http_scope(headers={"cookie": f"__ca__chat={key}"})
    scope.pop(missing, None)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    middleware = UserComMiddleware(app_with(lambda visitor: visitor.page_hit()), usercom.config())
    await middleware(scope, None, send)  # type: ignore[arg-type]
    assert b"widget.js" in sent[1]["body"]
    assert len(usercom.store.hits) == 1


@pytest.mark.parametrize("host", ["[", "]", "[::1", "a:b:c", ":", "exa mple"])
async def test_request_broken_host_header_still_delivers(host: str, usercom: FakeUserCom) -> None:
    async def send_commands(visitor: Any) -> None:
        await visitor.event("x")
        await visitor.reset_auth()

    middleware = UserComMiddleware(app_with(send_commands), usercom.config(reset_timeout=2))
    got = await call(middleware, host=host, headers={"cookie": f"__ca__chat={usercom.new_user()}"})
    assert got.set_cookies("__ca__reset")
    assert len(usercom.store.events) == 1
