from __future__ import annotations

import gc

import anyio

from usercom_asgi.core.tasks import start_task


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
