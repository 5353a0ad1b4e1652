"""Sends queued commands: :class:`Worker`."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.exceptions import RejectedError, UnavailableError
from ..core.receipts import Status

if TYPE_CHECKING:
    from ..core.envelope import Sender, SendResult
    from ..core.exceptions import DeliveryError
    from .circuit_breaker import CircuitBreaker
    from .message import QueuedCommand
    from .queue import QueueManager, VisitorQueue
    from .recorder import OutcomeRecorder
    from .retry import RetryPolicy

logger = logging.getLogger("usercom_asgi")

# Rejections like that of an API key, while others succeed, after which the command is at fault.
_MAX_KEY_REJECTIONS = 2


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

    async def run(self) -> None:
        """Send queued commands, one at a time; runs until cancelled."""
        while True:
            await self._queues.reserve()
            # An empty queue or an expired command needs no call, so don't wait for one.
            is_probe = (
                await self._breaker.acquire() if self._needs_call(self._queues.first()) else False
            )
            queue = self._queues.acquire(is_probe=is_probe)
            queued, delay = (queue.commands[0] if queue.commands else None), 0.0
            try:
                if queued is not None:
                    delay = await self._send(queue, queued, is_probe=is_probe)
            except Exception:
                # An unforeseen error must cost one command only, never the worker.
                logger.exception("Unexpected error in the delivery worker, dropping one command")
                if queue.commands and queue.commands[0] is queued:
                    self._recorder.record(queue, Status.DROPPED, "an error in the delivery")
            finally:
                self._breaker.release(is_probe=is_probe)
            await self._recorder.store.flush()
            if delay:
                self._queues.delay(queue, delay)
            else:
                self._queues.release(queue)

    def _needs_call(self, queue: VisitorQueue) -> bool:
        return bool(queue.commands) and not self._is_over(queue.commands[0])

    async def _send(self, queue: VisitorQueue, queued: QueuedCommand, *, is_probe: bool) -> float:
        """Send the queue's first command; return the seconds until the next try, or 0."""
        if self._is_over(queued):
            return self._abandon(queue, queued, _expiry_reason(queued, "its time is over"))
        self._breaker.on_start()
        queued.tries += 1
        queue.in_flight = queued
        try:
            result = await self._sender.send(queued.envelope, queue.keys.key_for(queued.envelope))
        except UnavailableError as error:
            return self._unavailable(queue, queued, error, is_probe=is_probe)
        except RejectedError as error:
            return self._refused(queue, queued, error, is_probe=is_probe)
        finally:
            queue.in_flight = None
        queue.on_success()
        if self._breaker.on_success(is_probe=is_probe):
            self._queues.resume()  # User.com is available again, for every queue
        self._delivered(queue, queued, result)
        return 0.0

    def _is_over(self, queued: QueuedCommand) -> bool:
        return (queued.tries > 0 and self._retry.expired(queued)) or self._retry.is_too_late(queued)

    def _delivered(self, queue: VisitorQueue, queued: QueuedCommand, result: SendResult) -> None:
        is_news = queue.keys.learn(queued.envelope, result.key)
        if result.then is None:
            if is_news:  # the outbox may hold more commands of this visitor
                self._recorder.progressed(queue)
            self._recorder.record(queue, Status.DELIVERED)
            return
        queued.envelope = replace(queued.envelope, command=result.then, may_create=False)
        queued.tries = 0
        self._recorder.progressed(queue)

    def _refused(
        self, queue: VisitorQueue, queued: QueuedCommand, error: RejectedError, *, is_probe: bool
    ) -> float:
        is_solo = queue.on_failure(self._breaker.successes)
        is_key_rejected = self._breaker.on_rejected(
            error, is_probe=is_probe, is_own=is_solo or queue.is_suspect
        )
        if not is_key_rejected:
            queue.on_success()
        # Other visitors' commands succeed, so the API key is not the cause.
        queued.key_rejections += is_key_rejected and is_solo
        # Without a status there was no call: the sender found nothing that could be sent.
        reason = f"not sent: {error}" if error.status is None else f"refused: {error}"
        if is_key_rejected and queued.envelope.creates_user:
            # The widget creates the user instead.
            self._recorder.record(queue, Status.DROPPED, reason, error=error)
            return 0.0
        if not is_key_rejected or queued.key_rejections >= _MAX_KEY_REJECTIONS:
            self._recorder.record(queue, Status.DEAD, reason, error=error)
            return 0.0
        return self._try_again(queue, queued, self._retry.delay(queued.tries, None), error)

    def _unavailable(
        self,
        queue: VisitorQueue,
        queued: QueuedCommand,
        error: UnavailableError,
        *,
        is_probe: bool,
    ) -> float:
        is_solo = queue.on_failure(self._breaker.successes)
        self._breaker.on_unavailable(error, is_probe=is_probe, is_own=is_solo or queue.is_suspect)
        if not self._retry.is_safe_to_retry(queued, error):
            return self._abandon(
                queue, queued, f"not repeated, since it may have been carried out: {error}"
            )
        return self._try_again(
            queue, queued, self._retry.delay(queued.tries, error.retry_after), error
        )

    def _try_again(
        self, queue: VisitorQueue, queued: QueuedCommand, delay: float, error: DeliveryError
    ) -> float:
        if self._retry.expired(queued, delay):
            return self._abandon(queue, queued, _expiry_reason(queued, str(error)))
        self._recorder.retried(queued)
        return delay

    def _abandon(self, queue: VisitorQueue, queued: QueuedCommand, reason: str) -> float:
        # A command that creates a user must not be repeated later, and inline delivery keeps no
        # dead letters.
        is_kept = self._retry.give_up_after > 0 and not queued.envelope.creates_user
        status = Status.DEAD if is_kept else Status.DROPPED
        self._recorder.record(queue, status, reason)
        return 0.0


def _expiry_reason(queued: QueuedCommand, why: str) -> str:
    return f"given up after {queued.age:.0f} s: {why}"
