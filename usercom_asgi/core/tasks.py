"""Tasks outside of any task group: :func:`start_task`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

# The event loop itself keeps only weak references to its tasks.
_tasks = set["asyncio.Task[None]"]()


def start_task(run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Start a task that handles its own errors; the end of the event loop cancels it.

    A task group belongs to the task that enters it. Callbacks for start and end, and
    fixtures of tests, run in different tasks.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio

        trio.lowlevel.spawn_system_task(run)
    else:
        task = loop.create_task(run())
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
