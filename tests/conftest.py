from __future__ import annotations

import gc
import inspect
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if os.environ.get("TEST_HTTPX") == "httpx":  # as if httpx2 were not installed; see the Makefile
    import starlette.testclient  # noqa: F401  warns without httpx2, and would fail the suite

    for name in [each for each in sys.modules if each.partition(".")[0] == "httpx2"]:
        del sys.modules[name]
    sys.modules["httpx2"] = None  # type: ignore[assignment]

from helpers.fake_usercom import CONFIG, FakeUserCom

from usercom_asgi import UserComConfig
from usercom_asgi.core.log import warn_once
from usercom_asgi.sandbox import Sandbox, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE = Path(__file__).parent

# Hypothesis bounds an example to 0.2 s, and a machine that runs tests may stand still for longer.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(obj: object) -> None:
    """Mark every coroutine function for anyio's plugin; its `anyio_mode = "auto"` does not exist in the oldest anyio."""
    given = getattr(obj, "hypothesis", None)  # a function under @given is wrapped in a plain one
    if inspect.iscoroutinefunction(given.inner_test if given else obj):
        pytest.mark.anyio(obj)


#: Where tests need more than their own process; each path is of a folder or a file in tests/.
MARKERS = {
    "browser": [
        "browser/",
        "sandbox/test_sandbox_widget.py",
        "sandbox/test_widget_conformance.py",
        "sandbox/test_widget_chat.py",
        "sandbox/test_sandbox_dashboard.py",
        "sandbox/test_sandbox_rebinding.py",
    ],
    "servers": ["servers/", "examples/"],
    "broker": ["integrations/taskiq/"],
}
#: Files that one worker takes as a whole: each starts Chromium, or builds the package, once.
WHOLE_FILES = (*MARKERS["browser"], "test_package.py")
#: What `make test` leaves to `make nightly`: parts of ids, of tests whose kind runs there as
#: well. Together they take some eight minutes of two cores.
NIGHTLY = (
    ("browser/test_return.py", "random_walks"),
    ("browser/test_pages.py", "corpus_runs_the_widget_and_is_otherwise_unchanged[head"),
    ("browser/test_story.py", "shop.example.com-slow"),
    ("browser/test_story.py", "serves_every_page[answers 500]"),
    ("browser/test_story.py", "keep_two_people_apart[localhost]"),
    ("browser/test_pages.py", "[htmx4"),
    ("browser/test_swaps.py", "htmx4"),
    ("browser/test_calls.py", "-head]"),
    ("browser/test_shown.py", "[worker-url"),
    ("browser/test_shown.py", "[htmx2-part"),
    ("browser/test_channels.py", "with_each_thing_once[widget]"),
    ("integrations/taskiq/test_outbox.py", "one_request_are_one_task_in_order[rest]"),
    ("servers/test_failing_start.py", "environ1"),
    ("servers/test_failing_start.py", "environ2"),
    ("browser/test_sdk.py", "for_one_profile[rest-"),
    ("middleware/test_scope.py", "concurrent_requests_on_one_connection_is_separate[asyncio-trio]"),
    ("middleware/test_scope.py", "concurrent_requests_on_one_connection_is_separate[trio-asyncio]"),
    ("servers/test_kill.py", "[rest-1]"),
    ("servers/test_sigterm.py", "two workers"),
    ("servers/test_sigterm.py", "without lifespan"),
    ("browser/test_shown.py", "head"),
    ("browser/test_shown.py", "htmx4"),
    ("sandbox/test_sandbox_dashboard.py", "axe"),
    ("sandbox/test_sandbox_malformed.py", "any"),
    ("browser/test_swaps.py", "bridge"),
    ("browser/test_login_by_itself.py", "[False-"),
    ("delivery/test_circuit_breaker_poison.py", "["),
    ("integrations/taskiq/test_outbox.py", "killed_worker_of_two"),
    (
        "integrations/taskiq/test_outbox.py",
        "outage_longer_than_a_task_delivers_all_in_order_later[widget]",
    ),
    ("page/test_locator.py", "test_inject_markup_opened_long"),
    ("page/test_locator.py", "test_inject_any_markup"),
    ("sandbox/rest/test_rest_contract.py", "test_sandbox_answers_as_the_contract"),
)
#: What `make check` leaves out, and what workers of pytest-xdist begin with.
LATE = ("browser", "servers", "broker", "slow", "waits")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by their folder, and put the long ones first."""
    for item in items:
        path = item.path.relative_to(HERE).as_posix()
        for marker, places in MARKERS.items():
            if path.startswith(tuple(places)):
                item.add_marker(marker)
        if any(path == place and part in item.name for place, part in NIGHTLY):
            item.add_marker("nightly")
        # Coverage makes tight loops many times slower, and fast tests run the same code.
        if item.get_closest_marker("slow") and config.pluginmanager.hasplugin("_cov"):
            item.add_marker("no_cover")
    items.sort(key=lambda item: not any(item.get_closest_marker(each) for each in LATE))


def pytest_collection_finish() -> None:
    """Keep the garbage collector away from thousands of items: a fourteenth of the suite's CPU time."""
    gc.freeze()


def pytest_runtest_setup() -> None:
    """Let each test log what an earlier one has logged "once"."""
    warn_once.cache_clear()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run two workers for each core, because many tests wait for a browser or a server.

    Those of `make check` wait less, and each worker takes six seconds to collect them.
    """
    return (4 if config.getoption("dist") == "load" else 3) * (os.cpu_count() or 1) // 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let workers take single tests, but a file whose fixtures take seconds as a whole.

    `make check` has no such file, and asks for another scheduler by `--dist`.
    With `--dist loadgroup`, pytest-xdist 3.8 finds no group in pytest 9.2.
    """
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it has no types

    class ByTestOrFile(LoadScopeScheduling):  # type: ignore[misc]  # so this class is of type Any
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            is_whole = path.removeprefix("tests/").startswith(WHOLE_FILES)
            return path if is_whole else nodeid

    return ByTestOrFile(config, log)


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
