"""What applications read from a request."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from helpers.asgi_client import call, html, http_scope
from helpers.fake_usercom import CONFIG
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from usercom_asgi import (
    UserComMiddleware,
    Visitor,
    get_delivery,
    get_visitor,
    usercom_snippet,
)
from usercom_asgi.middleware.scope import DELIVERY_KEY

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
    with pytest.raises(RuntimeError, match=r"add UserComMiddleware to .*; it must be outside"):
        get_visitor({"type": "http", "state": state})


PLACES: dict[str, Callable[[Scope], object]] = {
    "Django, Litestar, Quart, Falcon, BlackSheep": lambda scope: SimpleNamespace(scope=scope),
    "Sanic": lambda scope: SimpleNamespace(transport=SimpleNamespace(scope=scope)),
    "Gradio": lambda scope: SimpleNamespace(request=HTTPConnection(scope)),
    "a scope that is no dict": lambda scope: MappingProxyType(scope),
}


@pytest.mark.parametrize("framework", PLACES)
async def test_get_visitor_of_another_frameworks_request_returns_the_visitor(
    framework: str,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request: Any = PLACES[framework](scope)
        assert get_visitor(request) is get_visitor(scope)
        assert get_delivery(request).readiness().state == "inline"
        await html(PAGE)(scope, receive, send)

    recorded = await call(UserComMiddleware(app, CONFIG))
    assert recorded.status == 200


@pytest.mark.parametrize("state", [{}, {"state": None}])
def test_get_visitor_of_a_scope_without_state_raises_runtime_error(state: Any) -> None:
    with pytest.raises(RuntimeError, match="add UserComMiddleware"):
        get_visitor({"type": "http", DELIVERY_KEY: object(), **state})
    assert usercom_snippet({"type": "http", **state}) == ""


@pytest.mark.parametrize("wrong", [None, "request", object(), SimpleNamespace(scope=None)])
def test_get_visitor_of_something_else_raises_type_error_with_the_type(wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"must be .* ASGI scope.* got .*{type(wrong).__name__}"):
        get_visitor(wrong)


def test_get_visitor_of_a_django_request_of_wsgi_raises_type_error_with_the_remedy() -> None:
    pytest.importorskip("django", reason="not among the core tests: django")
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIRequest

    if not settings.configured:
        settings.configure()
    request: Any = WSGIRequest({"REQUEST_METHOD": "GET", "wsgi.input": BytesIO()})
    with pytest.raises(TypeError, match=r"WSGIRequest; it is a request of WSGI: serve .* ASGI"):
        get_visitor(request)


def test_get_visitor_of_quarts_request_outside_of_one_raises_quarts_error() -> None:
    quart: Any = pytest.importorskip("quart", reason="not among the core tests: quart")
    with pytest.raises(RuntimeError, match="Not within a request context"):
        get_visitor(quart.request)
