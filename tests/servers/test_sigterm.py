"""Delivery of the accepted commands by a server that gets SIGTERM while it is busy."""

from __future__ import annotations

import signal

import httpx
import pytest
from helpers.fake_usercom import FakeUserCom

from servers.processes import server

BURST = 200

SERVERS = {
    "uvicorn": ["-m", "uvicorn", "burst_app:app", "--port", "{port}"],
    "uvicorn with two workers": [
        "-m",
        "uvicorn",
        "burst_app:app",
        "--port",
        "{port}",
        "--workers",
        "2",
    ],
    "uvicorn without lifespan": [
        "-m",
        "uvicorn",
        "burst_app:app",
        "--port",
        "{port}",
        "--lifespan",
        "off",
    ],
    "uvicorn by REST": ["-m", "uvicorn", "burst_app:app", "--port", "{port}"],
    "hypercorn on trio": [
        "-m",
        "hypercorn",
        "burst_app:app",
        "--bind",
        "127.0.0.1:{port}",
        "--worker-class",
        "trio",
    ],
}


@pytest.mark.parametrize("name", SERVERS)
def test_sigterm_with_pending_commands_delivers_them_all(name: str, usercom: FakeUserCom) -> None:
    key = usercom.new_user()
    channel = "rest" if "REST" in name else "widget"
    has_lifespan = "without lifespan" not in name
    if has_lifespan:
        usercom.faults.hang()  # all of it waits when the signal comes
    else:
        usercom.faults.latency(0.002)  # each request delivers for itself, behind its response
    with (
        server(SERVERS[name], usercom, **usercom.environ(channel)) as (process, url),
        httpx.Client(cookies={"__ca__chat": key}, timeout=30) as client,
    ):
        for n in range(BURST):
            assert client.get(url, params={"n": n}).status_code == 200
        if has_lifespan:
            assert not usercom.store.events
        process.send_signal(signal.SIGTERM)
        usercom.faults.clear()
        output, _ = process.communicate(timeout=60)
    delivered = [each.data["n"] for each in usercom.store.events]
    assert sorted(delivered) == list(range(BURST)), output.decode()
    if (
        has_lifespan and "two" not in name
    ):  # what delivers behind a response may be overtaken by the next request
        assert delivered == list(range(BURST))
    assert b"Traceback" not in output, output.decode()
