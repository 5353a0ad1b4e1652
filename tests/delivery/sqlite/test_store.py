"""Requests and deliveries do not wait while the disk is full or the file is locked."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio.to_thread
import pytest
from helpers.fake_sender import FakeSender, balanced, make_envelope, numbers, running, store_of
from helpers.waiting import until

from usercom_asgi import Event, ResetAuth, SqliteOutbox, Update
from usercom_asgi.cli import main
from usercom_asgi.core.envelope import Envelope, PageContext, SendResult
from usercom_asgi.core.exceptions import RejectedError, UnavailableError
from usercom_asgi.core.serialization import to_text
from usercom_asgi.delivery.retry import RetryPolicy
from usercom_asgi.delivery.service import DeliveryService
from usercom_asgi.delivery.sqlite import database as sqlite_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usercom.db"


@contextmanager
def full(runtime: DeliveryService) -> Iterator[None]:
    """Simulate a full disk: the transaction raises the error of SQLite and stores nothing."""
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
async def test_readiness_with_an_unwritable_file_is_failing_and_still_accepting(
    broken: Any, path: Path
) -> None:
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
async def test_store_known_unwritable_file_does_not_delay_requests(broken: Any, path: Path) -> None:
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
async def test_store_unwritable_file_does_not_slow_delivery_of_stored_commands(
    broken: Any, path: Path
) -> None:
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


@pytest.mark.waits
async def test_store_unwritable_file_bounds_the_dead_letters_in_memory(
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
                most = max(
                    most,
                    len(store._buffer.changes.dead_letters) + len(store._buffer.changes.released),
                )
                await until(lambda: runtime.waiting < 99)
            await until(lambda: runtime.stats.dead_lettered == many)
            # While a batch is tried, what gathered before is not seen here.
            for _ in range(60):
                most = max(most, len(store._buffer.changes.dead_letters))
                await anyio.sleep(0.005)
        assert most <= 200
        await until(lambda: rows(path, "dead") == 100)
    with closing(sqlite3.connect(path)) as db:
        bodies = [body for [body] in db.execute("SELECT body FROM dead").fetchall()]
    # The newest; those that were in flight together have died in any order.
    assert min(json.loads(body)["command"]["data"]["n"] for body in bodies) >= many - 150
    assert "dropping the oldest" in caplog.text


@BROKEN
@pytest.mark.usefixtures("quick_lock")
async def test_store_unwritable_file_keeps_new_commands_behind_those_on_disk(
    broken: Any, path: Path
) -> None:
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
async def test_store_drain_with_an_unwritable_file_sends_memory_and_leaves_disk_rows(
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


def sent(post: FakeSender) -> Counter[int]:
    return Counter(
        int(str(command.data["n"])) for _, command, _ in post.sent if isinstance(command, Event)
    )


async def test_store_command_submitted_before_the_last_is_marked_done_is_sent_once(
    tmp_path: Path,
) -> None:
    post = FakeSender()
    async with running(post, SqliteOutbox(tmp_path / "x.db")) as runtime:
        for n in range(60):
            receipt = runtime.submit(make_envelope(n))
            await receipt.stored(20)
            assert await receipt.delivered(20)  # and the next one before the file knows
        for n in range(60, 160):
            runtime.submit(make_envelope(n, f"lane{n % 6}"))
            await anyio.lowlevel.checkpoint()
    assert sent(post) == dict.fromkeys(range(160), 1)
    assert runtime.stats.restored == 0


async def test_store_queues_of_one_visitor_under_token_and_key_send_each_command_once(
    tmp_path: Path,
) -> None:
    """After a reset a visitor may be known by the reset's token and by the new key at the same moment."""
    path = tmp_path / "x.db"
    post = FakeSender(SendResult("K1"), delay=0.02)
    async with running(post, path) as runtime:
        reset = runtime.submit(Envelope(command=ResetAuth(), ordering_key="token"))
        assert await reset.delivered(20)
        runtime.submit(make_envelope(1, "token", "K1"))
        runtime.submit(Envelope(command=Update({"a": 1}), ordering_key="token", key="K1"))
        runtime.submit(Envelope(command=Update({"b": 2}), ordering_key="K1", key="K1"))
        last = runtime.submit(make_envelope(2, "K1", "K1"))
        assert await last.delivered(20)
        await until(lambda: runtime.waiting == 0)
        await until(lambda: store_of(runtime)._buffer.in_memory == {})
    assert sent(post) == {1: 1, 2: 1}
    assert balanced(runtime)


