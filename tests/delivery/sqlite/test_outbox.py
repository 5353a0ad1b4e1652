"""Commands wait in a file: what is accepted is on disk, for this process and the next."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import stat
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from helpers.fake_sender import FakeSender, make_envelope, numbers, running, store_of
from helpers.waiting import until

from usercom_asgi import (
    ConfigurationError,
    Event,
    OutboxError,
    PageHit,
    Receipt,
    ResetAuth,
    SqliteOutbox,
    Status,
    Update,
)
from usercom_asgi.core.envelope import Envelope, SendResult
from usercom_asgi.core.exceptions import RejectedError, UnavailableError
from usercom_asgi.core.receipts import PendingReceipt
from usercom_asgi.core.serialization import to_text
from usercom_asgi.delivery.retry import RetryPolicy
from usercom_asgi.delivery.service import DeliveryService
from usercom_asgi.delivery.sqlite.admin import dead_rows


@asynccontextmanager
async def several(*runtimes: Any) -> AsyncIterator[list[DeliveryService]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(each) for each in runtimes]


def rows(path: Path, table: str = "commands") -> int:
    with sqlite3.connect(path) as db:
        [count] = db.execute(f"SELECT count(*) FROM {table}").fetchone()
    db.close()
    return int(count)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usercom.db"


def down() -> FakeSender:
    return FakeSender(*[UnavailableError("503", status=503)] * 10_000)


async def stored(*receipts: PendingReceipt) -> None:
    for receipt in receipts:
        await receipt.stored(20)
        assert not receipt.is_storing


async def test_outbox_accepted_command_is_stored_and_deleted_after_delivery(path: Path) -> None:
    post = FakeSender(delay=0.05)
    async with running(post, path) as runtime:
        receipts = [runtime.submit(make_envelope(n, f"lane{n % 3}")) for n in range(12)]
        await stored(*receipts)
        assert rows(path) + len(post.sent) >= 12
        assert [await each.delivered(20) for each in receipts] == [True] * 12
    for lane in range(3):
        assert numbers(post, f"lane{lane}") == list(range(lane, 12, 3))
    assert (rows(path), rows(path, "queues"), rows(path, "owners")) == (0, 0, 0)
    assert runtime.stats.delivered == 12
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_outbox_commands_left_at_shutdown_are_delivered_by_the_next_run_in_order(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(
        down(), path, retry=RetryPolicy(initial_delay=600), shutdown_timeout=0.1
    ) as runtime:
        receipts = [runtime.submit(make_envelope(n, "abcde"[n % 5])) for n in range(50)]
        await stored(*receipts)
    assert "left in the outbox: 50" in caplog.text
    assert {each.status for each in receipts} == {Status.ACCEPTED}
    stats = runtime.stats
    assert (stats.accepted, stats.persisted, stats.dropped, stats.waiting) == (50, 50, 0, 0)
    post = FakeSender()
    async with running(post, path) as runtime:
        await until(lambda: len(post.sent) == 50)
    for lane in "abcde":
        assert numbers(post, lane) == sorted(numbers(post, lane))
    assert (runtime.stats.restored, runtime.stats.delivered) == (50, 50)
    assert rows(path) == 0


@pytest.mark.slow
async def test_outbox_burst_of_commands_is_stored_in_few_commits(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = 0
    post = FakeSender()
    async with running(post, path, max_queue_size=2000) as runtime:
        file = store_of(runtime)._file
        transact = file.transact

        def counted(work: Any) -> Any:
            nonlocal commits
            commits += 1
            time.sleep(0.002)  # a disk's own time, so that the figure does not depend on this one's
            return transact(work)

        monkeypatch.setattr(file, "transact", counted)
        receipts: list[Receipt] = []
        longest = 0.0

        async def submit_event(n: int) -> None:
            receipts.append(runtime.submit(make_envelope(n, f"lane{n}")))
            await receipts[-1].stored(20)

        async def tick() -> None:
            nonlocal longest
            while True:
                before = time.perf_counter()
                await anyio.sleep(0.001)
                longest = max(longest, time.perf_counter() - before)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tick)
            async with anyio.create_task_group() as submitters:
                for n in range(1000):
                    submitters.start_soon(submit_event, n)
            inserted = commits
            tasks.cancel_scope.cancel()
        await until(lambda: len(post.sent) == 1000, within=30)
    assert inserted < 50
    assert longest < 5  # others go on meanwhile


@pytest.mark.waits
async def test_outbox_shared_by_several_runtimes_sends_each_command_once_in_order(
    path: Path,
) -> None:
    """As several worker processes do: what one of them has accepted may be another's to send."""
    sent: list[tuple[str, int]] = []

    class Shared(FakeSender):
        async def send(self, envelope: Envelope, key: str | None) -> SendResult:
            answer = await super().send(envelope, key)
            assert isinstance(envelope.command, Event)
            sent.append((envelope.ordering_key, int(str(envelope.command.data["n"]))))
            return answer

    # The leases are long ones: who stands still for longer than a lease may send twice what was in flight.
    async with several(
        *(running(Shared(delay=0.002), SqliteOutbox(path)) for _ in range(3))
    ) as runtimes:
        for n in range(150):
            await runtimes[n % 3].submit(make_envelope(n, "abcd"[n % 4])).stored(20)
        await until(lambda: len(sent) >= 150, within=60)
    assert sorted(n for _, n in sent) == list(range(150))
    for lane in "abcd":
        numbers_sent = [n for each, n in sent if each == lane]
        assert numbers_sent == sorted(numbers_sent)
    assert rows(path) == 0


