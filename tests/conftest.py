from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if os.environ.get("TEST_HTTPX") == "httpx":  # as if httpx2 were not installed; see the Makefile
    import starlette.testclient  # noqa: F401  warns without httpx2, and would fail the suite

    for name in [each for each in sys.modules if each.partition(".")[0] == "httpx2"]:
        del sys.modules[name]
    sys.modules["httpx2"] = None  # type: ignore[assignment]

from helpers.fake_usercom import CONFIG, FakeUserCom

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


@pytest.fixture(scope="session")
def _served() -> Iterator[FakeUserCom]:
    if find_spec("uvicorn") is None:
        pytest.skip("needs the extra sandbox")
    sandbox = Sandbox(api_key="ABC123")
    with serve(sandbox) as server:
        yield FakeUserCom(sandbox, server.url)


@pytest.fixture
def usercom(_served: FakeUserCom) -> Iterator[FakeUserCom]:
    from helpers.serving import forget

    _served.store.clear()
    yield _served
    forget(_served.faults)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, per module: Playwright's sync API keeps an event loop running, in which no anyio test could run."""
    from helpers.chromium import chromium

    with chromium("MAP *.example.com 127.0.0.1") as browser:
        yield browser


@pytest.fixture
def config() -> UserComConfig:
    return CONFIG
