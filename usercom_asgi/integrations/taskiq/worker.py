"""Commands come from a broker, and go to User.com: :class:`BrokerWorker`, for the process that runs the broker's tasks."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from ...core.exceptions import OutboxError
from ...core.serialization import unpack
from ...delivery.outbox import MemoryStore
from ...delivery.service import DeliveryService

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ...core.config import UserComConfig
    from ...core.envelope import Envelope, OpenSender
    from ...core.receipts import Listeners, Receipt
    from ...delivery.message import QueuedCommand
    from ...delivery.outbox import QueueHost
    from .publisher import TaskPublisher

logger = logging.getLogger("usercom_asgi")

# `taskiq worker` gives a broker 5 seconds to shut down (--shutdown-timeout), and us a part of it.
MAX_SHUTDOWN_TIMEOUT = 3.0
# The broker's worker bounds how many tasks run at a time; nothing that it has given us may be turned away.
UNBOUNDED = 1_000_000_000


class BrokerWorker:
    """Delivers the commands of broker tasks through one :class:`DeliveryService` for the process.

    A task is over when everything in it has come to its end, or, after ``task_deadline`` seconds, is in a new task. Until then
    the broker must not be told that it is done. What ``keepalive_interval`` is for: see :meth:`_send_keepalives`.
    """

    def __init__(
        self,
        config: UserComConfig,
        open_sender: OpenSender,
        listeners: Listeners,
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
        self._listeners = listeners
        self._publisher = publisher
        self._task_deadline = task_deadline
        self._keepalive_interval = keepalive_interval
        self._runtime: DeliveryService | None = None
        self._host: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._stop = asyncio.Event()

    async def start(self, *_: object) -> None:
        """Start the delivery of this process, if it does not run.

        Raises:
            OutboxError: It cannot run.

        """
        if self._host is None:
            self._ready, self._stop = asyncio.Event(), asyncio.Event()
            runtime = DeliveryService(
                self._open_sender,
                self._config,
                outbox=_BrokerBackedOutbox(),
                listeners=self._listeners,
            )
            # The broker's startup and its shutdown are two calls, and no task group may span them.
            self._runtime, self._host = (
                runtime,
                asyncio.create_task(self._run(runtime), name="usercom_asgi"),
            )
        await self._ready.wait()
        if self._runtime is None or not self._runtime.is_accepting:
            raise OutboxError("the delivery to User.com cannot run in this worker")

    async def stop(self, *_: object) -> None:
        """Send what is under way, within the grace, and stop."""
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
        """Send what one task holds, in order; the task itself, which the broker's worker runs."""
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
            # Merged with what another task holds, it is on its way back there; at a shutdown this never ends.
            await receipt.over()

    async def _running(self) -> DeliveryService:
        """Return the delivery of this process; never, if it is at its end."""
        if self._runtime is None:  # the outbox was made after the worker's startup
            await self.start()
        runtime = self._runtime
        if runtime is None or not runtime.is_accepting:
            # What returns or raises is acknowledged. This is not to be: another process will be given it.
            await anyio.sleep_forever()
            raise AssertionError("unreachable")
        return runtime

    async def _hand_back(self, runtime: DeliveryService, receipts: list[Receipt]) -> None:
        """Put what User.com could not take yet into a new task; what is too old goes to the dead letters."""
        rest: list[QueuedCommand] = []
        for waiting in await runtime.withdraw(receipts):
            if waiting.age > self._config.deadline:
                runtime.dead_letter(
                    waiting,
                    f"given up after {waiting.age:.0f} s: {runtime.readiness().reason or 'no time was left'}",
                )
            else:
                rest.append(waiting)
        if not rest:
            return
        is_taken, why_not = (
            False,
            "cut off on its way back to the broker",
        )  # by a time limit of the task's
        try:
            is_taken = await self._publisher.publish([waiting.envelope for waiting in rest])
            why_not = "the broker does not take it back"
        finally:  # they are in no lane any more
            for waiting in rest:
                if is_taken:
                    runtime.mark_forwarded(waiting, "handed back to the broker")
                else:
                    runtime.dead_letter(waiting, why_not)

    async def _send_keepalives(self) -> None:
        """Send an empty task now and then; runs for ever.

        taskiq-redis takes over what a killed worker has left only when something new arrives: on a quiet night that may be
        never.
        """
        if self._keepalive_interval is not None:
            while True:
                await anyio.sleep(self._keepalive_interval)
                await self._publisher.publish([])


def _unpack_all(commands: list[dict[str, Any]]) -> list[Envelope]:
    """Return the commands of a task that this version can read."""
    found: list[Envelope] = []
    for packed in commands:
        try:
            found.append(unpack(packed))
        except OutboxError as error:
            logger.error("a task of the broker: %s; it is lost", error)  # noqa: TRY400
    return found


class _BrokerBackedOutbox:
    """What is not delivered at the end of this process was never acknowledged, and comes again."""

    @asynccontextmanager
    async def open(self, house: QueueHost, *, max_queue_size: int) -> AsyncGenerator[MemoryStore]:
        yield _BrokerBackedStore(house, max_queue_size)


class _BrokerBackedStore(MemoryStore):
    def keeps(self, waiting: QueuedCommand) -> bool:  # noqa: ARG002  the protocol's signature
        return True
