"""Sends queued commands: :class:`Worker`."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from ..core import telemetry
from ..core.event_loops import is_error
from ..core.exceptions import RejectedError, UnavailableError
from ..core.log import INTERNAL_ERROR
from ..core.receipts import Status
from .circuit_breaker import KEY_STATUSES

if TYPE_CHECKING:
    from ..core.envelope import Sender, SendResult
    from ..core.exceptions import DeliveryError
    from .circuit_breaker import Call, CircuitBreaker
    from .queue import QueuedCommand, QueueManager, VisitorQueue
    from .recorder import OutcomeRecorder
    from .retry import RetryPolicy

logger = logging.getLogger("usercom_asgi")

# After this many further 401 or 403 of one queue while other queues succeed, its
# command goes to the dead letters.
MAX_SOLO_REJECTIONS = 2


class Worker:
    """Sends the first command of one queue after another; several tasks run it."""

    def __init__(
        self,
        sender: Sender,
        queues: QueueManager,
        breaker: CircuitBreaker,
        retry: RetryPolicy,
        recorder: OutcomeRecorder,
    ) -> None:
        self._sender = sender
        self._queues = queues
        self._breaker = breaker
        self._retry = retry
        self._recorder = recorder
        self._turn = anyio.Lock()

    async def run(self) -> None:
        """Send queued commands, one at a time; runs until cancelled."""
        while True:
            # Many answers may come at once. Only one task at a time goes on to its next
            # call, so that requests get the event loop in between: with 32 tasks, the
            # worst lag is 30 to 40 ms instead of 55 to 71 (bench.delivery).
            async with self._turn:
                pass
            await self._queues.reserve()
            await self._recorder.store.confirm()
            if self._needs_call(self._queues.first):
                async with self._breaker.call() as call:
                    await self._recorder.store.confirm()
                    # Take it only now: a more urgent queue may have become ready.
                    queue = self._queues.take(is_probe=call.is_probe)
                    delay = await self._handle(queue, call)
            else:
                queue = self._queues.take()
                delay = await self._handle(queue, None)
            await self._recorder.store.flush()
            self._queues.give_back(queue, delay)

    def _needs_call(self, queue: VisitorQueue) -> bool:
        """Return False for an empty queue and an expired command."""
        return bool(queue.commands) and not self._is_over(queue.commands[0])

    async def _handle(self, queue: VisitorQueue, call: Call | None) -> float:
        """Handle the first command; return the seconds until its next try, or 0."""
        queued = queue.commands[0] if queue.commands else None
        try:
            if queued is None:
                return 0.0
            if call is None or self._is_over(queued):
                return self._abandon(queue, queued, _expiry_reason(queued, "its time is over"))
            return await self._send(queue, queued, call)
        except BaseException as error:
            # An unforeseen error must cost one command only, never the worker.
            if not is_error(error):
                raise
            logger.exception(
                "Unexpected error in the delivery worker, dropping one command",
                extra=INTERNAL_ERROR,
            )
            if queue.commands and queue.commands[0] is queued:
                self._recorder.record(queue, Status.DROPPED, "an error in the delivery")
            return 0.0

    async def _send(self, queue: VisitorQueue, queued: QueuedCommand, call: Call) -> float:
        queued.tries += 1
        queue.in_flight = queued
        try:
            key = queue.keys.key_for(queued.envelope)
            with telemetry.delivery(queued.envelope, queued.tries):
                result = await self._sender.send(queued.envelope, key)
        except UnavailableError as error:
            self._count_failure(queue, call, error)
            return self._unavailable(queue, queued, error)
        except RejectedError as error:
            return self._rejected(queue, queued, call, error)
        finally:
            queue.in_flight = None
        self._count_success(queue, call)
        self._delivered(queue, queued, result)
        return 0.0

    def _is_over(self, queued: QueuedCommand) -> bool:
        return (queued.tries > 0 and self._retry.expired(queued)) or self._retry.is_too_late(queued)

    def _count_success(self, queue: VisitorQueue, call: Call) -> None:
        queue.reset_failures()
        if call.succeed():
            self._queues.resume()  # User.com is available again, for every queue

    def _count_failure(self, queue: VisitorQueue, call: Call, error: DeliveryError) -> None:
        queue.count_failure(self._breaker.successes)
        call.fail(error, queue.ordering_key, is_own=queue.solo_failures > 0)

    def _delivered(self, queue: VisitorQueue, queued: QueuedCommand, result: SendResult) -> None:
        is_news = queue.keys.learn(queued.envelope, result.key)
        if result.next_command is None:
            if is_news:  # the outbox may hold more commands of this visitor
                self._recorder.progressed(queue)
            self._recorder.record(queue, Status.DELIVERED)
            return
        queued.envelope = replace(queued.envelope, command=result.next_command, may_create=False)
        queued.tries = 0
        self._recorder.progressed(queue)

    def _rejected(
        self, queue: VisitorQueue, queued: QueuedCommand, call: Call, error: RejectedError
    ) -> float:
        status = Status.DEAD
        if error.status in KEY_STATUSES:
            self._count_failure(queue, call, error)
            if queued.envelope.creates_user:
                status = Status.DROPPED  # the widget creates the user instead
            elif queue.solo_failures < MAX_SOLO_REJECTIONS:
                return self._try_again(queue, queued, self._retry.delay(queued.tries, None), error)
            queue.reset_failures()
        elif error.status is not None:
            self._count_success(queue, call)
        # Without a status there was no call: the sender found nothing that
        # could be sent.
        reason = f"{'not sent' if error.status is None else 'refused'}: {error.reason}"
        self._recorder.record(queue, status, reason, error=error)
        return 0.0

    def _unavailable(
        self, queue: VisitorQueue, queued: QueuedCommand, error: UnavailableError
    ) -> float:
        if not self._retry.is_safe_to_retry(queued, error):
            return self._abandon(
                queue, queued, f"not repeated, since it may have been carried out: {error.reason}"
            )
        return self._try_again(
            queue, queued, self._retry.delay(queued.tries, error.retry_after), error
        )

    def _try_again(
        self, queue: VisitorQueue, queued: QueuedCommand, delay: float, error: DeliveryError
    ) -> float:
        if self._retry.expired(queued, delay):
            return self._abandon(queue, queued, _expiry_reason(queued, error.reason))
        self._recorder.retried(queued)
        logger.debug(
            "Trying %r again, in %.1f s or later: %s",
            queued.envelope.command,
            delay,
            error.reason,
            extra={"usercom_event": "command_retried", "usercom_reason": error.reason},
        )
        return delay

    def _abandon(self, queue: VisitorQueue, queued: QueuedCommand, reason: str) -> float:
        # A command that creates a user must not be repeated later.
        status = Status.DROPPED if queued.envelope.creates_user else Status.DEAD
        self._recorder.record(queue, status, reason)
        return 0.0


def _expiry_reason(queued: QueuedCommand, why: str) -> str:
    return f"given up after {queued.age:.0f} s: {why}"
