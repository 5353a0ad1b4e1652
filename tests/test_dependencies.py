"""What applications read from a request."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.asgi_client import call, html, http_scope
from helpers.fake_usercom import CONFIG
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from usercom_asgi import UserComMiddleware, Visitor, get_delivery, get_visitor

PAGE = b"<html><body><p>hello</p></body></html>"


def test_get_visitor_without_the_middleware_raises_runtime_error() -> None:
    with pytest.raises(RuntimeError, match="UserComMiddleware"):
        get_visitor(http_scope())


async def test_get_visitor_of_scope_or_connection_returns_the_visitor_in_the_state() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        connection = HTTPConnection(scope)
        assert isinstance(connection.state.usercom, Visitor)
        assert connection.state.usercom is get_visitor(connection) is get_visitor(scope)
        await html(PAGE)(scope, receive, send)

    await call(UserComMiddleware(app, CONFIG))


HELLO = b"<html><body></body></html>"


async def test_get_visitor_outside_of_the_middleware_ignores_another_requests_visitor() -> None:
    state: dict[str, Any] = {}
    await call(UserComMiddleware(html(HELLO), CONFIG), state=state)
    with pytest.raises(RuntimeError, match="add UserComMiddleware"):
        get_visitor({"type": "http", "state": state})


class OtherRequest:
    """A request of Litestar, Quart, Django, Falcon or BlackSheep."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope


async def test_get_visitor_of_another_frameworks_request_returns_the_visitor() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request: Any = OtherRequest(scope)
        assert get_visitor(request) is get_visitor(scope)
        assert get_delivery(request).readiness().state == "inline"
        await html(PAGE)(scope, receive, send)

    await call(UserComMiddleware(app, CONFIG))


@pytest.mark.parametrize("wrong", [None, "request", object()])
def test_get_visitor_of_something_else_raises_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError, match="must be a request with an ASGI scope"):
        get_visitor(wrong)
