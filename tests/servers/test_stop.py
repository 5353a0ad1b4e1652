"""SIGSTOP, as a suspended container: a process stands still for longer than its lease, and comes back."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.fake_usercom import FakeUserCom
from helpers.waiting import until_sync

HERE = Path(__file__).parent


@contextmanager
def sender(usercom: FakeUserCom, path: Path, keys: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / "sender.py"), usercom.url, str(path), *keys],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def send(process: subprocess.Popen[str], first: int, last: int) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{first} {last}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "stored\n"


def arrived(usercom: FakeUserCom, key: str) -> list[int]:
    return [each.data["n"] for each in usercom.store.events if each.key == key]


def test_outbox_of_a_process_that_stood_still_beyond_its_lease_keeps_the_order(
    usercom: FakeUserCom, tmp_path: Path
) -> None:
    keys, path = [usercom.new_user() for _ in range(12)], tmp_path / "outbox.db"

    def have_all(many: int) -> bool:
        return all(set(arrived(usercom, key)) == set(range(many)) for key in keys)

    with sender(usercom, path, keys) as still, sender(usercom, path, keys) as other:
        usercom.faults.status(503)
        send(still, 0, 3)
        usercom.faults.latency(60)  # some of its calls are in flight when it stands still
        until_sync(lambda: usercom.sandbox.faults)
        still.send_signal(signal.SIGSTOP)
        usercom.faults.clear()
        until_sync(lambda: have_all(3))  # by the other process
        send(other, 3, 5)
        until_sync(lambda: have_all(5))
        still.send_signal(signal.SIGCONT)
        send(still, 5, 7)
        until_sync(lambda: have_all(7))
        for process in (still, other):
            process.communicate("\n", timeout=60)
            assert process.returncode == 0
    for key in keys:
        assert arrived(usercom, key) == sorted(arrived(usercom, key))
