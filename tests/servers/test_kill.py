"""`kill -9`: what was accepted by a SqliteOutbox arrives all the same, from the next process or from another one."""

from __future__ import annotations

import itertools
import os
import re
import signal
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

import httpx
import pytest
from helpers.fake_usercom import FakeUserCom
from helpers.serving import free_port
from helpers.waiting import until_sync

from servers.processes import end, server, start, wait_for

UVICORN = ["-m", "uvicorn", "burst_app:app", "--port", "{port}"]
#: UserComConfig.max_concurrency: so many calls one process has in flight at most.
IN_FLIGHT = 8


class Shoppers:
    """Threads that go on asking; what was answered by 200 is accepted."""

    def __init__(self, url: str, keys: list[str], first: int = 0) -> None:
        self.accepted: list[int] = []
        self.longest = 0.0
        self._url = url
        self._numbers = itertools.count(first)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._shop, args=[key]) for key in keys]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _shop(self, key: str) -> None:
        with httpx.Client(cookies={"__ca__chat": key}, timeout=30) as client:
            while not self._stop.is_set():
                n = next(self._numbers)
                began = time.monotonic()
                try:
                    answer = client.get(self._url, params={"n": n})
                except httpx.TransportError:
                    time.sleep(0.02)  # killed mid-request: the outcome may be unknown
                    continue
                self.longest = max(self.longest, time.monotonic() - began)
                if answer.status_code == 200:
                    self.accepted.append(n)


def arrived(usercom: FakeUserCom) -> Counter[int]:
    return Counter(each.data["n"] for each in usercom.store.events)


def in_order(usercom: FakeUserCom) -> bool:
    """Each visitor's commands have come in the order they were sent, but for those that came again."""
    sent: dict[str, list[int]] = {}
    for each in usercom.store.events:
        numbers = sent.setdefault(each.key, [])
        if each.data["n"] not in numbers:
            numbers.append(each.data["n"])
    return all(numbers == sorted(numbers) for numbers in sent.values())


def waiting(path: Path) -> int:
    db = sqlite3.connect(path)
    try:
        return int(db.execute("SELECT count(*) FROM commands").fetchone()[0])
    finally:
        db.close()


@pytest.mark.parametrize(("channel", "kills"), [("widget", 3), ("rest", 1)])
def test_outbox_of_a_killed_server_is_delivered_by_its_successor(
    usercom: FakeUserCom, tmp_path: Path, channel: str, kills: int
) -> None:
    keys = [usercom.new_user() for _ in range(6)]
    path = tmp_path / "usercom.db"
    usercom.faults.latency(0.05)
    environ = {"OUTBOX": str(path), **usercom.environ(channel)}
    accepted: set[int] = set()
    for kill in range(kills):
        accepted |= shop_and_kill(usercom, keys, kill * 100_000, environ)
    usercom.faults.clear()
    with server(UVICORN, usercom, **environ) as (process, _):
        until_sync(lambda: accepted <= set(arrived(usercom)), within=120)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert sum(count - 1 for count in arrived(usercom).values()) <= kills * IN_FLIGHT
    assert in_order(usercom)
    assert waiting(path) == 0


def shop_and_kill(
    usercom: FakeUserCom, keys: list[str], first: int, environ: dict[str, str]
) -> set[int]:
    port = free_port()
    process = start(UVICORN, usercom, port, **environ)
    try:
        wait_for(process, f"http://127.0.0.1:{port}")
        with Shoppers(f"http://127.0.0.1:{port}", keys, first) as shoppers:
            until_sync(lambda: len(shoppers.accepted) > 60, within=90)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finally:
        end(process)
    return set(shoppers.accepted)


def test_outbox_of_a_killed_worker_is_delivered_by_another_worker(
    usercom: FakeUserCom, tmp_path: Path
) -> None:
    """Two worker processes share the file; one is killed, and the supervisor's new one is not even needed."""
    keys = [usercom.new_user() for _ in range(8)]
    path = tmp_path / "usercom.db"
    usercom.faults.latency(0.03)
    with server([*UVICORN, "--workers", "2"], usercom, OUTBOX=str(path)) as (process, url):
        with Shoppers(url, keys) as shoppers:
            until_sync(lambda: len(shoppers.accepted) > 40, within=90)
            os.kill(worker_of(process.pid), signal.SIGKILL)
            before = len(shoppers.accepted)
            until_sync(lambda: len(shoppers.accepted) > before + 40, within=90)
        usercom.faults.clear()
        until_sync(lambda: set(shoppers.accepted) <= set(arrived(usercom)), within=120)
        until_sync(lambda: waiting(path) == 0, within=60)
    times = arrived(usercom)
    assert sum(count - 1 for count in times.values()) <= IN_FLIGHT
    assert in_order(usercom)


def worker_of(pid: int) -> int:
    """One of the processes that a supervisor has started and that serve."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    serving = [
        int(child)
        for child in children
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    return serving[0]


def test_outbox_that_is_no_database_stops_the_server_with_an_error(
    usercom: FakeUserCom, tmp_path: Path
) -> None:
    path = tmp_path / "usercom.db"
    path.write_text("not a database at all, but somebody's notes\n" * 10)
    process = start(UVICORN, usercom, free_port(), OUTBOX=str(path))
    try:
        output, _ = process.communicate(timeout=90)
    finally:
        end(process)
    assert process.returncode == 3
    assert re.search(rb"usercom-asgi: .*usercom\.db: is not a SQLite database", output), (
        output.decode()
    )
    assert path.read_text().startswith("not a database")
