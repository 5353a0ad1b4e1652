"""Notification of waiting tasks."""

from __future__ import annotations

import anyio
import anyio.abc

from usercom_asgi.core.signals import Signal


async def waiting(signal: Signal, tasks: anyio.abc.TaskGroup, number: int) -> list[int]:
    """Start tasks that wait one after the other; return the list of those that woke."""
    woken: list[int] = []

    async def wait(n: int) -> None:
        await signal.wait()
        woken.append(n)

    for n in range(number):
        tasks.start_soon(wait, n)
        await anyio.wait_all_tasks_blocked()
    return woken


async def test_notify_wakes_the_task_that_waits_longest() -> None:
    signal = Signal()
    async with anyio.create_task_group() as tasks:
        woken = await waiting(signal, tasks, 3)
        signal.notify()
        await anyio.wait_all_tasks_blocked()
        assert woken == [0]
        signal.notify_all()
    assert sorted(woken) == [0, 1, 2]


async def test_notify_without_a_waiting_task_is_not_remembered() -> None:
    signal = Signal()
    signal.notify()
    signal.notify_all()
    with anyio.move_on_after(0.01) as scope:
        await signal.wait()
    assert scope.cancelled_caught


async def test_notify_skips_a_cancelled_task() -> None:
    signal = Signal()
    with anyio.move_on_after(0):
        await signal.wait()
    async with anyio.create_task_group() as tasks:
        woken = await waiting(signal, tasks, 1)
        signal.notify()
    assert woken == [0]
