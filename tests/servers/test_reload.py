"""`uvicorn --reload`: two lifespans in sequence, and what the first has accepted arrives."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
from helpers.fake_usercom import FakeUserCom
from helpers.serving import free_port
from helpers.waiting import until_sync

from servers.processes import HERE, end, start, wait_for


def test_reload_with_pending_commands_delivers_them_all_in_order(
    usercom: FakeUserCom, tmp_path: Path
) -> None:
    key = usercom.new_user()
    usercom.faults.hang()
    app = tmp_path / "burst_app.py"
    shutil.copy(HERE / "burst_app.py", app)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        "-m",
        "uvicorn",
        "burst_app:app",
        "--port",
        "{port}",
        "--reload",
        "--app-dir",
        str(tmp_path),
    ]
    process = start([*command, "--reload-dir", str(tmp_path)], usercom, port)
    try:
        wait_for(process, url)
        with httpx.Client(cookies={"__ca__chat": key}, timeout=30) as client:
            for n in range(60):
                assert client.get(url, params={"n": n}).status_code == 200
            assert not usercom.store.events
            app.write_text(app.read_text() + "\n# changed\n")
            usercom.faults.clear()
            usercom.faults.latency(0.06)  # so that all of it takes longer than to notice the change
            until_sync(lambda: len(usercom.store.events) == 60, within=60)
            wait_for(process, url)
            until_sync(lambda: client.get(url, params={"n": 60}).status_code == 200, within=60)
        until_sync(lambda: len(usercom.store.events) == 61)
    finally:
        end(process)
    assert [each.data["n"] for each in usercom.store.events] == list(range(61))
