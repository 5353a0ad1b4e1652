from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if os.environ.get("TEST_HTTPX") == "httpx":  # as if httpx2 were not installed; see the Makefile
    import starlette.testclient  # noqa: F401  warns without httpx2, and would fail the suite

    for name in [each for each in sys.modules if each.partition(".")[0] == "httpx2"]:
        del sys.modules[name]
    sys.modules["httpx2"] = None  # type: ignore[assignment]

from usercom_asgi import UserComConfig
from usercom_asgi.sandbox import Sandbox, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Hypothesis bounds an example to 0.2 s, and a machine that runs tests may stand still for longer.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(obj: object) -> None:
    """Mark every coroutine function for anyio's plugin; its `anyio_mode = "auto"` does not exist in the oldest anyio."""
    given = getattr(obj, "hypothesis", None)  # a function under @given is wrapped in a plain one
    if inspect.iscoroutinefunction(given.inner_test if given else obj):
        pytest.mark.anyio(obj)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every async test runs on both."""
    return str(request.param)


class UserCom:
    """The stand-in for User.com, served on a real socket."""

    def __init__(self, sandbox: Sandbox, url: str) -> None:
        self.sandbox = sandbox
        self.store = sandbox.store
        self.faults = sandbox.faults
        self.url = url

    def config(self, **settings: Any) -> UserComConfig:
        # A machine that runs tests may be slow: where these are not what is tested, there is plenty.
        patience = {"shutdown_timeout": 30, "inline_deadline": 30}
        return UserComConfig(**{"base_url": self.url, "api_key": "ABC123", **patience, **settings})

    def new_user(self) -> str:
        """Have a visitor, as a first ping of the widget would make one."""
        import httpx

        said = {"apiKey": "ABC123", "url": "http://shop.example.com/"}
        answer = httpx.post(f"{self.url}/api/v2/user-chatping/", json=said, timeout=30)
        self.store.hits.clear()
        return str(answer.json()["user"]["key"])


@pytest.fixture(scope="session")
def _served() -> Iterator[UserCom]:
    if find_spec("uvicorn") is None:
        pytest.skip("needs the extra sandbox")
    sandbox = Sandbox(api_key="ABC123")
    with serve(sandbox) as server:
        yield UserCom(sandbox, server.url)


@pytest.fixture
def usercom(_served: UserCom) -> Iterator[UserCom]:
    from serving import forget

    _served.store.clear()
    yield _served
    forget(_served.faults)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, per module: Playwright's sync API keeps an event loop running, in which no anyio test could run."""
    from chromium import chromium

    with chromium("MAP *.example.com 127.0.0.1") as browser:
        yield browser


CONFIG = UserComConfig(app="acme", api_key="ABC123")


@pytest.fixture
def config() -> UserComConfig:
    return CONFIG
