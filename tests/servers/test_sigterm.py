"""A server that is told to stop in the middle of its work delivers what it has accepted."""

from __future__ import annotations

import signal

import httpx
import pytest
from conftest import UserCom

from servers.processes import server

BURST = 200

SERVERS = {
    "uvicorn": ["-m", "uvicorn", "burst_app:app", "--port", "{port}"],
    "uvicorn with two workers": ["-m", "uvicorn", "burst_app:app", "--port", "{port}", "--workers", "2"],
    "uvicorn without lifespan": ["-m", "uvicorn", "burst_app:app", "--port", "{port}", "--lifespan", "off"],
    "hypercorn on trio": ["-m", "hypercorn", "burst_app:app", "--bind", "127.0.0.1:{port}", "--worker-class", "trio"],
}


@pytest.mark.parametrize("name", SERVERS)
def test_everything_accepted_arrives(name: str, usercom: UserCom) -> None:
    key = usercom.new_user()
    usercom.faults.latency(0.002)
    with server(SERVERS[name], usercom) as (process, url), httpx.Client(cookies={"__ca__chat": key}) as client:
        for n in range(BURST):
            assert client.get(url, params={"n": n}).status_code == 200
        left = BURST - len(usercom.store.events)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    if "without lifespan" not in name and "two" not in name:
        assert left > 0, "nothing was waiting when the signal came: this test shows nothing"
    said = [each.data["n"] for each in usercom.store.events]
    assert sorted(said) == list(range(BURST)), output.decode()
    if "two" not in name:
        assert said == list(range(BURST))
    assert b"Traceback" not in output, output.decode()
