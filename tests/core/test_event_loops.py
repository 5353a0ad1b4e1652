from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from helpers.waiting import until_sync

from usercom_asgi.core.event_loops import current_loop, run_in_loop, start_task


async def one() -> int:
    await anyio.lowlevel.checkpoint()
    return 1


async def test_run_in_loop_from_a_plain_thread_returns_the_result() -> None:
    loop, results, done = current_loop(), [], anyio.Event()

    def work() -> None:
        results.append(run_in_loop(loop, one, "event"))

    thread = threading.Thread(target=work)
    thread.start()
    with anyio.fail_after(30):
        while thread.is_alive():
            await anyio.sleep(0.01)
    done.set()
    assert results == [1]


async def test_run_in_loop_on_the_thread_of_a_loop_raises() -> None:
    with pytest.raises(RuntimeError, match=r"write `await visitor\.event\(\.\.\.\)` in an"):
        run_in_loop(current_loop(), one, "event")


def test_run_in_loop_without_a_loop_raises() -> None:
    assert current_loop() is None
    loop: Any = None
    with pytest.raises(RuntimeError, match=r"sync\.event\(\) needs a running delivery"):
        run_in_loop(loop, one, "event")


def test_run_in_loop_of_a_loop_that_has_stopped_raises() -> None:
    """A fixture may leave its loop stopped and not closed; a call would wait for ever."""
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(RuntimeError, match="this one has ended"):
            run_in_loop(loop, one, "event")
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        until_sync(loop.is_running)
        assert run_in_loop(loop, one, "event") == 1
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
    finally:
        loop.close()


async def test_task_outlives_the_task_that_starts_it() -> None:
    done = anyio.Event()

    async def run() -> None:
        await anyio.sleep(0.01)
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_start, run)
        tasks.cancel_scope.cancel()
    gc.collect()
    with anyio.fail_after(30):
        await done.wait()


async def _start(run: object) -> None:
    start_task(run)  # type: ignore[arg-type]


def test_run_in_loop_in_a_thread_of_django_lets_the_loop_use_that_thread() -> None:
    """Django runs a view and the database of its request in one thread: a hook must not wait for it."""
    asgiref_sync: Any = pytest.importorskip("asgiref.sync")

    async def main() -> int:
        loop = asyncio.get_running_loop()

        async def hook() -> int:
            user: int = await asgiref_sync.sync_to_async(lambda: 17)()
            return user

        def view() -> int:
            return run_in_loop(loop, hook, "event")

        async with asgiref_sync.ThreadSensitiveContext():
            user: int = await asgiref_sync.sync_to_async(view)()
            return user

    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(asyncio.run(main())), daemon=True)
    thread.start()
    thread.join(10)  # two that wait for each other do so for ever
    assert results == [17]