async def test_store_whose_file_cannot_be_written_bounds_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "usercom_asgi.delivery.sqlite.store.POLL_INTERVAL", 0.1
    )  # it pauses that long after each failure
    post = FakeSender(*[UnavailableError("503")] * 1000)
    async with running(
        post,
        SqliteOutbox(tmp_path / "x.db"),
        retry=RetryPolicy(initial_delay=600),
        max_queue_size=10,
        shutdown_timeout=0,
        max_concurrency=1,
    ) as runtime:
        connection = store_of(runtime)._file._connection
        connection.execute(
            f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}"
        )
        long = Event("long", {"t": "x" * 250})
        for n in range(60):
            receipt = runtime.submit(Envelope(command=long, ordering_key=f"lane{n}", key="k"))
            await receipt.stored(20)
        assert runtime.waiting <= 35  # what fits into the file's last pages, and ten more
        assert not runtime.readiness().is_accepting
        assert runtime.stats.rejected > 20
        connection.execute("PRAGMA max_page_count = 100000")
    assert balanced(runtime)


@pytest.mark.waits
async def test_store_that_slept_longer_than_its_lease_evicts_commands_claimed_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop that slept, a machine that was moved: what is in flight may go twice, and no more."""
    path = tmp_path / "x.db"
    sleeper, robber = FakeSender(*[UnavailableError("503")] * 10_000), FakeSender()
    is_awake = threading.Event()
    async with running(
        sleeper, path, retry=RetryPolicy(initial_delay=600), max_concurrency=2, shutdown_timeout=0.2
    ) as first:
        receipts = [first.submit(make_envelope(n, f"lane{n % 20}")) for n in range(100)]
        for each in receipts:
            await each.stored(20)
        # It stands still: its next write comes late.
        file = store_of(first)._file
        transact = file.transact

        def slow(work: Any) -> Any:
            is_awake.wait(60)
            return transact(work)

        monkeypatch.setattr(file, "transact", slow)
        async with running(robber, path) as second:
            await until(lambda: sum(sent(robber).values()) >= 90, within=40)
            is_awake.set()
            await until(lambda: first.stats.persisted > 0)
            assert first.waiting <= 2
            assert balanced(first)
            assert balanced(second)
    assert set(sent(robber).values()) == {1}


@pytest.mark.waits
async def test_store_lease_that_expires_by_a_clock_jump_is_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All processes slept, or the clock has jumped: for a moment every lease has run out."""
    path = tmp_path / "x.db"
    posts = [FakeSender(*[UnavailableError("503")] * 10_000) for _ in range(2)]
    async with (
        running(
            posts[0], SqliteOutbox(path), retry=RetryPolicy(initial_delay=600), shutdown_timeout=0
        ) as first,
        running(
            posts[1], SqliteOutbox(path), retry=RetryPolicy(initial_delay=600), shutdown_timeout=0
        ) as second,
    ):
        for n in range(20):
            await (first, second)[n % 2].submit(make_envelope(n, f"lane{n}")).stored(20)
        real = time.time
        clock = SimpleNamespace(time=lambda: real() + 3600, monotonic=time.monotonic)
        monkeypatch.setattr("usercom_asgi.delivery.sqlite.database.time", clock)
        await anyio.sleep(1.2)  # twice the grace time
        monkeypatch.undo()
        assert (first.stats.restored, second.stats.restored) == (0, 0)
        assert (first.stats.persisted, second.stats.persisted) == (0, 0)


