"""User.com in trouble, on demand."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from helpers.waiting import until_sync

from usercom_asgi.sandbox import Faults, Sandbox, serve

if TYPE_CHECKING:
    from sandbox.conftest import Api

PING, BODY = "/api/v2/user-chatping/", {"apiKey": "ABC123"}
WIDGETS_BODY = {**BODY, "timezone": 0, "resolution": "1x1"}


def test_status_fault_without_a_limit_processes_nothing_and_lasts(
    api: Api, sandbox: Sandbox
) -> None:
    sandbox.faults.status(503, headers={"Retry-After": "7"})
    for _ in range(3):
        answer = api.http.post(PING, json=BODY, headers={"Origin": "https://a"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
        assert answer.headers["Access-Control-Allow-Origin"] == "https://a"
    assert not sandbox.store.users
    assert not sandbox.store.rejected
    assert len(sandbox.store.faulted) == 3


def test_faults_with_a_limit_apply_in_order_before_unlimited_ones(
    api: Api, sandbox: Sandbox
) -> None:
    sandbox.faults.status(404)
    sandbox.faults.status(500, times=2)
    sandbox.faults.status(429, 1)
    assert [api.http.post(PING, json=BODY).status_code for _ in range(5)] == [
        500,
        500,
        429,
        404,
        404,
    ]


def test_faults_without_a_limit_apply_the_last_one_only(api: Api, sandbox: Sandbox) -> None:
    sandbox.faults.status(500)
    sandbox.faults.status(502)
    assert api.http.post(PING, json=BODY).status_code == 502


@pytest.mark.parametrize("code", [204, 304])
def test_status_fault_with_a_bodiless_code_is_answered_with_that_code(
    api: Api, sandbox: Sandbox, code: int
) -> None:
    sandbox.faults.status(code)
    assert api.http.post(PING, json=BODY).status_code == code


def test_status_fault_limited_to_a_path_spares_other_paths(api: Api, sandbox: Sandbox) -> None:
    key = api.ping()
    sandbox.faults.status(500, only="user-chatping")
    assert api.event(key).status_code == 200
    assert api.http.post(PING, json=BODY).status_code == 500


def test_status_fault_limited_to_a_sender_spares_other_senders(api: Api, sandbox: Sandbox) -> None:
    sandbox.faults.status(500, sender="widget", times=1)
    assert api.http.post(PING, json=BODY).status_code == 200
    assert api.http.post(PING, json=WIDGETS_BODY).status_code == 500
    sandbox.faults.status(502, sender="server")
    key = api.http.post(PING, json=WIDGETS_BODY).json()["user"]["key"]
    assert api.http.post(PING, json=BODY).status_code == 502
    event = {"api_key": "ABC123", "user_key": key, "event": "e"}
    assert (
        api.http.post("/api/event/", json=event, headers={"Origin": "https://a"}).status_code == 200
    )
    assert api.http.post("/api/event/", json=event).status_code == 502


@pytest.mark.slow
def test_latency_before_or_after_processing_delays_the_answer(api: Api, sandbox: Sandbox) -> None:
    for before, processed in ((True, 0), (False, 1)):
        sandbox.store.clear()
        sandbox.faults.clear()
        sandbox.faults.latency(1.5, before=before)
        with ThreadPoolExecutor() as pool:
            began = time.monotonic()
            waiting = pool.submit(api.http.post, PING, json=BODY)
            time.sleep(0.2)
            until_sync(lambda processed=processed: len(sandbox.store.hits) == processed)
            assert not waiting.done()
            assert waiting.result().status_code == 200
            assert time.monotonic() - began >= 1.49
        assert len(sandbox.store.hits) == 1


def test_latency_with_a_status_fault_delays_that_status(api: Api, sandbox: Sandbox) -> None:
    sandbox.faults.latency(0.1)
    sandbox.faults.status(500)
    began = time.monotonic()
    assert api.http.post(PING, json=BODY).status_code == 500
    assert time.monotonic() - began >= 0.09


@pytest.mark.waits
def test_hang_of_a_disconnected_client_is_never_processed(api: Api, sandbox: Sandbox) -> None:
    sandbox.faults.hang()
    with pytest.raises(httpx.ReadTimeout):
        api.http.post(PING, json=BODY, timeout=0.15)
    time.sleep(1)  # it notices that the client went only by looking
    sandbox.faults.clear()
    assert api.http.post(PING, json=BODY).status_code == 200
    assert len(sandbox.store.hits) == 1


def test_hang_after_clear_processes_and_answers_the_request(api: Api, sandbox: Sandbox) -> None:
    sandbox.faults.hang()
    threading.Timer(0.15, sandbox.faults.clear).start()
    assert api.http.post(PING, json=BODY).status_code == 200
    assert len(sandbox.store.hits) == 1


def test_drop_fault_processes_the_request_and_sends_no_answer(api: Api, sandbox: Sandbox) -> None:
    sandbox.faults.drop(times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        api.http.post(PING, json=BODY)
    assert len(sandbox.store.hits) == 1
    assert api.http.post(PING, json=BODY).status_code == 200


def test_status_fault_spares_the_widget_file_and_the_dashboard(api: Api, sandbox: Sandbox) -> None:
    sandbox.faults.status(500)
    for path in ("/widget.js", "/", "/sandbox/state"):
        assert api.http.get(path).status_code == 200


def test_describe_lists_each_fault_in_words(sandbox: Sandbox) -> None:
    sandbox.faults.status(500, times=2)
    sandbox.faults.latency(0.5, before=False, only="event")
    sandbox.faults.hang(sender="widget")
    assert sandbox.faults.describe() == [
        "answers 500, 2 more",
        "acts at once, answers after 0.5 s, event",
        "hangs, widget only",
    ]


def test_server_stop_with_hanging_requests_is_prompt_and_processes_none() -> None:
    sandbox, threads = Sandbox(), set(threading.enumerate())
    with ThreadPoolExecutor() as pool:
        with serve(sandbox) as server:
            sandbox.faults.hang()
            hanging = [
                pool.submit(httpx.post, server.url + PING, json=BODY, timeout=60) for _ in range(3)
            ]
            while len(sandbox.store.faulted) < 3:
                time.sleep(0.01)
            began = time.monotonic()
        assert time.monotonic() - began < 20
        for request in hanging:
            request.exception()
    assert not sandbox.store.hits
    assert set(threading.enumerate()) <= threads


async def test_wait_with_stop_and_clear_in_between_does_not_process_the_request() -> None:
    faults = Faults()

    class Asked:
        async def is_disconnected(self) -> bool:
            # Between two looks the server stops, and the next test clears.
            faults.stop()
            faults.clear()
            return False

    assert not await faults.wait(Asked(), 5)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "hang", "only": 5},
        {"kind": "hang", "sender": "robot"},
        {"kind": "status", "code": "x"},
        {"kind": "status", "code": 99},
        {"kind": "status", "code": 500, "times": "many"},
        {"kind": "status", "code": 500, "headers": {"Retry-After": 5}},
        {"kind": "latency", "seconds": "long"},
        {"kind": "latency", "seconds": -1},
    ],
)
def test_faults_that_are_malformed_are_answered_400_and_change_nothing(
    fault: dict[str, object], api: Api, sandbox: Sandbox
) -> None:
    """A 500 of its own would look like an outage of User.com."""
    assert api.http.post("/sandbox/faults", json=fault).status_code == 400
    assert api.http.get("/sandbox/state").json()["faults"] == []
    assert api.ping()


@pytest.mark.parametrize("times", [0, -1, 1.5])
def test_fault_of_a_wrong_number_of_times_is_refused(times: Any) -> None:
    with pytest.raises(ValueError, match="times must be a whole number of 1 or more"):
        Faults().status(500, times=times)
