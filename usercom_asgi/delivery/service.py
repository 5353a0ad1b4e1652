"""Delivers commands in the background: :class:`DeliveryService`."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio

from ..core import telemetry
from ..core.event_loops import current_loop, run_from_any_loop, start_task
from ..core.exceptions import OutboxError
from ..core.receipts import OutcomeCallbacks, PendingReceipt, Receipt, skip_receipt
from .circuit_breaker import CircuitBreaker
from .queue import MemoryOutbox, MemoryStore, QueuedCommand, QueueManager
from .recorder import OutcomeRecorder
from .retry import RetryPolicy
from .stats import Readiness, Stats
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyio.abc import TaskStatus

    from ..core.commands import Command
    from ..core.config import UserComConfig
    from ..core.envelope import Envelope, OpenSender, PendingReset
    from ..core.receipts import Outcome
    from .outbox import Outbox


logger = logging.getLogger("usercom_asgi")

MAX_REMEMBERED = 10_000
# Seconds between two looks at the file of an outbox, in flush().
_FILE_INTERVAL = 0.01


class DeliveryService:
    """Accepts envelopes at once, and sends them in the background.

    ``max_queue_size`` bounds the commands in memory without an outcome, in flight
    included. It belongs to one event loop of one process.
    """

    def __init__(
        self,
        open_sender: OpenSender,
        config: UserComConfig,
        retry: RetryPolicy | None = None,
        *,
        outbox: Outbox | None = None,
        callbacks: OutcomeCallbacks | None = None,
    ) -> None:
        # Memory stands in until the outbox is open, before the first request.
        self._recorder = OutcomeRecorder(
            callbacks or OutcomeCallbacks(), MemoryStore(self, config.max_queue_size)
        )
        self._queues = QueueManager(self._recorder.changed)
        self._open_sender = open_sender
        self._config = config
        self._retry = retry or RetryPolicy(give_up_after=config.give_up_after)
        self._outbox = outbox or MemoryOutbox()
        self._breaker = CircuitBreaker(
            self._retry,
            config.requests_per_second,
            lambda: max(self.waiting, self._recorder.store.persisted),
        )
        self._remembered: dict[str, PendingReset] = {}
        self._pid = os.getpid()
        #: True once the delivery has ended, or is about to.
        self.is_over = False
        self._why_closed = "the application is shutting down"
        self._stop = anyio.Event()
        self._stopped = anyio.Event()
        self._has_started = anyio.Event()
        #: The event loop of :meth:`run`, for calls from threads.
        self.loop: object | None = None
        self._clock_offset = 0.0  # of the loop's clock from the monotonic one

    @property
    def reachable(self) -> bool:
        """Whether the last call to User.com succeeded."""
        return self._breaker.is_healthy

    @property
    def is_accepting(self) -> bool:
        """Whether new commands are accepted."""
        return not self.is_over and self._recorder.store.rejection_reason(self.waiting) is None

    @property
    def stats(self) -> Stats:
        """The counters, and what waits now."""
        oldest = min(
            filter(None, (self._queues.oldest(), self._recorder.store.oldest())), default=None
        )
        age = max(0.0, time.time() - oldest) if oldest is not None else 0.0
        return replace(self._recorder.stats, waiting=self.waiting, oldest_age=age)

    @property
    def dead_letters(self) -> Sequence[Outcome]:
        """The newest dead letters at hand."""
        return self._recorder.store.dead()

    def readiness(self) -> Readiness:
        """Return the state of the delivery, for a health route."""
        breaker, stats = self._breaker, self.stats
        # A thread has no event loop whose clock it could read.
        now = time.monotonic() + self._clock_offset
        resumes_in = max(0.0, breaker.resumes_at - now)
        state = (
            "sending"
            if breaker.is_healthy
            else "unauthorized"
            if breaker.is_unauthorized
            else "paused"
            if resumes_in
            else "failing"
        )
        error = self._recorder.store.error
        if not self._has_started.is_set():
            state = "starting"
        elif error and breaker.is_healthy:
            state = "failing"
        return Readiness(
            state="closed" if self.is_over else state,
            is_accepting=self.is_accepting,
            reason=error if breaker.is_healthy else breaker.reason,
            resumes_in=resumes_in,
            waiting=stats.waiting,
            oldest_age=stats.oldest_age,
            persisted=self._recorder.store.persisted,
        )

    @property
    def free_capacity(self) -> int:
        """How many more commands fit into memory."""
        return self._config.max_queue_size - self._recorder.waiting

    @property
    def waiting(self) -> int:
        """How many commands are in memory without an outcome."""
        return self._recorder.waiting

    @property
    def persisted(self) -> int:
        """How many commands the outbox holds, if that is not memory."""
        return self._recorder.store.persisted

    @property
    def oldest_age(self) -> float:
        """Seconds since the oldest waiting command was created."""
        return self.stats.oldest_age

    def enqueue(self, queued: QueuedCommand) -> None:
        """Queue a command that the store has made safe."""
        self._queues.add(queued)
        self._recorder.changed.notify_all()

    def restore(self, queued: QueuedCommand, keys: str | None) -> None:
        """Queue a command from the outbox."""
        self._recorder.restore()
        self._queues.add(queued, keys)
        self._recorder.changed.notify_all()

    def release(self, queued: QueuedCommand) -> None:  # noqa: ARG002  the protocol's signature
        """Count a command that is left in the outbox."""
        self._recorder.release()

    def evict(
        self, is_lost: Callable[[QueuedCommand], bool]
    ) -> tuple[list[QueuedCommand], list[QueuedCommand]]:
        """Remove what another process has claimed; see :meth:`QueueHost.evict`."""
        return self._queues.evict(is_lost)

    def snapshot(self) -> list[tuple[QueuedCommand, str]]:
        """Return the commands in the queues; see :meth:`QueueHost.snapshot`."""
        return self._queues.snapshot()

    async def remove(self, receipts: Sequence[PendingReceipt]) -> list[QueuedCommand]:
        """Remove what is not delivered yet; see :meth:`QueueManager.remove`."""
        return await self._queues.remove(receipts)

    def mark_forwarded(self, queued: QueuedCommand, reason: str) -> None:
        """Record that another process has the command."""
        self._recorder.mark_forwarded(queued, reason)

    def dead_letter(self, queued: QueuedCommand, reason: str) -> None:
        """Move a command that is in no queue to the dead letters."""
        self._recorder.dead_letter(queued, reason)

    def skip(self, command: Command, reason: str, path: str = "") -> Receipt:
        """Count a command with nothing to send."""
        self._recorder.stats.skipped += 1
        return skip_receipt(command, reason, path)

    def submit(self, envelope: Envelope) -> PendingReceipt:
        """Accept an envelope, or drop it if the queue is full."""
        recorder = self._recorder
        reason = self._rejection_reason() or recorder.store.rejection_reason(recorder.waiting)
        if reason is not None:
            return recorder.reject(envelope, reason)
        receipt = PendingReceipt()
        recorder.stats.accepted += 1
        recorder.waiting += 1
        recorder.store.put(QueuedCommand(envelope, receipt))
        return receipt

    def _rejection_reason(self) -> str | None:
        if os.getpid() != self._pid:
            return (
                "this process is a fork of the one that delivers: start the delivery after the fork"
            )
        return self._why_closed if self.is_over else None

    def request_ended(self, number: int) -> None:
        """Note the end of a request; see :attr:`Envelope.request`."""
        self._recorder.store.request_ended(number)

    async def wait_for(self, receipt: Receipt, within: float) -> None:
        """Wait at most ``within`` seconds for an outcome, unless calls fail."""
        if self.reachable and isinstance(receipt, PendingReceipt):
            await receipt.tried(within)

    def remember(self, name: str, reset: PendingReset) -> None:
        """Keep a reset for a later request; the oldest ones are dropped."""
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[name] = reset

    def recall(self, name: str) -> PendingReset | None:
        """Return the reset of an earlier request."""
        return self._remembered.get(name)

    async def flush(self, timeout: float = 5.0) -> bool:  # noqa: ASYNC109  public API
        """Wait at most ``timeout`` seconds until no command waits or is in flight.

        Return whether that is so. New commands are still accepted. Commands in the file
        of an outbox count as well, those of other processes included.
        """
        return await run_from_any_loop(self.loop, partial(self._flush, timeout))

    async def _flush(self, seconds: float) -> bool:
        with anyio.move_on_after(seconds):
            while self._has_work and not self._stopped.is_set():
                # The file of an outbox is empty a moment later, and does not notify.
                with anyio.move_on_after(seconds if self.waiting else _FILE_INTERVAL):
                    await self._recorder.changed.wait()
        return not self._has_work

    @property
    def _has_work(self) -> bool:
        return bool(self.waiting or self._recorder.store.persisted)

    async def start(self) -> None:
        """Start :meth:`run` in a task of its own; any task may :meth:`drain` it.

        Raises:
            OutboxError: The outbox cannot be used, and is required.

        """
        ready, running = _Ready(), anyio.CancelScope()
        error: OutboxError | None = None

        async def run() -> None:
            nonlocal error
            try:
                with running:
                    await self.run(task_status=ready)
            except OutboxError as raised:
                error = raised
            finally:
                ready.started()

        start_task(run)
        try:
            await ready.event.wait()
        except BaseException:  # cancelled
            running.cancel()
            await self.drain()
            raise
        if error is not None:
            raise error

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Send what is submitted, until :meth:`drain` ends it; run it once, in a task.

        Raises:
            OutboxError: The outbox cannot be used, and is required.

        """
        self._has_started.set()
        self.loop = current_loop()
        self._clock_offset = anyio.current_time() - time.monotonic()
        if telemetry.active is not None:
            telemetry.active.watch(self._config.origin, self._recorder.stats, self)
        announced = False
        try:
            opened = self._outbox.open(self, max_queue_size=self._config.max_queue_size)
            async with (
                self._open_sender() as sender,
                opened as self._recorder.store,
                anyio.create_task_group() as workers,
            ):
                worker = Worker(sender, self._queues, self._breaker, self._retry, self._recorder)
                for _ in range(self._config.max_concurrency):
                    workers.start_soon(worker.run)
                workers.start_soon(self._queues.resume_delayed)
                announced = True
                logger.info(
                    "Delivering commands to %s: channel %s, outbox %r",
                    self._config.origin,
                    "rest" if self._config.uses_rest else "widget",
                    self._outbox,
                    extra={
                        "usercom_event": "delivery_started",
                        "usercom_origin": self._config.origin,
                    },
                )
                task_status.started()
                await self._stop.wait()
                workers.cancel_scope.cancel()
        except OutboxError:
            raise
        except Exception:
            # The application must go on: new commands are dropped and counted.
            self._why_closed = "the delivery cannot run, see the log"
            logger.exception(
                "Delivery to User.com cannot run, dropping all commands",
                extra={"usercom_event": "delivery_broken"},
            )
        finally:
            self._close()
            self._stopped.set()
            self._recorder.changed.notify_all()
        if not announced:
            task_status.started()

    async def drain(self) -> None:
        """Reject new commands, deliver the rest, and end :meth:`run`.

        It takes ``shutdown_timeout`` seconds at most, and does not wait for what cannot
        be sent in that time.
        """
        self.is_over = True
        with anyio.CancelScope(shield=True):
            if self._has_started.is_set():
                self._recorder.store.start_drain()
                with anyio.move_on_after(self._config.shutdown_timeout) as scope:
                    self._breaker.retry_now()
                    self._queues.resume(are_all=True)
                    while (
                        self.waiting
                        and not self._stopped.is_set()
                        and self._can_progress(scope.deadline)
                    ):
                        await self._recorder.changed.wait()
                self._stop.set()
                await self._stopped.wait()
            else:
                self._close()
                self._stop.set()  # for a run() that is about to begin
        self._recorder.log_summary("" if self._breaker.is_healthy else self._breaker.reason)

    def _can_progress(self, deadline: float) -> bool:
        if self._recorder.store.oldest() is not None:
            return True  # commands outside of the queues do not depend on User.com
        return self._queues.has_work_before(
            deadline, is_healthy=self._breaker.resumes_at < deadline
        )

    def _close(self) -> None:
        self.is_over = True
        self._recorder.close(self._queues.close(), "not delivered before the shutdown")


class _Ready:
    """A task status outside of a task group."""

    def __init__(self) -> None:
        self.event = anyio.Event()

    def started(self, value: None = None) -> None:  # noqa: ARG002  the protocol's signature
        self.event.set()
