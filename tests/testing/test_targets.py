"""Which middlewares a capture finds in an application, and its errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from testing.shop import NOWHERE, make_shop
from usercom_asgi import ConfigurationError, UserComClient, UserComConfig, UserComMiddleware
from usercom_asgi.testing import capture
from usercom_asgi.testing.targets import find_middlewares

CONFIG = UserComConfig.sandbox(NOWHERE)
plain = Starlette()


def in_a_function(app: ASGIApp) -> ASGIApp:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return wrapped


def fastapi_app() -> Any:
    fastapi = pytest.importorskip("fastapi")
    app = fastapi.FastAPI()
    app.add_middleware(UserComMiddleware, config=CONFIG)
    return app


APPS: dict[str, Callable[[], Any]] = {
    "around": lambda: UserComMiddleware(plain, CONFIG),
    "added": make_shop,
    "fastapi": fastapi_app,
    "inside of another": lambda: CORSMiddleware(make_shop(), allow_origins=["*"]),
    "in a function": lambda: in_a_function(make_shop()),
    "mounted": lambda: Starlette(routes=[Mount("/shop", make_shop())]),
    "mounted by itself": lambda: Starlette(
        routes=[Mount("/shop", UserComMiddleware(plain, CONFIG))]
    ),
}


@pytest.mark.parametrize("name", APPS)
def test_middleware_is_found(name: str) -> None:
    assert len(find_middlewares(APPS[name]())) == 1


def test_capture_of_a_mounted_application_records() -> None:
    app = Starlette(routes=[Mount("/shop", make_shop())])
    with capture(app) as captured:
        TestClient(app).post("/shop/buy")
    captured.assert_event("purchase")


@pytest.mark.parametrize("target", [plain, None, 5, lambda scope, receive, send: None])
def test_target_without_a_middleware_raises_with_the_remedy(target: Any) -> None:
    with pytest.raises(TypeError, match="add UserComMiddleware"), capture(target):
        pass


@pytest.mark.parametrize(
    "target",
    [make_shop(UserComConfig(enabled=False)), UserComClient(UserComConfig(enabled=False))],
    ids=["application", "client"],
)
def test_target_that_is_switched_off_raises_with_the_remedy(target: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"UserComConfig\.sandbox\(\)"), capture(target):
        pass


async def test_middleware_that_cannot_be_constructed_raises_its_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("USERCOM_API_KEY", raising=False)
    app = Starlette(middleware=[Middleware(UserComMiddleware)])
    with pytest.raises(ConfigurationError, match="USERCOM_API_KEY"), capture(app):
        pass


def test_several_targets_are_captured_together() -> None:
    one, other, third = make_shop(), make_shop(), make_shop()
    with capture() as rest, capture(one, other) as captured:
        for each in (one, other, third):
            TestClient(each).post("/buy")
    assert (len(captured.commands), len(rest.commands)) == (2, 1)
