"""The file is deleted, moved or replaced while it is in use."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from helpers.fake_sender import FakeSender, balanced, make_envelope, numbers, running
from helpers.waiting import until

from usercom_asgi import SqliteOutbox
from usercom_asgi.core.exceptions import UnavailableError
from usercom_asgi.delivery.retry import RetryPolicy


def rows(path: Path) -> int:
    """Return how many commands the file has; -1 if it is no outbox yet."""
    if not path.exists() or not path.stat().st_size:
        return -1
    with closing(sqlite3.connect(path)) as db:
        try:
            return int(db.execute("SELECT count(*) FROM commands").fetchone()[0])
        except sqlite3.OperationalError:
            return -1


@pytest.mark.parametrize("what", ["x.db", "x.db*", "replaced"])
async def test_store_deleted_or_replaced_file_is_made_anew_with_the_commands_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """`rm`, a restored backup, a volume that was mounted again."""
    path = tmp_path / "x.db"
    down = FakeSender(*[UnavailableError("503")] * 10_000)
    patience = RetryPolicy(initial_delay=600)
    async with running(down, SqliteOutbox(path), retry=patience, shutdown_timeout=0) as runtime:
        for n in range(10):
            await runtime.submit(make_envelope(n, "ab"[n % 2])).stored(20)
        if what == "replaced":
            async with running(FakeSender(), SqliteOutbox(tmp_path / "other.db")):
                pass
            (tmp_path / "other.db").rename(path)
        else:
            for each in tmp_path.glob(what):
                each.unlink()
        await runtime.submit(make_envelope(10, "a")).stored(20)
        assert rows(path) == 11
        assert runtime.readiness().reason == "503"  # no trouble with the file
        assert runtime.stats.persisted == 0
        assert balanced(runtime)
    assert caplog.text.count("was moved or deleted while in use, making it anew") == 1
    post = FakeSender()
    async with running(post, path):
        await until(lambda: len(post.sent) == 11)
    assert numbers(post, "a") == [0, 2, 4, 6, 8, 10]
    assert numbers(post, "b") == [1, 3, 5, 7, 9]


async def test_store_deleted_file_of_two_owners_is_made_anew_once(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    posts = [FakeSender(holding=True) for _ in range(2)]
    async with (
        running(posts[0], SqliteOutbox(path)) as first,
        running(posts[1], SqliteOutbox(path)) as second,
    ):
        for turn in range(3):
            receipts = [
                (first, second)[n % 2].submit(make_envelope(10 * turn + n, f"lane{n}"))
                for n in range(6)
            ]
            for each in receipts:
                await each.stored(20)
            for file in tmp_path.iterdir():
                file.unlink()
        await until(lambda: rows(path) == 18)
        for post in posts:
            post.release()
        await until(lambda: sum(len(each.sent) for each in posts) == 18)
        await until(lambda: rows(path) == 0)
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA quick_check").fetchone() == ("ok",)
    for lane in range(6):
        assert numbers(posts[lane % 2], f"lane{lane}") == [lane, 10 + lane, 20 + lane]


async def test_store_deleted_folder_is_logged_and_commands_are_delivered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "var"
    folder.mkdir()
    post = FakeSender()
    async with running(post, SqliteOutbox(folder / "x.db")) as runtime:
        shutil.rmtree(folder)
        assert await runtime.submit(make_envelope(1)).delivered(20)
        assert "cannot be written (the file was moved or deleted while in use)" in caplog.text
        folder.mkdir()
        await until(lambda: not runtime.readiness().reason)
        receipt = runtime.submit(make_envelope(2))
        await receipt.stored(20)
        assert (folder / "x.db").exists()
