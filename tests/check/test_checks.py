"""Checks of a configuration, against the sandbox and small servers on loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from helpers.fake_usercom import FakeUserCom
from helpers.serving import free_port

from usercom_asgi import UserComConfig
from usercom_asgi.check.checks import Mark, Result, run_checks
from usercom_asgi.sandbox.vendor import REST_TOKEN


class OddServer(ThreadingHTTPServer):
    """Answers every request alike, with a ``Date`` of its own."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _OddHandler)
        self.ahead = 0.0  # seconds
        self.status = 200
        self.headers: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _OddHandler(BaseHTTPRequestHandler):
    server: OddServer

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(time.time() + self.server.ahead, usegmt=True)

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def odd() -> Iterator[OddServer]:
    with OddServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def check(base_url: str, **settings: Any) -> dict[str, Result]:
    values: dict[str, Any] = {"api_key": "ABC123", "rest_token": REST_TOKEN, "timeout": 5.0}
    config = UserComConfig(base_url=base_url, **{**values, **settings})
    shown: list[Result] = []
    results = await run_checks(config, shown.append)
    assert shown == results
    assert all(bool(each.remedy) is (each.mark is Mark.FAILS) for each in results)
    return {each.name: each for each in results}


def marks(results: dict[str, Result]) -> dict[str, str]:
    return {name: each.mark.value for name, each in results.items()}


async def test_checks_of_a_right_configuration_succeed_and_leave_the_workspace_unchanged(
    usercom: FakeUserCom,
) -> None:
    results = await check(usercom.url)
    assert marks(results) == dict.fromkeys(["name", "widget.js", "app key", "token", "clock"], "ok")
    store = usercom.store
    assert not any([store.users, store.hits, store.events, store.product_events, store.updates])
    assert not any([[*store.tags.values()], [*store.attributes.values()]])


async def test_app_key_of_another_workspace_fails_with_the_place_of_the_right_one(
    usercom: FakeUserCom,
) -> None:
    results = await check(usercom.url, api_key="ABC124")
    assert [name for name, mark in marks(results).items() if mark != "ok"] == ["app key"]
    assert "refused" in results["app key"].found
    assert "API & Integrations" in results["app key"].remedy
    assert not usercom.store.users


async def test_app_key_with_the_same_answer_as_a_made_up_one_is_unknown(odd: OddServer) -> None:
    odd.status = 400
    result = (await check(odd.url))["app key"]
    assert result.mark is Mark.SKIPPED
    assert "--probe" in result.found


async def test_app_key_refused_unlike_a_made_up_one_names_the_allowed_domains(
    usercom: FakeUserCom,
) -> None:
    usercom.faults.status(401, times=1, only="/api/event/")
    result = (await check(usercom.url))["app key"]
    assert result.mark is Mark.FAILS
    assert "domains" in result.remedy


async def test_token_of_another_workspace_fails_and_is_not_shown(usercom: FakeUserCom) -> None:
    token = "wrong-token-0123456789"
    results = await check(usercom.url, rest_token=token)
    assert [name for name, mark in marks(results).items() if mark != "ok"] == ["token"]
    assert "401" in results["token"].found
    assert token not in "".join(map(str, results.values()))


@pytest.mark.parametrize(
    ("status", "found"),
    [(403, "may not read users"), (503, "answered 503"), (429, "answered 429"), (418, "418")],
)
async def test_token_with_an_error_of_the_server_fails_with_its_status(
    status: int, found: str, usercom: FakeUserCom
) -> None:
    usercom.faults.status(status, only="/api/public/")
    result = (await check(usercom.url))["token"]
    assert result.mark is Mark.FAILS
    assert found in result.found


async def test_token_where_a_page_answers_fails_as_no_rest_api(odd: OddServer) -> None:
    odd.status, odd.headers = 404, {"Content-Type": "text/html"}
    result = (await check(odd.url))["token"]
    assert result.mark is Mark.FAILS
    assert "no REST API" in result.found


@pytest.mark.parametrize("status", [200, 404])
async def test_token_where_the_answer_has_no_json_fails(status: int, odd: OddServer) -> None:
    odd.status, odd.headers = status, {"Content-Type": "text/plain"}
    result = (await check(odd.url))["token"]
    assert result.mark is Mark.FAILS
    assert "without JSON" in result.found


