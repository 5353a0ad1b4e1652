"""The running delivery: bounded memory, a few long-lived workers, one drain at the end."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from ..core.exceptions import OutboxError
from ..core.receipts import Listeners, Receipt, skipped
from .circuit_breaker import CircuitBreaker, OutageLog
from .message import QueuedCommand
from .outbox import MemoryOutbox, MemoryStore
from .queue import QueueManager
from .recorder import OutcomeRecorder
from .retry import RetryPolicy
from .stats import Readiness, Stats
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from anyio.abc import TaskStatus

    from ..core.commands import Command
    from ..core.config import UserComConfig
    from ..core.envelope import Envelope, OpenSender, PendingReset
    from ..core.receipts import Outcome
    from .outbox import Outbox


logger = logging.getLogger("usercom_asgi")

_MAX_REMEMBERED = 10_000
# Seconds between two looks, at the end, at whether there is any hope left for what waits.
_POLL_INTERVAL = 0.01


class DeliveryService:
    """Accepts envelopes at once and sends them in the background.

    ``max_queue_size`` bounds everything in memory that is accepted and not settled, in flight included. One event loop of one
    process owns it.
    """

    def __init__(
        self,
        open_sender: OpenSender,
        config: UserComConfig,
        retry: RetryPolicy | None = None,
        *,
        outbox: Outbox | None = None,
        listeners: Listeners | None = None,
        until: str = "",
    ) -> None:
        self._queues = QueueManager()
        # Until the outbox is open, and that is before the first request, memory is all there is.
        self._recorder = OutcomeRecorder(
            listeners or Listeners(), MemoryStore(self, config.max_queue_size)
        )
        self._open_sender = open_sender
        self._config = config
        self._retry = retry or RetryPolicy(give_up_after=config.give_up_after)
        self._outbox = outbox or MemoryOutbox()
        self._until = until
        # Behind a response nothing is tried again: each request says itself what it has lost.
        outage = OutageLog(
            None if until else lambda: max(self.waiting, self._recorder.store.persisted)
        )
        self._breaker = CircuitBreaker(self._retry, config.requests_per_second, outage)
        self._remembered: dict[str, PendingReset] = {}
        self._pid = os.getpid()
        self._closed = False
        self._why_closed = "the application is shutting down"
        self._stop = anyio.Event()
        self._stopped = anyio.Event()
        #: Set once :meth:`run` is at work.
        self.has_started = anyio.Event()

    @property
    def reachable(self) -> bool:
        """False while User.com is known to be down: the last call has failed."""
        return self._breaker.is_healthy

    @property
    def is_accepting(self) -> bool:
        """False while what is said is dropped."""
        return not self._is_over and self._recorder.store.rejection_reason(self.waiting) is None

    @property
    def _is_over(self) -> bool:
        return self._closed or self._stopped.is_set()

    @property
    def stats(self) -> Stats:
        """What was done so far, and what waits now."""
        oldest = min(
            filter(None, (self._queues.oldest(), self._recorder.store.oldest())), default=None
        )
        age = max(0.0, time.time() - oldest) if oldest is not None else 0.0
        return replace(self._recorder.stats, waiting=self.waiting, oldest_age=age)

    @property
    def dead_letters(self) -> Sequence[Outcome]:
        """What User.com has refused, or what became too old: the newest of them, as far as they are at hand."""
        return self._recorder.store.dead()

    def readiness(self) -> Readiness:
        """Return how the delivery is, for a health route."""
        breaker, stats = self._breaker, self.stats
        resumes_in = max(0.0, breaker.resumes_at - anyio.current_time())
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
        if not self.has_started.is_set():
            state = "starting"
        elif error and breaker.is_healthy:
            state = "failing"
        return Readiness(
            state="closed" if self._is_over else state,
            is_accepting=self.is_accepting,
            reason=error if breaker.is_healthy else breaker.reason,
            resumes_in=resumes_in,
            waiting=stats.waiting,
            oldest_age=stats.oldest_age,
            kept=self._recorder.store.persisted,
        )

    @property
    def free_capacity(self) -> int:
        """How many commands may still come into memory."""
        return self._config.max_queue_size - self._recorder.waiting

    @property
    def waiting(self) -> int:
        """How many commands are in memory, accepted and not settled."""
        return self._recorder.waiting

    def enqueue(self, queued: QueuedCommand) -> None:
        """Take a command that was accepted, and is safe."""
        self._queues.add(queued)

    def restore(self, queued: QueuedCommand, keys: str | None, *, is_own: bool) -> None:
        """Take a command that was left in the outbox, by this process or another one, or in another life."""
        self._recorder.restore(is_own=is_own)
        self._queues.add(queued, keys)

    def release(self, queued: QueuedCommand) -> None:  # noqa: ARG002  the protocol's signature
        """Let go of a command that is safe in the outbox, and will come from there."""
        self._recorder.release()

    def evict(self, ordering_keys: Container[str]) -> list[QueuedCommand]:
        """Take out what is another process's now."""
        return self._queues.evict(ordering_keys)

    async def remove(self, receipts: Sequence[Receipt]) -> list[QueuedCommand]:
        """Take back what is not delivered of these; see :meth:`QueueManager.remove`."""
        return await self._queues.remove(receipts)

    def mark_forwarded(self, queued: QueuedCommand, reason: str) -> None:
        """Let go of a command that another process has taken."""
        self._recorder.mark_forwarded(queued, reason)

    def dead_letter(self, queued: QueuedCommand, reason: str) -> None:
        """Put a command that is in no lane to the dead letters."""
        self._recorder.dead_letter(queued, reason)

    def skip(self, command: Command, reason: str) -> Receipt:
        """Count a command of which there is nothing to send."""
        self._recorder.stats.skipped += 1
        return skipped(command, reason)

    def submit(self, envelope: Envelope) -> Receipt:
        """Accept an envelope, or drop it if too many wait. Never waits, never raises."""
        recorder = self._recorder
        reason = self._rejection_reason() or recorder.store.rejection_reason(recorder.waiting)
        if reason is not None:
            return recorder.reject(envelope, reason)
        receipt = Receipt()
        recorder.stats.accepted += 1
        recorder.waiting += 1
        recorder.store.put(QueuedCommand(envelope, receipt))
        return receipt

    def _rejection_reason(self) -> str | None:
        if os.getpid() != self._pid:
            return (
                "this process is a fork of the one that delivers: start the delivery after the fork"
            )
        return self._why_closed if self._closed else None

    def request_ended(self, number: int) -> None:
        """What this request has said is complete; see :attr:`Envelope.request`."""
        self._recorder.store.request_ended(number)

    async def settle(self, receipt: Receipt, within: float) -> None:
        """Wait at most ``within`` seconds for an outcome; not at all while User.com is known to be down."""
        if self.reachable:
            await receipt.tried(within)

    def remember(self, name: str, reset: PendingReset) -> None:
        """Keep a reset for a request that comes later; the oldest are forgotten."""
        if len(self._remembered) >= _MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[name] = reset

    def recall(self, name: str) -> PendingReset | None:
        """Return the reset that an earlier request asked for."""
        return self._remembered.get(name)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Send what is submitted, until :meth:`drain` has ended; to be started once, in a task of its own.

        Raises:
            OutboxError: The outbox cannot be used, and is configured to say so.

        """
        self.has_started.set()
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
                task_status.started()
                await self._stop.wait()
                workers.cancel_scope.cancel()
        except OutboxError:
            raise
        except Exception:
            # The application goes on without us: what is said is dropped and counted.
            self._why_closed = "the delivery cannot run, see the log"
            logger.exception("the delivery to User.com cannot run")
        finally:
            self._close()
            self._stopped.set()
        if not announced:
            task_status.started()

    async def drain(self) -> None:
        """Take nothing more, deliver what waits within ``shutdown_timeout`` seconds, end :meth:`run`, and say what was lost.

        Retries and pauses count against the grace as well. What cannot be sent before its end is not waited for.
        """
        self._closed = True
        with anyio.CancelScope(shield=True):
            if self.has_started.is_set():
                self._recorder.store.start_drain()
                with anyio.move_on_after(self._config.shutdown_timeout) as scope:
                    self._breaker.retry_now()
                    self._queues.resume(are_all=True)
                    # Time passing is one of the things that end it, so this looks now and then.
                    while (  # noqa: ASYNC110
                        self.waiting
                        and not self._stopped.is_set()
                        and self._can_progress(scope.deadline)
                    ):
                        await anyio.sleep(_POLL_INTERVAL)
                self._stop.set()
                await self._stopped.wait()
            else:
                self._close()
        if not self._until:
            self._recorder.log_summary("" if self._breaker.is_healthy else self._breaker.reason)

    def _can_progress(self, deadline: float) -> bool:
        if self._recorder.store.oldest() is not None:
            return True  # what is outside of the lanes does not depend on User.com
        return self._queues.has_work_before(
            deadline, is_healthy=self._breaker.resumes_at < deadline
        )

    def _close(self) -> None:
        self._closed = True
        until = self._until or "the shutdown"
        lost = self._recorder.close(self._queues.close(), f"not delivered before {until}")
        if lost and self._until:
            why = self._breaker.reason or "there was no time left"
            logger.warning(
                "not delivered to User.com before %s: %d commands (%s)", until, lost, why
            )