@pytest.mark.waits
async def test_outbox_queues_of_a_killed_process_are_taken_over_after_its_lease(path: Path) -> None:
    async with running(
        down(), path, retry=RetryPolicy(initial_delay=600), shutdown_timeout=0
    ) as runtime:
        await stored(*(runtime.submit(make_envelope(n)) for n in range(5)))
        # As `kill -9` leaves it: an owner that will not come back, and a lease that runs.
        with sqlite3.connect(path) as db:
            db.execute("UPDATE owners SET owner = 'gone'")
            db.execute("UPDATE queues SET owner = 'gone'")
        db.close()
    with sqlite3.connect(path) as db:
        db.execute("INSERT OR REPLACE INTO owners VALUES ('gone', ?)", (time.time() + 1,))
        db.execute("UPDATE queues SET owner = 'gone'")
    db.close()
    post = FakeSender()
    async with running(post, path):
        await anyio.sleep(0.5)
        assert post.sent == []
        await until(lambda: len(post.sent) == 5, within=30)
    assert numbers(post, "a") == [0, 1, 2, 3, 4]


@pytest.mark.waits
async def test_outbox_commands_beyond_max_queue_size_wait_on_disk_and_are_delivered(
    path: Path,
) -> None:
    post = down()
    async with running(
        post, path, retry=RetryPolicy(initial_delay=600), max_queue_size=10, shutdown_timeout=0
    ) as runtime:
        for n in range(60):
            await runtime.submit(make_envelope(n, f"lane{n % 30}")).stored(20)
        assert runtime.waiting <= 11
        assert rows(path) == 60
    post = FakeSender()
    async with running(post, path, max_queue_size=10) as runtime:
        await until(lambda: len(post.sent) == 60, within=60)
        assert runtime.waiting <= 10
    for lane in range(30):
        assert numbers(post, f"lane{lane}") == [lane, lane + 30]


async def test_outbox_receipt_of_a_command_that_waited_on_disk_is_delivered(path: Path) -> None:
    post = FakeSender(holding=True)
    async with running(post, path, max_queue_size=3) as runtime:
        receipts = []
        for n in range(20):
            receipts.append(runtime.submit(make_envelope(n, f"lane{n}")))
            await receipts[-1].stored(20)
        post.release()
        assert [await each.delivered(20) for each in receipts] == [True] * 20
    stats = runtime.stats
    assert (stats.accepted, stats.delivered) == (20, 20)
    assert stats.restored == stats.persisted > 0