@pytest.mark.parametrize("status", [429, 503])
async def test_app_key_is_not_accepted_by_an_error_for_the_made_up_one(
    status: int, usercom: FakeUserCom
) -> None:
    usercom.faults.status(400, times=1, only="/api/event/")
    usercom.faults.status(status, times=1, only="/api/event/")
    assert (await check(usercom.url))["app key"].mark is Mark.FAILS


async def test_token_that_is_missing_is_skipped_with_the_channel(usercom: FakeUserCom) -> None:
    result = (await check(usercom.url, rest_token=None))["token"]
    assert result.mark is Mark.SKIPPED
    assert "channel='widget'" in result.found


async def test_token_for_http_on_another_host_is_not_sent(
    odd: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usercom_asgi.core.origins.is_loopback", lambda _: False)
    result = (await check(odd.url, channel="widget"))["token"]
    assert result.mark is Mark.FAILS
    assert result.found.startswith("not sent")


async def test_name_that_does_not_resolve_fails_and_the_rest_is_skipped() -> None:
    results = await check("https://workspace.invalid")
    assert results["name"].mark is Mark.FAILS
    assert "does not resolve" in results["name"].found
    assert "USERCOM_BASE_URL" in results["name"].remedy
    assert set(marks(results).values()) == {"fails", "skipped"}
    assert list(marks(results)) == ["name", "widget.js", "app key", "token", "clock"]


async def test_name_behind_a_proxy_is_left_to_the_proxy(
    odd: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", odd.url)
    results = await check("http://workspace.invalid", rest_token=None)
    assert marks(results)["name"] == "skipped"
    assert marks(results)["widget.js"] == "ok"


async def test_connection_that_is_refused_fails_once_and_the_rest_is_skipped() -> None:
    results = await check(f"http://127.0.0.1:{free_port()}")
    assert list(marks(results).values()) == ["ok", "fails", "skipped", "skipped", "skipped"]
    assert "no answer" in results["widget.js"].found
    assert "firewall" in results["widget.js"].remedy


async def test_server_that_never_answers_fails_within_the_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        began = time.monotonic()
        results = await check(f"http://127.0.0.1:{port}", timeout=0.2)
    assert results["widget.js"].mark is Mark.FAILS
    assert time.monotonic() - began < 5


async def test_server_that_ends_after_widget_js_fails_at_the_app_key(usercom: FakeUserCom) -> None:
    usercom.faults.drop(only="/api/event/")
    results = await check(usercom.url)
    assert list(marks(results).values()) == ["ok", "ok", "fails", "skipped", "skipped"]


@pytest.mark.parametrize(
    ("status", "kind", "remedy"),
    [
        (404, "text/html", "subdomain"),
        (200, "text/html", "subdomain"),
        (302, "text/html", "redirect"),
        (500, "text/html", "Try again later"),
    ],
)
async def test_widget_js_that_is_not_served_fails_with_the_remedy(
    status: int, kind: str, remedy: str, odd: OddServer
) -> None:
    odd.status, odd.headers = status, {"Content-Type": kind}
    result = (await check(odd.url))["widget.js"]
    assert result.mark is Mark.FAILS
    assert str(status) in result.found
    assert remedy in result.remedy


@pytest.mark.parametrize(("ahead", "side"), [(3600.0, "behind"), (-60.0, "ahead of")])
async def test_clock_that_differs_from_the_server_fails_with_the_reason(
    ahead: float, side: str, odd: OddServer
) -> None:
    odd.ahead = ahead
    result = (await check(odd.url))["clock"]
    assert result.mark is Mark.FAILS
    assert side in result.found
    assert "NTP" in result.remedy
    assert "events" in result.remedy


async def test_clock_that_differs_by_three_seconds_is_right(odd: OddServer) -> None:
    odd.ahead = 3.0
    assert (await check(odd.url))["clock"].mark is Mark.OK


async def test_clock_without_a_date_in_the_answers_is_skipped(
    odd: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_OddHandler, "date_time_string", lambda *_: "soon")
    assert (await check(odd.url))["clock"].mark is Mark.SKIPPED


async def test_result_of_hostile_headers_does_not_move_the_terminal(odd: OddServer) -> None:
    odd.headers = {"Content-Type": "text/x\x9b2J"}
    assert str((await check(odd.url))["widget.js"]).isprintable()
