"""What the workers do: take a lane when a call may be made, send its first command, and see to what comes of it."""

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

# So often a command may be refused as a key would be, while others pass: then it is the command.
_MAX_KEY_REJECTIONS = 2


class Worker:
    """Long-lived workers, each with one lane at a time; all of them behind one gate."""

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
        """Send what the lanes hold, one command at a time; runs for ever."""
        while True:
            await self._queues.reserve()
            # Where all was withdrawn, or the time is over, there is no call to wait for.
            is_probe = (
                await self._breaker.acquire() if self._needs_call(self._queues.first()) else False
            )
            queue = self._queues.acquire(is_probe=is_probe)
            queued, delay = (queue.commands[0] if queue.commands else None), 0.0
            try:
                if queued is not None:
                    delay = await self._send(queue, queued, is_probe=is_probe)
            except Exception:
                # A worker never dies: what we did not foresee costs this one command.
                logger.exception(
                    "delivery to User.com met an error of its own; one command is lost"
                )
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
        """Send the lane's first command; return the seconds to wait before the next try, 0 for none."""
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
            self._queues.resume()  # User.com is there again, for all
        self._delivered(queue, queued, result)
        return 0.0

    def _is_over(self, queued: QueuedCommand) -> bool:
        return (queued.tries > 0 and self._retry.expired(queued)) or self._retry.is_too_late(queued)

    def _delivered(self, queue: VisitorQueue, queued: QueuedCommand, result: SendResult) -> None:
        is_news = queue.keys.learn(queued.envelope, result.key)
        if result.then is None:
            if is_news:  # more of this visitor may wait where it is not seen from here
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
        # Others' commands pass, and only this one is refused as if by our key.
        queued.key_rejections += is_key_rejected and is_solo
        # Without a status there was no result: the sender itself has found nothing that could be sent.
        reason = f"not sent: {error}" if error.status is None else f"refused: {error}"
        if is_key_rejected and queued.envelope.creates_user:
            self._recorder.record(
                queue, Status.DROPPED, reason, error=error
            )  # the widget makes the user instead
            return 0.0
        if not is_key_rejected or queued.key_rejections >= _MAX_KEY_REJECTIONS:
            # User.com is there, and has an opinion.
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
        # What would make a user is not to be repeated by anybody, and behind a response there is nobody who would keep it.
        is_kept = self._retry.give_up_after > 0 and not queued.envelope.creates_user
        status = Status.DEAD if is_kept else Status.DROPPED
        self._recorder.record(queue, status, reason)
        return 0.0


def _expiry_reason(queued: QueuedCommand, why: str) -> str:
    return f"given up after {queued.age:.0f} s: {why}"