async def test_stats_for_commands_left_on_disk_and_loaded_add_up(
    path: Path,
) -> None:
    post = FakeSender(holding=True)
    async with running(post, path, max_queue_size=1) as runtime:
        for n in range(5):
            await runtime.submit(make_envelope(n, f"lane{n}")).stored(20)
        assert runtime.stats.persisted == 4
        post.release()
        await until(lambda: runtime.stats.delivered == 5)
        assert (runtime.stats.accepted, runtime.stats.persisted, runtime.stats.restored) == (
            5,
            4,
            4,
        )


async def test_outbox_commands_beyond_max_rows_are_dropped(path: Path) -> None:
    async with running(
        down(),
        SqliteOutbox(path, max_rows=5),
        retry=RetryPolicy(initial_delay=600),
        shutdown_timeout=0,
    ) as runtime:
        receipts = [runtime.submit(make_envelope(n)) for n in range(8)]
    assert [each.status for each in receipts] == [Status.ACCEPTED] * 5 + [Status.DROPPED] * 3
    assert "max_rows" in receipts[-1].reason
    assert rows(path) == 5


async def test_outbox_rejected_command_is_moved_to_the_dead_letters(path: Path) -> None:
    async with running(
        FakeSender(RejectedError("answered 400", status=400, detail="no such event")), path
    ) as runtime:
        receipts = [runtime.submit(make_envelope(n)) for n in range(2)]
        assert not await receipts[0].delivered(20)
        assert await receipts[1].delivered(20)
    assert receipts[0].status is Status.DEAD
    with sqlite3.connect(path) as db:
        [letter] = db.execute(
            "SELECT ordering_key, status, reason, detail, body FROM dead"
        ).fetchall()
    db.close()
    assert letter[:4] == ("a", 400, "refused: answered 400", "no such event")
    assert '"n":0' in letter[4]
    assert rows(path) == 0


async def test_outbox_hit_partly_sent_before_a_restart_sends_only_its_event(path: Path) -> None:
    with_event = PageHit(event=Event("with", {"n": 1}))
    post = FakeSender(
        SendResult("named", next_command=with_event.event), *[UnavailableError("503")] * 1000
    )
    async with running(
        post, path, retry=RetryPolicy(initial_delay=600), shutdown_timeout=0
    ) as runtime:
        await runtime.submit(Envelope(command=with_event, ordering_key="a", key="key")).stored(20)
        await stored(runtime.submit(make_envelope(2)))
        await until(lambda: len(post.sent) == 2)
    post = FakeSender()
    async with running(post, path):
        await until(lambda: len(post.sent) == 2)
    # With the key that User.com has named, too.
    assert [(type(command), key) for _, command, key in post.sent] == [
        (Event, "named"),
        (Event, "named"),
    ]


async def test_submit_consecutive_updates_stores_and_deletes_a_row_each(path: Path) -> None:
    post = FakeSender(holding=True)
    async with running(post, path) as runtime:
        runtime.submit(make_envelope(0))
        await until(lambda: post.now == 1)
        receipts = [
            runtime.submit(
                Envelope(command=Update({f"a{n}": n, "x": n}), ordering_key="a", key="key")
            )
            for n in range(5)
        ]
        await stored(*receipts)
        assert rows(path) == 6
        post.release()
        assert all([await each.delivered(20) for each in receipts])
    assert [command.attributes for _, command, _ in post.sent[1:]] == [
        {f"a{n}": n, "x": n} for n in range(5)
    ]
    assert rows(path) == 0
    assert runtime.stats.delivered == 6


