"""`uvicorn --reload`: two lifespans in sequence, and what the first has accepted arrives."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
from conftest import UserCom
from serving import eventually, free_port

from servers.processes import HERE, end, start, wait_for


def test_what_was_said_before_a_reload_arrives(usercom: UserCom, tmp_path: Path) -> None:
    key = usercom.new_user()
    usercom.faults.latency(0.06)
    app = tmp_path / "burst_app.py"
    shutil.copy(HERE / "burst_app.py", app)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = ["-m", "uvicorn", "burst_app:app", "--port", "{port}", "--reload", "--app-dir", str(tmp_path)]
    process = start([*command, "--reload-dir", str(tmp_path)], usercom, port)
    try:
        wait_for(process, url)
        with httpx.Client(cookies={"__ca__chat": key}, timeout=10) as client:
            for n in range(60):
                assert client.get(url, params={"n": n}).status_code == 200
            assert len(usercom.store.events) < 60, "nothing was waiting: this test shows nothing"
            app.write_text(app.read_text() + "\n# changed\n")
            eventually(lambda: len(usercom.store.events) == 60, within=30)
            wait_for(process, url)
            eventually(lambda: client.get(url, params={"n": 60}).status_code == 200, within=30)
        eventually(lambda: len(usercom.store.events) == 61, within=30)
    finally:
        end(process)
    assert [each.data["n"] for each in usercom.store.events] == list(range(61))
