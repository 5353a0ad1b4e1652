"""The file cannot be written for a while, since the disk is full or somebody has locked it: nobody is held up by that."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_sender import FakeSender, make_envelope, numbers, running, store_of
from helpers.waiting import until

from usercom_asgi.core.exceptions import RejectedError
from usercom_asgi.delivery.service import DeliveryService


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usercom.db"


@contextmanager
def full(runtime: DeliveryService) -> Iterator[None]:
    """A disk that is full, as SQLite says it at the commit: nothing of the transaction is there."""
    file = store_of(runtime)._file
    real = file.transact

    def transact(work: Any) -> Any:
        raise sqlite3.OperationalError("database or disk is full")

    file.transact = transact  # type: ignore[method-assign]  # a test cannot fill the machine's disk
    try:
        yield
    finally:
        file.transact = real  # type: ignore[method-assign]  # as above


@contextmanager
def locked(runtime: DeliveryService) -> Iterator[None]:
    """Another program has begun to write, and does not come to an end."""
    with closing(sqlite3.connect(store_of(runtime)._file._path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


BROKEN = pytest.mark.parametrize("broken", [full, locked], ids=lambda broken: broken.__name__)


@BROKEN
@pytest.mark.usefixtures("quick_lock")
async def test_a_health_route_sees_a_file_that_is_broken(broken: Any, path: Path) -> None:
    async with running(FakeSender(), path) as runtime:
        await runtime.submit(make_envelope(0)).delivered(20)
        assert runtime.readiness().state == "sending"
        with broken(runtime):
            await runtime.submit(make_envelope(1)).stored(20)
            now = runtime.readiness()
            assert (now.state, now.is_accepting) == ("failing", True)
            assert now.reason == "the outbox's file cannot be written, commands wait in memory only"
        await until(lambda: runtime.readiness().state == "sending")


@pytest.mark.slow
@BROKEN
async def test_requests_do_not_wait_for_a_file_that_is_known_to_be_broken(
    broken: Any, path: Path
) -> None:
    post = FakeSender()
    async with running(post, path) as runtime:
        with broken(runtime):
            await runtime.submit(make_envelope(0)).stored(20)  # this one finds out
            began = time.monotonic()
            for n in range(1, 11):
                await runtime.submit(make_envelope(n)).stored(20)
            took = time.monotonic() - began
            await until(lambda: len(post.sent) == 11)
    assert numbers(post, "a") == list(range(11))
    assert took < 4, f"ten helpers waited for {took:.1f} s"  # they did for ten and more


@BROKEN
@pytest.mark.usefixtures("quick_lock")
async def test_what_is_on_disk_already_goes_out_as_fast_as_ever(broken: Any, path: Path) -> None:
    post = FakeSender(holding=True)
    async with running(post, path) as runtime:
        receipts = [runtime.submit(make_envelope(n, f"lane{n}")) for n in range(300)]
        await until(lambda: all(not each.is_storing for each in receipts))
        with broken(runtime):
            post.release()
            await until(lambda: len(post.sent) == 300, within=15)  # it took 33 s, and 100 s
        await until(lambda: rows(path) == 0)
    assert runtime.stats.delivered == 300


def rows(path: Path, table: str = "commands") -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def test_memory_is_bounded_while_nothing_can_be_written(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A client invents keys, and User.com answers 404 to each: dead letters, of visitors who do not come back."""
    many = 1000
    post = FakeSender(
        *[RejectedError("answered 404", status=404, detail="x" * 500) for _ in range(many)]
    )
    async with running(post, path, max_queue_size=100, max_concurrency=50) as runtime:
        store, most = store_of(runtime), 0
        with full(runtime):
            for n in range(many):
                runtime.submit(make_envelope(n, f"lane{n}"))
                most = max(most, len(store._work.dead_letters) + len(store._work.released))
                await until(lambda: runtime.waiting < 99)
            await until(lambda: runtime.stats.dead_lettered == many)
            # While it is tried, what gathered before is not seen here.
            await until(
                lambda: 0 < len(store._work.dead_letters) <= 100 and not store._work.released
            )
        assert most <= 200
        await until(lambda: rows(path, "dead") == 100)
    with closing(sqlite3.connect(path)) as db:
        bodies = [body for [body] in db.execute("SELECT body FROM dead").fetchall()]
    # The newest; those that were in flight together have died in any order.
    assert min(json.loads(body)["command"]["data"]["n"] for body in bodies) >= many - 150
    assert "dropping the oldest" in caplog.text


@BROKEN
@pytest.mark.usefixtures("quick_lock")
async def test_nothing_overtakes_what_waits_on_disk(broken: Any, path: Path) -> None:
    post = FakeSender(holding=True)
    async with running(post, path, max_queue_size=2) as runtime:
        for n in range(4):  # two in memory, and two on disk alone
            await runtime.submit(make_envelope(n)).stored(20)
        with broken(runtime):
            await runtime.submit(make_envelope(4)).stored(20)
            post.release()
            await until(lambda: len(post.sent) == 2)
            await runtime.submit(make_envelope(5, "b")).stored(20)
            await until(lambda: len(post.sent) == 3)  # others are not held up by that
            assert numbers(post, "a") == [0, 1]
            await runtime.submit(make_envelope(6)).stored(20)
            assert runtime.waiting == 2
        await until(lambda: len(post.sent) == 7)
        await until(lambda: rows(path) == 0)
    assert numbers(post, "a") == [0, 1, 2, 3, 4, 6]
    assert runtime.stats.dropped == 0


@BROKEN
@pytest.mark.usefixtures("quick_lock")
async def test_at_the_end_what_is_in_memory_only_is_sent_and_what_is_on_disk_is_left(
    broken: Any, path: Path
) -> None:
    post = FakeSender(holding=True)
    async with AsyncExitStack() as breaking:
        async with running(post, path, max_queue_size=2) as runtime:
            for n in range(4):
                await runtime.submit(make_envelope(n)).stored(20)
            breaking.enter_context(broken(runtime))
            await runtime.submit(make_envelope(4)).stored(20)
            post.release()
            await until(lambda: len(post.sent) == 2)
        assert numbers(post, "a") == [0, 1, 4]
        assert (runtime.stats.dropped, runtime.stats.waiting) == (0, 0)