@pytest.mark.waits
async def test_store_shutdown_does_not_wait_for_a_locked_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.db"
    other = await anyio.to_thread.run_sync(
        lambda: sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    )
    post = FakeSender()
    began = 0.0
    async with running(post, SqliteOutbox(path), shutdown_timeout=1) as runtime:
        await runtime.submit(make_envelope(1)).delivered(20)
        other.execute("BEGIN IMMEDIATE")
        runtime.submit(make_envelope(2))
        began = time.monotonic()
    took = time.monotonic() - began
    other.execute("ROLLBACK")
    other.close()
    assert took < 15  # and the lock would have lasted for ever
    assert balanced(runtime)


async def test_store_learned_key_is_kept_with_a_dead_letter(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    post = FakeSender(SendResult("NEW"), RejectedError("answered 400", status=400))
    async with running(post, path) as runtime:
        runtime.submit(Envelope(command=ResetAuth(), ordering_key="token", may_create=True))
        died = runtime.submit(make_envelope(1, "token", None))
        assert not await died.delivered(20)
    assert await anyio.to_thread.run_sync(main, ["outbox", "retry", str(path), "--all"]) == 0
    again = FakeSender()
    async with running(again, path):
        await until(lambda: len(again.sent) == 1)
    assert again.sent[0][2] == "NEW"


async def test_store_learned_key_is_used_for_commands_left_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    post = FakeSender(SendResult("NEW"), holding=True)
    async with running(post, path, max_queue_size=1) as runtime:
        await runtime.submit(
            Envelope(command=ResetAuth(), ordering_key="token", may_create=True)
        ).stored(20)
        purchase = runtime.submit(make_envelope(1, "token", None))
        await purchase.stored(20)
        assert runtime.waiting == 1  # the purchase is on disk alone
        post.release()
        assert await purchase.delivered(20)
    assert post.sent[-1][2] == "NEW"


async def test_store_command_that_json_cannot_encode_does_not_affect_other_commands(
    tmp_path: Path,
) -> None:
    post = FakeSender()
    async with running(post, SqliteOutbox(tmp_path / "x.db")) as runtime:
        odd = PageContext(user_agent=b"x")  # type: ignore[arg-type]
        bad = Envelope(command=Event("e", {"n": 1}), ordering_key="a", key="k", page=odd)
        receipts = [runtime.submit(bad), runtime.submit(make_envelope(2))]
        assert await receipts[1].delivered(20)
        assert await runtime.submit(make_envelope(3)).delivered(20)
    assert balanced(runtime)


async def test_store_large_backlog_is_loaded_in_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.db"
    body = to_text(make_envelope(1, "LANE"))
    async with running(FakeSender(), SqliteOutbox(path)):
        pass
    with sqlite3.connect(path) as db:
        rows = [
            (f"lane{n // 100}", 1e9, body.replace("LANE", f"lane{n // 100}")) for n in range(20_000)
        ]
        db.executemany(
            "INSERT INTO commands (ordering_key, created_at, body) VALUES (?, ?, ?)", rows
        )
        db.executemany(
            "INSERT INTO queues (ordering_key, more) VALUES (?, 1)",
            [(f"lane{n}",) for n in range(200)],
        )
    db.close()
    loads: list[int] = []
    post = FakeSender(*[UnavailableError("503")] * 10_000)
    async with running(
        post,
        SqliteOutbox(path),
        retry=RetryPolicy(initial_delay=600),
        shutdown_timeout=0,
        max_queue_size=5000,
    ) as runtime:
        store = store_of(runtime)
        apply = store._apply

        def counted(puts: Any, done: Any, envelopes: Any) -> None:
            loads.append(len(envelopes))
            apply(puts, done, envelopes)

        monkeypatch.setattr(store, "_apply", counted)
        await until(lambda: runtime.waiting >= 4900, within=60)
        assert 0 < max(loads) <= sqlite_file.MAX_LOADED
        assert runtime.waiting <= 5000


async def test_store_last_log_line_has_the_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path = tmp_path / "x.db"
    post = FakeSender(UnavailableError("503"), *[SendResult(None)] * 100)
    async with running(post, SqliteOutbox(path)) as runtime:
        for n in range(50):
            runtime.submit(make_envelope(n, f"lane{n}"))
        await until(lambda: runtime.waiting == 0)
    [line] = [each.message for each in caplog.records if each.message.startswith("Delivered to")]
    assert "Delivered to User.com: 50, left in the outbox: 0" in line
