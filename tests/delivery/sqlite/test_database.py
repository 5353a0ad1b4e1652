"""Rows of the outbox's file."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from usercom_asgi.api.client import Response
from usercom_asgi.delivery.sqlite.admin import Row
from usercom_asgi.delivery.sqlite.database import (
    LEASE_GRACE,
    FileMovedError,
    LoadedRow,
    SqliteFile,
    WriteBatch,
    WriteResult,
)
from usercom_asgi.delivery.sqlite.schema import BESIDE, connect


def test_repr_of_rows_and_responses_holds_no_key() -> None:
    key = "abcdef123456"
    letter = f'{{"user": {{"key": "{key}"}}}}'
    put = (key, 1.0, letter)
    dead_letter = (key, 1.0, letter, 404, "refused", letter)
    loaded = LoadedRow(1, key, key, letter)
    made = [
        Response(200, body=letter.encode()),
        loaded,
        Row(1, key, 1.0, letter),
        *(
            WriteBatch(puts=[put], dead_letters=[dead_letter], keys=[(key, key)]),
            WriteResult(loaded=[loaded]),
        ),
    ]
    assert not [each for each in made if key in repr(each)]


class Clocks:
    """The clock of the wall and the monotonic one, as the file reads them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.steady = 1_800_000_000.0, 1000.0
        module = "usercom_asgi.delivery.sqlite.database"
        # Not in the module `time` itself: the event loop of a sandbox in another thread would
        # wait for hours.
        clocks = SimpleNamespace(time=lambda: self.wall, monotonic=lambda: self.steady)
        monkeypatch.setattr(f"{module}.time", clocks)
        monkeypatch.setattr(f"{module}.LEASE_GRACE", LEASE_GRACE)

    def go(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def look(file: SqliteFile) -> list[int]:
    """Search for work as a running owner does each second; return the rows found."""
    done = file.transact(WriteBatch(room=10, claim_orphans=True))
    return [each.row for each in done.loaded]


def killed_owner(path: Path) -> None:
    """Leave a command to an owner that never comes back."""
    file = SqliteFile(path, 10)
    file.transact(WriteBatch(puts=[("a", 1.0, "{}")], room=10))
    file.abandon()


def seconds_until_found(file: SqliteFile, clocks: Clocks) -> int:
    for seconds in range(60):
        if look(file):
            return seconds
        clocks.go(1)
    raise AssertionError("the queue is stuck")


@pytest.mark.parametrize("ahead", [3600, 10 * 365 * 86400, 0, -3600])
def test_file_of_an_owner_killed_while_the_clock_was_wrong_is_claimed(
    tmp_path: Path, clocks: Clocks, ahead: float
) -> None:
    path = tmp_path / "x.db"
    clocks.wall += ahead
    killed_owner(path)
    clocks.wall -= ahead
    file = SqliteFile(path, 10)
    assert seconds_until_found(file, clocks) <= 10 + LEASE_GRACE + 2
    file.close()


@pytest.mark.parametrize("jump", [3600, -3600, 10 * 365 * 86400])
def test_file_after_a_jump_of_the_clock_stays_with_its_living_owner(
    tmp_path: Path, clocks: Clocks, jump: float
) -> None:
    path = tmp_path / "x.db"
    owner, other = SqliteFile(path, 10), SqliteFile(path, 10)
    owner.transact(WriteBatch(puts=[("a", 1.0, "{}")], room=10))
    for second in range(40):
        clocks.go(1)
        if second == 20:
            clocks.wall += jump
        assert not look(other)
        assert owner.transact(WriteBatch()).still_ours is None
    late = SqliteFile(path, 10)  # a process that starts then does not remove it either
    assert not look(late)
    for file in (owner, other, late):
        file.close()


def test_file_after_all_processes_stood_still_stays_with_its_owner(
    tmp_path: Path, clocks: Clocks
) -> None:
    """`docker pause`: the clocks go on, and for a moment no lease has been renewed for hours."""
    path = tmp_path / "x.db"
    owner, other = SqliteFile(path, 10), SqliteFile(path, 10)
    owner.transact(WriteBatch(puts=[("a", 1.0, "{}")], room=10))
    assert not look(other)
    clocks.go(7200)
    assert not look(other)
    assert owner.transact(WriteBatch()).still_ours is None
    assert not look(other)
    for file in (owner, other):
        file.close()


def test_file_of_an_owner_that_stood_still_is_claimed_and_the_owner_notices(
    tmp_path: Path, clocks: Clocks
) -> None:
    path = tmp_path / "x.db"
    owner, other = SqliteFile(path, 10), SqliteFile(path, 10)
    owner.transact(WriteBatch(puts=[("a", 1.0, "{}")], room=10))
    assert seconds_until_found(other, clocks) >= 10
    assert owner.transact(WriteBatch()).still_ours == set()
    for file in (owner, other):
        file.close()


def test_file_that_a_process_opens_twice_keeps_its_write_ahead_log(tmp_path: Path) -> None:
    """A second outbox, or the command, must not drop the locks of the first one.

    The next program that closes the file would take itself for the last one, and delete
    the log into which the first one goes on to write.
    """
    path = tmp_path / "x.db"
    first, second = SqliteFile(path, 10), SqliteFile(path, 10)
    first.transact(WriteBatch(puts=[("a", 1.0, "{}")], room=10))
    before = (tmp_path / "x.db-wal").stat().st_ino
    code = "import sys, usercom_asgi.cli; sys.exit(usercom_asgi.cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "outbox", "list", str(path)]
    assert b"waiting: 1" in subprocess.run(command, capture_output=True, check=True).stdout
    assert (tmp_path / "x.db-wal").stat().st_ino == before
    first.close()
    second.close()


def test_file_that_alone_was_deleted_is_made_anew_without_the_old_log(tmp_path: Path) -> None:
    """`rm outbox.db` leaves the files beside it, which SQLite would take for the new one's."""
    path = tmp_path / "x.db"
    first = SqliteFile(path, 10)
    first.transact(WriteBatch(puts=[("a", 1.0, "{}")], room=10))
    first.check_place()
    before = [(tmp_path / f"x.db{end}").stat().st_ino for end in BESIDE]
    path.unlink()
    second = SqliteFile(path, 10)  # as a process that starts then
    second.transact(WriteBatch(puts=[("b", 1.0, "{}")], room=10))
    with pytest.raises(FileMovedError):
        first.check_place()
    third = first.reopen()
    assert [(tmp_path / f"x.db{end}").stat().st_ino for end in BESIDE] != before
    assert third.count(10) == second.count(10) == 1
    assert third.adopt([("a", 1.0, "{}", ""), ("b", 1.0, "{}", "")]) == [2, None]
    assert second.count(10) == 2
    for file in (second, third):
        file.close()


READ_ONLY = """
import fcntl, os, sqlite3, sys  # this user may not read the modules later
from pathlib import Path
from usercom_asgi.core.exceptions import OutboxError
from usercom_asgi.delivery.sqlite import admin
from usercom_asgi.delivery.sqlite.schema import connect

if os.getuid() == 0:
    os.setuid(65534)  # the file's mode does not bind root
for use in (connect, lambda path: admin.purge(path, "commands")):
    try:
        use(Path(sys.argv[1]))
    except OutboxError as error:
        print(error)
print(admin.summary(Path(sys.argv[1])).waiting)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the modes of POSIX")
def test_file_that_is_read_only_cannot_be_used_but_looked_at() -> None:
    # Not in tmp_path, whose folders other users cannot enter.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "usercom.db"
        connect(path).close()
        Path(folder).chmod(0o777)
        path.chmod(0o444)
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(path)], capture_output=True, text=True, check=True
        )
    *refused, waiting = done.stdout.splitlines()
    assert len(refused) == 2
    assert all("cannot be written by this process" in each for each in refused)
    assert waiting == "0"
