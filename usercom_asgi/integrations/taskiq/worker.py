"""Delivery of broker tasks to User.com, in the broker's worker process."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from ...core.config import DISABLED
from ...core.exceptions import OutboxError
from ...core.serialization import unpack
from ...delivery.queue import MemoryStore
from ...delivery.service import DeliveryService

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ...core.config import UserComConfig
    from ...core.envelope import Envelope, OpenSender
    from ...core.receipts import OutcomeCallbacks, PendingReceipt
    from ...delivery.outbox import QueueHost
    from ...delivery.queue import QueuedCommand
    from .publisher import TaskPublisher

logger = logging.getLogger("usercom_asgi")

# Seconds, of the 5 that `taskiq worker` gives a broker (--shutdown-timeout).
MAX_SHUTDOWN_TIMEOUT = 3.0
# The broker's worker bounds how many tasks run at a time. Their commands must not be
# rejected, because the task would be lost.
UNBOUNDED = 1_000_000_000


class BrokerWorker:
    """Delivers the commands of broker tasks.

    All tasks of the process share one :class:`DeliveryService`. A task ends when
    each of its commands is final, or after ``task_deadline`` seconds, when the
    others are in a new task. It must not be acknowledged before that. For
    ``keepalive_interval`` see :meth:`_send_keepalives`.
    """

    def __init__(
        self,
        config: UserComConfig,
        open_sender: OpenSender,
        callbacks: OutcomeCallbacks,
        publisher: TaskPublisher,
        *,
        task_deadline: float,
        keepalive_interval: float | None = None,
    ) -> None:
        self._config = replace(
            config,
            max_queue_size=UNBOUNDED,
            shutdown_timeout=min(config.shutdown_timeout, MAX_SHUTDOWN_TIMEOUT),
        )
        self._open_sender = open_sender
        self._callbacks = callbacks
        self._publisher = publisher
        self._task_deadline = task_deadline
        self._keepalive_interval = keepalive_interval
        self._runtime: DeliveryService | None = None
        self._host: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._stop = asyncio.Event()

    async def start(self, *_: object) -> None:
        """Start the delivery of this process, if it is not running.

        Raises:
            OutboxError: The delivery cannot run.

        """
        if not self._config.enabled:
            logger.warning(
                "The tasks of usercom-asgi stay in the broker: %s",
                DISABLED,
                extra={"usercom_event": "delivery_disabled"},
            )
            return
        if self._host is None:
            self._ready, self._stop = asyncio.Event(), asyncio.Event()
            runtime = DeliveryService(
                self._open_sender,
                self._config,
                outbox=_BrokerBackedOutbox(),
                callbacks=self._callbacks,
            )
            # A task group cannot span the broker's two calls, startup and shutdown.
            self._runtime, self._host = (
                runtime,
                asyncio.create_task(self._run(runtime), name="usercom_asgi"),
            )
        await self._ready.wait()
        if self._runtime is None or not self._runtime.is_accepting:
            raise OutboxError("the delivery to User.com cannot run in this worker")

    async def stop(self, *_: object) -> None:
        """Drain within the shutdown timeout, and stop."""
        host, self._host = self._host, None
        self._stop.set()
        if host is not None:
            await host

    async def _run(self, runtime: DeliveryService) -> None:
        ready = self._ready
        try:
            async with anyio.create_task_group() as tasks:
                await tasks.start(runtime.run)
                tasks.start_soon(self._send_keepalives)
                ready.set()
                await self._stop.wait()
                await runtime.drain()
                tasks.cancel_scope.cancel()
        finally:
            ready.set()

    async def deliver(self, commands: list[dict[str, Any]]) -> None:
        """Deliver the commands of one task in order; the body of the task."""
        envelopes = _unpack_all(commands)
        if not envelopes:
            return
        runtime = await self._running()
        receipts = [runtime.submit(envelope) for envelope in envelopes]
        with anyio.move_on_after(self._task_deadline):
            for receipt in receipts:
                await receipt.over()
        late = [receipt for receipt in receipts if not receipt.is_final]
        if late:
            await self._hand_back(runtime, late)
        for receipt in receipts:
            # At a shutdown this never ends: a task that returns is acknowledged
            # to the broker.
            await receipt.over()

    async def _running(self) -> DeliveryService:
        """Return the running delivery; block for ever after its end."""
        if self._runtime is None:  # the outbox was created after the worker's startup
            await self.start()
        runtime = self._runtime
        if runtime is None or not runtime.is_accepting:
            # A task that returns or raises is acknowledged. This one must not be, so
            # that the broker gives it to another process.
            await anyio.sleep_forever()
            raise AssertionError("unreachable")
        return runtime

    async def _hand_back(self, runtime: DeliveryService, receipts: list[PendingReceipt]) -> None:
        """Publish undelivered commands as a new task, unless they are too old."""
        rest: list[QueuedCommand] = []
        for queued in await runtime.remove(receipts):
            if queued.age > self._config.give_up_after:
                runtime.dead_letter(
                    queued,
                    f"given up after {queued.age:.0f} s: {runtime.readiness().reason or 'no time was left'}",
                )
            else:
                rest.append(queued)
        if not rest:
            return
        is_taken, why_not = (
            False,
            "cut off on its way back to the broker",
        )  # by a time limit of the task's
        try:
            is_taken = await self._publisher.publish([queued.envelope for queued in rest])
            why_not = "the broker does not accept it back"
        finally:  # no queue holds them any more
            for queued in rest:
                if is_taken:
                    runtime.mark_forwarded(queued, "handed back to the broker")
                else:
                    runtime.dead_letter(queued, why_not)

    async def _send_keepalives(self) -> None:
        """Publish an empty task at each interval, for ever.

        taskiq-redis claims the tasks of a killed worker only when a new task arrives.
        """
        if self._keepalive_interval is not None:
            while True:
                await anyio.sleep(self._keepalive_interval)
                await self._publisher.publish([])


def _unpack_all(commands: list[dict[str, Any]]) -> list[Envelope]:
    """Return the commands of a task, without those that this version cannot read."""
    found: list[Envelope] = []
    for packed in commands:
        try:
            found.append(unpack(packed))
        except OutboxError as error:
            logger.error(  # noqa: TRY400  the error is in the text
                "Dropping a command of a broker task: %s",
                error,
                extra={"usercom_event": "task_unreadable"},
            )
    return found


class _BrokerBackedOutbox:
    """An outbox in memory for commands that the broker still has.

    Undelivered commands were not acknowledged, so the broker delivers them again.
    """

    @asynccontextmanager
    async def open(self, host: QueueHost, *, max_queue_size: int) -> AsyncGenerator[MemoryStore]:
        yield _BrokerBackedStore(host, max_queue_size)


class _BrokerBackedStore(MemoryStore):
    def is_persisted(self, queued: QueuedCommand) -> bool:  # noqa: ARG002  the protocol's signature
        return True
