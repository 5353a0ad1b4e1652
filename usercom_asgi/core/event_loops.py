"""Event loops of asyncio and trio: calls from threads, and tasks without a group."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import wait
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

# The event loop itself keeps only weak references to its tasks.
_tasks = set["asyncio.Task[None]"]()


def current_loop() -> object | None:
    """Return the event loop that runs in this thread, or None."""
    # Not anyio's token, because anyio 4.10 cannot run in a loop by its token.
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        trio = sys.modules.get("trio")
        if trio is None:
            return None
        try:  # not `in_trio_run`, which trio 0.26 does not have
            return cast("object", trio.lowlevel.current_trio_token())
        except RuntimeError:
            return None


def is_cancelled() -> bool:
    """Return whether the running task is being cancelled.

    A CancelledError alone does not mean that: a task that awaits a cancelled future
    gets one as well.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:  # trio has an exception of its own
        return False
    return task is None or task.cancelling() > 0


def is_error(error: BaseException) -> bool:
    """Return whether an exception is an error, and not the end of the running task."""
    is_stray = isinstance(error, asyncio.CancelledError) and not is_cancelled()
    return isinstance(error, Exception) or is_stray


def run_in_loop(
    loop: object | None, function: Callable[[], Coroutine[Any, Any, T]], verb: str
) -> T:
    """Run a coroutine function in an event loop, and wait for its result.

    The thread may come from any pool; anyio's own functions know only anyio's threads.

    Raises:
        RuntimeError: If this thread runs an event loop, which would stand still, or if
            there is no loop to run in.

    """
    if current_loop() is not None:
        raise RuntimeError(
            f"sync.{verb}() must be called in a thread, and this is the thread of an event loop: "
            f"write `await visitor.{verb}(...)` in an `async def`"
        )
    if loop is None:
        raise RuntimeError(
            f"sync.{verb}() needs a running delivery: enter the client first, `with client:`"
        )
    if isinstance(loop, asyncio.AbstractEventLoop):
        if _is_lent_by_asgiref(loop):
            return cast("T", sys.modules["asgiref.sync"].async_to_sync(function)())
        future = asyncio.run_coroutine_threadsafe(function(), loop) if loop.is_running() else None
        while future is None or not wait([future], timeout=1).done:
            if not loop.is_running():  # the call would wait for ever
                raise RuntimeError(f"sync.{verb}() needs a running event loop, this one has ended")
        return future.result()
    import trio

    token = cast("trio.lowlevel.TrioToken", loop)
    return trio.from_thread.run(function, trio_token=token)


def _is_lent_by_asgiref(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether the loop waits for this thread by asgiref's ``sync_to_async``.

    Django runs a view and the database of its request in one thread. A hook that asks
    the database would wait for the view, unless asgiref has the thread meanwhile.
    """
    asgiref = sys.modules.get("asgiref.sync")
    if asgiref is None:
        return False
    return getattr(asgiref.SyncToAsync.threadlocal, "main_event_loop", None) is loop


async def run_from_any_loop(
    loop: object | None, function: Callable[[], Coroutine[Any, Any, T]]
) -> T:
    """Await a coroutine function in its own event loop, also from another one.

    ``asyncio.run(visitor.event(...))`` in a thread makes a second loop, from which the
    queues of the first one must not be changed.
    """
    has_ended = isinstance(loop, asyncio.AbstractEventLoop) and not loop.is_running()
    here = current_loop()
    if loop is None or has_ended or here is loop:
        return await function()
    # The application's hooks may read context variables of the caller.
    context = copy_context()

    def work() -> T:
        return context.run(lambda: run_in_loop(loop, function, "event"))

    # Not by anyio, which would find the first loop in the copied context.
    if isinstance(here, asyncio.AbstractEventLoop):
        return await here.run_in_executor(None, work)
    import trio

    return await trio.to_thread.run_sync(work)


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