async def test_outbox_expired_reset_after_a_restart_is_not_sent(path: Path) -> None:
    async with running(
        down(), path, retry=RetryPolicy(initial_delay=600), shutdown_timeout=0
    ) as runtime:
        old = Envelope(command=ResetAuth(), ordering_key="reset", may_create=True)
        await runtime.submit(old).stored(20)
    with sqlite3.connect(path) as db:
        for row, body in db.execute("SELECT id, body FROM commands").fetchall():
            db.execute(
                "UPDATE commands SET body = ? WHERE id = ?",
                (body.replace('"created_at":', '"created_at":0.0'), row),
            )
    db.close()
    post = FakeSender()
    async with running(post, path):
        await until(lambda: rows(path) == 0)
    assert post.sent == []


async def test_outbox_row_that_is_no_command_is_moved_to_the_dead_letters(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(
        down(), path, retry=RetryPolicy(initial_delay=600), shutdown_timeout=0
    ) as runtime:
        await stored(*(runtime.submit(make_envelope(n)) for n in range(3)))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE commands SET body = 'nonsense' WHERE id = 2")
    db.close()
    post = FakeSender()
    async with running(post, path):
        await until(lambda: len(post.sent) == 2)
    assert numbers(post, "a") == [0, 2]
    assert (rows(path), rows(path, "dead")) == (0, 1)
    assert "dead letters" in caplog.text


# What cannot be used, at start.


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE customers (name TEXT)")
    db.close()


def garbage(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + os.urandom(5000))


def text(path: Path) -> None:
    path.write_text("to do: buy milk\n" * 100)


def newer(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA application_id = 0x75636F6D")
        db.execute("PRAGMA user_version = 99")
    db.close()


def folder(path: Path) -> None:
    path.mkdir()


UNUSABLE = {
    foreign: "another program's database",
    garbage: "is not a SQLite database, or is damaged",
    text: "is not a SQLite database",
    newer: "another version",
    folder: "directory",
}


@pytest.mark.parametrize("make", UNUSABLE, ids=lambda make: make.__name__)
async def test_outbox_unusable_file_at_start_raises_a_clear_error(make: Any, path: Path) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(BaseExceptionGroup) as raised:
        async with running(FakeSender(), path):
            pass
    error = raised.value.exceptions[0]
    assert isinstance(error, OutboxError)
    assert UNUSABLE[make] in str(error)
    assert str(path) in str(error)
    if before is not None:
        assert path.read_bytes() == before, "a file that is not ours was changed"


@pytest.mark.parametrize("make", UNUSABLE, ids=lambda make: make.__name__)
async def test_outbox_unusable_file_with_on_error_memory_delivers_and_logs_an_error(
    make: Any, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(path)
    post = FakeSender()
    async with running(post, SqliteOutbox(path, on_error="memory")) as runtime:
        assert await runtime.submit(make_envelope(1)).delivered(20)
    [line] = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert UNUSABLE[make] in line.message
    assert "in memory only" in line.message


async def test_outbox_in_a_missing_folder_raises_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "missing" / "x.db", Path("var/usercom.db")):
        with pytest.raises(BaseExceptionGroup) as raised:
            async with running(FakeSender(), path):
                pass
        full = tmp_path / path
        assert (
            str(raised.value.exceptions[0])
            == f"{full}: the folder {full.parent} is missing, create it first"
        )


@pytest.mark.skipif(
    not Path("/sys").is_dir(), reason="there is no /sys, where nobody may make files"
)
async def test_outbox_in_an_unwritable_folder_raises_an_error() -> None:
    with pytest.raises(BaseExceptionGroup) as raised:
        async with running(FakeSender(), Path("/sys/usercom.db")):
            pass
    assert "cannot be written by this process" in str(raised.value.exceptions[0])


async def test_outbox_damaged_file_at_start_raises_an_error(path: Path) -> None:
    async with running(
        down(), path, retry=RetryPolicy(initial_delay=600), shutdown_timeout=0
    ) as runtime:
        await stored(*(runtime.submit(make_envelope(n, "x" * 200)) for n in range(300)))
    data = bytearray(path.read_bytes())
    for page in range(4, len(data) // 4096 - 1):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(BaseExceptionGroup) as raised:
        async with running(FakeSender(), path):
            pass
    assert "damaged" in str(raised.value.exceptions[0])


async def test_outbox_full_disk_delivers_from_memory_and_logs_one_line(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite may allocate no more pages, and raises a real "database or disk is full"."""
    post = FakeSender()
    async with running(post, path) as runtime:
        connection = store_of(runtime)._file._connection
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        receipts = [
            runtime.submit(
                Envelope(command=Event("long", {"n": n, "t": "x" * 200}), ordering_key="a", key="k")
            )
            for n in range(60)
        ]
        await stored(*receipts)
        assert [await each.delivered(20) for each in receipts] == [True] * 60
        connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
    assert numbers(post, "a") == list(range(60))
    assert len([each for each in caplog.records if "cannot be written" in each.message]) == 1
    assert rows(path) == 0


@pytest.mark.parametrize(
    ("path_given", "settings"),
    [
        ("", {}),
        (":memory:", {}),
        ("file:x?mode=ro", {}),
        (3, {}),
        ("x", {"on_error": "ignore"}),
        ("x", {"max_rows": 0}),
        ("x", {"lease": 0}),
    ],
)
def test_outbox_malformed_arguments_raise_configuration_error(
    path_given: Any, settings: Any
) -> None:
    with pytest.raises(ConfigurationError):
        SqliteOutbox(path_given, **settings)


GOOD = to_text(make_envelope(1, "bad"))
DAMAGED = {
    "a huge date": re.sub(r'"created_at":[\d.]+', '"created_at":1' + "0" * 400, GOOD),
    "no date": re.sub(r'"created_at":[\d.]+', '"created_at":NaN', GOOD),
    "a deep one": "[" * 100_000,
    "another's": to_text(make_envelope(1, "somebody else")),
    "no text": GOOD.encode().replace(b"said", b"s\xff\xfed"),
    "no UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("body", DAMAGED.values(), ids=DAMAGED)
async def test_outbox_damaged_row_is_dead_lettered_and_other_rows_are_delivered(
    body: str | bytes, path: Path
) -> None:
    async with running(FakeSender(), path):
        pass
    with sqlite3.connect(path) as db:
        for lane, text in (
            ("bad", body),
            ("bad", to_text(make_envelope(2, "bad"))),
            ("good", to_text(make_envelope(3, "good"))),
        ):
            # Bytes become a text that is none, as a disk's error leaves it.
            db.execute(
                "INSERT INTO commands (ordering_key, created_at, body) VALUES (?, 1, CAST(? AS TEXT))",
                (lane, text),
            )
            db.execute("INSERT OR IGNORE INTO queues (ordering_key, more) VALUES (?, 1)", (lane,))
    db.close()
    post = FakeSender()
    async with running(post, path):
        await until(lambda: len(post.sent) == 2)
        await until(lambda: rows(path) == 0)
    assert (numbers(post, "bad"), numbers(post, "good")) == ([2], [3])
    assert rows(path, "dead") == 1
    assert len(dead_rows(path, 10)) == 1


def test_outbox_of_a_relative_path_stays_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outbox = SqliteOutbox("usercom.db")
    monkeypatch.chdir("/")
    assert outbox.path == tmp_path / "usercom.db"
    assert repr(outbox) == "SqliteOutbox('usercom.db')"


@pytest.mark.parametrize("lease", [0, 3600, 7200, "10"])
def test_outbox_lease_out_of_range_is_refused_with_the_range(lease: Any) -> None:
    with pytest.raises(ConfigurationError, match="from 1 to less than 3600, got"):
        SqliteOutbox("x.db", lease=lease)
