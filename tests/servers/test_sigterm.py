"""A server that is told to stop in the middle of its work delivers what it has accepted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from conftest import UserCom
from serving import free_port

HERE = Path(__file__).parent
BURST = 200

SERVERS = {
    "uvicorn": ["-m", "uvicorn", "burst_app:app", "--port", "{port}"],
    "uvicorn with two workers": ["-m", "uvicorn", "burst_app:app", "--port", "{port}", "--workers", "2"],
    "uvicorn without lifespan": ["-m", "uvicorn", "burst_app:app", "--port", "{port}", "--lifespan", "off"],
    "hypercorn on trio": ["-m", "hypercorn", "burst_app:app", "--bind", "127.0.0.1:{port}", "--worker-class", "trio"],
}


@contextmanager
def server(command: list[str], usercom: UserCom) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    environ = {**os.environ, "USERCOM_BASE_URL": usercom.url, "USERCOM_API_KEY": "ABC123"}
    environ.pop("PYTEST_CURRENT_TEST", None)
    process = subprocess.Popen(
        [sys.executable, "-W", "error::ResourceWarning", *(each.format(port=port) for each in command)],
        cwd=HERE, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"{url}/nothing", timeout=2)
                break
            except httpx.TransportError:
                assert process.poll() is None, process.stdout and process.stdout.read().decode()
                assert time.monotonic() < end
                time.sleep(0.05)
        yield process, url
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


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
