"""What an attack on the delivery has found (issue 5), each as it was found."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from helpers.fake_sender import FakeSender, make_envelope, running, store_of
from helpers.fake_usercom import CONFIG
from helpers.waiting import until

from usercom_asgi import Event, Outcome, PageHit, ResetAuth, SqliteOutbox, Status, Update
from usercom_asgi.cli import main
from usercom_asgi.core.envelope import Envelope, PageContext, SendResult
from usercom_asgi.core.exceptions import RejectedError, UnavailableError
from usercom_asgi.core.receipts import OutcomeCallbacks
from usercom_asgi.core.serialization import to_text
from usercom_asgi.delivery.circuit_breaker import CircuitBreaker
from usercom_asgi.delivery.retry import RetryPolicy
from usercom_asgi.delivery.service import DeliveryService
from usercom_asgi.delivery.sqlite import database as sqlite_file


def balanced(runtime: DeliveryService) -> bool:
    stats = runtime.stats
    taken = stats.accepted + stats.restored + stats.rejected
    return (
        taken
        == stats.delivered + stats.dropped + stats.dead_lettered + stats.persisted + stats.waiting
    )


def sent(post: FakeSender) -> Counter[int]:
    return Counter(
        int(str(command.data["n"])) for _, command, _ in post.sent if isinstance(command, Event)
    )


# The file.


async def test_a_visitor_who_speaks_as_the_last_word_is_noted_is_not_sent_twice(
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


async def test_two_names_of_one_visitor_do_not_mix_in_the_file(tmp_path: Path) -> None:
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
        await until(lambda: store_of(runtime)._in_memory == {})
    assert sent(post) == {1: 1, 2: 1}
    assert balanced(runtime)


async def test_memory_is_bounded_while_the_file_cannot_be_written(
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


async def test_who_stood_still_for_longer_than_their_lease_lets_go_of_what_others_send(
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


async def test_a_lease_that_only_looks_expired_is_left_alone(
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
        monkeypatch.setattr(
            "usercom_asgi.delivery.sqlite.database.time.time", lambda: real() + 3600
        )
        await anyio.sleep(1.2)  # twice the grace time
        monkeypatch.undo()
        assert (first.stats.restored, second.stats.restored) == (0, 0)
        assert (first.stats.persisted, second.stats.persisted) == (0, 0)


async def test_a_shutdown_does_not_wait_for_a_file_that_somebody_else_has_locked(
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


async def test_a_learned_key_goes_with_what_is_kept(tmp_path: Path) -> None:
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


async def test_and_with_what_had_no_room_in_memory(tmp_path: Path) -> None:
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


async def test_what_cannot_be_written_as_json_costs_itself_alone(tmp_path: Path) -> None:
    post = FakeSender()
    async with running(post, SqliteOutbox(tmp_path / "x.db")) as runtime:
        odd = PageContext(user_agent=b"x")  # type: ignore[arg-type]
        bad = Envelope(command=Event("e", {"n": 1}), ordering_key="a", key="k", page=odd)
        receipts = [runtime.submit(bad), runtime.submit(make_envelope(2))]
        assert await receipts[1].delivered(20)
        assert await runtime.submit(make_envelope(3)).delivered(20)
    assert balanced(runtime)


async def test_a_large_backlog_does_not_hold_up_the_loop(
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


async def test_the_last_line_tells_the_truth(
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


async def test_a_file_that_was_deleted_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.db"
    post = FakeSender()
    async with running(post, SqliteOutbox(path)) as runtime:
        for each in tmp_path.iterdir():
            each.unlink()
        await until(lambda: "moved or deleted" in caplog.text)
        assert await runtime.submit(make_envelope(1)).delivered(20)


# The gate and the lanes.


async def test_a_burst_of_429_is_one_pause() -> None:
    breaker = CircuitBreaker(RetryPolicy())
    async with AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(breaker.call()) for _ in range(8)]
        for n, each in enumerate(calls):
            each.fail(UnavailableError("429", status=429, retry_after=1), f"visitor {n}")
    assert breaker.resumes_at - anyio.current_time() <= 1.01


async def test_what_was_never_sent_does_not_open_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usercom_asgi.delivery.circuit_breaker.AUTH_RETRY_INITIAL", 0.05)

    class Locked(FakeSender):
        async def send(self, envelope: Envelope, key: str | None) -> SendResult:
            if envelope.ordering_key == "nameless":
                raise RejectedError("there is neither a user key nor a known user")
            raise RejectedError("401", status=401)

    async with running(Locked(), shutdown_timeout=0.1) as runtime:
        runtime.submit(make_envelope(0))
        await until(lambda: runtime.readiness().state == "unauthorized")
        nameless = runtime.submit(make_envelope(1, "nameless"))
        assert not await nameless.delivered(5)
        assert nameless.status is Status.DEAD
        assert runtime.readiness().state == "unauthorized"


async def test_a_reset_goes_before_a_backlog() -> None:
    """A response waits for its answer; and ten seconds later it would not be ours any more."""
    post = FakeSender(delay=0.01)
    async with running(post, max_concurrency=1) as runtime:
        for n in range(100):
            runtime.submit(make_envelope(n, f"lane{n}"))
        await until(lambda: len(post.sent) > 2)
        before = len(post.sent)
        reset = runtime.submit(Envelope(command=ResetAuth(), ordering_key="token", may_create=True))
        assert await reset.delivered(20)
    assert before < 90
    assert [lane for lane, _, _ in post.sent].index("token") <= before + 1  # one was on its way


async def test_a_drain_waits_for_what_is_under_way_though_there_is_a_pause() -> None:
    class Mixed(FakeSender):
        async def send(self, envelope: Envelope, key: str | None) -> SendResult:
            if envelope.ordering_key == "limited":
                raise UnavailableError("429", status=429, retry_after=60)
            return await super().send(envelope, key)

    post = Mixed(holding=True)

    async def release(runtime: DeliveryService) -> None:
        await until(lambda: runtime.readiness().state == "closed")
        await anyio.sleep(0.4)  # while it looks whether there is any hope left
        post.release()

    async with anyio.create_task_group() as tasks, running(post) as runtime:
        receipts = [runtime.submit(make_envelope(n, f"lane{n}")) for n in range(7)]
        await until(lambda: post.now == 7)
        runtime.submit(make_envelope(9, "limited"))
        await until(lambda: runtime.readiness().state == "paused")
        tasks.start_soon(release, runtime)
    assert {each.status for each in receipts} == {Status.DELIVERED}
    assert runtime.stats.dropped == 1


async def test_one_bad_value_costs_its_own_update() -> None:
    class Picky(FakeSender):
        async def send(self, envelope: Envelope, key: str | None) -> SendResult:
            answer = await super().send(envelope, key)
            if isinstance(envelope.command, Update) and "bad" in envelope.command.attributes:
                raise RejectedError("answered 400", status=400)
            return answer

    post = Picky(holding=True)
    async with running(post) as runtime:
        runtime.submit(make_envelope(0))
        await until(lambda: post.now == 1)
        receipts = [
            runtime.submit(Envelope(command=Update(each), ordering_key="a", key="key"))
            for each in ({"a": 1}, {"bad": 1}, {"b": 2})
        ]
        post.release()
        assert [await each.delivered(20) for each in receipts] == [True, False, True]
    assert runtime.stats.dead_lettered == 1
    assert balanced(runtime)


async def test_an_error_in_the_accounts_costs_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    post = FakeSender(RejectedError("answered 400", status=400))
    async with running(post) as runtime:
        recorder = runtime._recorder
        log_loss = recorder._log_loss

        def broken(*args: object) -> None:
            monkeypatch.setattr(recorder, "_log_loss", log_loss)
            raise ZeroDivisionError

        monkeypatch.setattr(recorder, "_log_loss", broken)
        receipts = [runtime.submit(make_envelope(n)) for n in range(3)]
        assert [await each.delivered(20) for each in receipts] == [False, True, True]
    assert balanced(runtime)


async def test_a_hook_that_speaks_when_too_much_is_said_is_not_told_of_itself() -> None:
    told: list[Outcome] = []

    def again(outcome: Outcome) -> None:
        told.append(outcome)
        runtimes[0].submit(make_envelope(99))

    post = FakeSender()
    runtimes: list[DeliveryService] = []
    async with running(
        post, callbacks=OutcomeCallbacks(on_dropped=again), max_queue_size=1
    ) as runtime:
        runtimes.append(runtime)
        runtime.submit(make_envelope(0))
        runtime.submit(make_envelope(1))
        assert len(told) == 1
        assert runtime.stats.rejected == 2


async def test_the_delivery_that_cannot_run_says_so() -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[Any]:
        raise OSError("no certificates")
        yield

    runtime = DeliveryService(broken, CONFIG)
    async with anyio.create_task_group() as tasks:
        await tasks.start(runtime.run)
        assert (
            "cannot run"
            in runtime.submit(Envelope(command=PageHit(), ordering_key="a", key="k")).reason
        )
        await runtime.drain()
