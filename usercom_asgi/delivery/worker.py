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
_MOST_REFUSALS = 2


class Worker:
    """Long-lived workers, each with one lane at a time; all of them behind one gate."""

    def __init__(
        self,
        sender: Sender,
        queues: QueueManager,
        gate: CircuitBreaker,
        retry: RetryPolicy,
        books: OutcomeRecorder,
    ) -> None:
        self._sender = sender
        self._queues = queues
        self._gate = gate
        self._retry = retry
        self._books = books

    async def work(self) -> None:
        """Send what the lanes hold, one command at a time; runs for ever."""
        while True:
            await self._queues.reserve()
            # Where all was withdrawn, or the time is over, there is no call to wait for.
            is_probe = (
                await self._gate.enter() if self._needs_a_call(self._queues.first()) else False
            )
            queue = self._queues.take(is_probe=is_probe)
            waiting, delay = (queue.waiting[0] if queue.waiting else None), 0.0
            try:
                if waiting is not None:
                    delay = await self._send(queue, waiting, is_probe=is_probe)
            except Exception:
                # A worker never dies: what we did not foresee costs this one command.
                logger.exception(
                    "delivery to User.com met an error of its own; one command is lost"
                )
                if queue.waiting and queue.waiting[0] is waiting:
                    self._books.settle(queue, Status.DROPPED, "an error in the delivery")
            finally:
                self._gate.left(is_probe=is_probe)
            await self._books.store.written()
            if delay:
                self._queues.delay(queue, delay)
            else:
                self._queues.put_back(queue)

    def _needs_a_call(self, queue: VisitorQueue) -> bool:
        return bool(queue.waiting) and not self._is_over(queue.waiting[0])

    async def _send(self, queue: VisitorQueue, waiting: QueuedCommand, *, is_probe: bool) -> float:
        """Send the lane's first command; return the seconds to wait before the next try, 0 for none."""
        if self._is_over(waiting):
            return self._give_up(queue, waiting, _given_up(waiting, "its time is over"))
        self._gate.begin()
        waiting.tries += 1
        queue.in_flight = waiting
        try:
            answer = await self._sender.send(waiting.envelope, queue.keys.key_for(waiting.envelope))
        except UnavailableError as error:
            return self._unavailable(queue, waiting, error, is_probe=is_probe)
        except RejectedError as error:
            return self._refused(queue, waiting, error, is_probe=is_probe)
        finally:
            queue.in_flight = None
        queue.passed()
        if self._gate.passed(is_probe=is_probe):
            self._queues.resume()  # User.com is there again, for all
        self._delivered(queue, waiting, answer)
        return 0.0

    def _is_over(self, waiting: QueuedCommand) -> bool:
        return (waiting.tries > 0 and self._retry.expired(waiting)) or self._retry.is_forbidden(
            waiting
        )

    def _delivered(self, queue: VisitorQueue, waiting: QueuedCommand, answer: SendResult) -> None:
        is_news = queue.keys.learn(waiting.envelope, answer.key)
        if answer.then is None:
            if is_news:  # more of this visitor may wait where it is not seen from here
                self._books.progressed(queue)
            self._books.settle(queue, Status.DELIVERED)
            return
        waiting.envelope = replace(waiting.envelope, command=answer.then, may_create=False)
        waiting.tries = 0
        self._books.progressed(queue)

    def _refused(
        self, queue: VisitorQueue, waiting: QueuedCommand, error: RejectedError, *, is_probe: bool
    ) -> float:
        is_fault = queue.failed(self._gate.passes)
        is_ours = self._gate.refused(error, is_probe=is_probe, is_own=is_fault or queue.is_known)
        if not is_ours:
            queue.passed()
        # Others' commands pass, and only this one is refused as if by our key.
        waiting.refusals += is_ours and is_fault
        # Without a status there was no answer: the sender itself has found nothing that could be sent.
        reason = f"not sent: {error}" if error.status is None else f"refused: {error}"
        if is_ours and waiting.envelope.creates_user:
            self._books.settle(
                queue, Status.DROPPED, reason, error=error
            )  # the widget makes the user instead
            return 0.0
        if not is_ours or waiting.refusals >= _MOST_REFUSALS:
            # User.com is there, and has an opinion.
            self._books.settle(queue, Status.DEAD, reason, error=error)
            return 0.0
        return self._try_again(queue, waiting, self._retry.delay(waiting.tries, None), error)

    def _unavailable(
        self,
        queue: VisitorQueue,
        waiting: QueuedCommand,
        error: UnavailableError,
        *,
        is_probe: bool,
    ) -> float:
        is_fault = queue.failed(self._gate.passes)
        self._gate.failed(error, is_probe=is_probe, is_own=is_fault or queue.is_known)
        if not self._retry.may_repeat(waiting, error):
            return self._give_up(
                queue, waiting, f"not repeated, since it may have been carried out: {error}"
            )
        return self._try_again(
            queue, waiting, self._retry.delay(waiting.tries, error.retry_after), error
        )

    def _try_again(
        self, queue: VisitorQueue, waiting: QueuedCommand, delay: float, error: DeliveryError
    ) -> float:
        if self._retry.expired(waiting, delay):
            return self._give_up(queue, waiting, _given_up(waiting, str(error)))
        self._books.retried(waiting)
        return delay

    def _give_up(self, queue: VisitorQueue, waiting: QueuedCommand, reason: str) -> float:
        # What would make a user is not to be repeated by anybody, and behind a response there is nobody who would keep it.
        is_kept = self._retry.deadline > 0 and not waiting.envelope.creates_user
        status = Status.DEAD if is_kept else Status.DROPPED
        self._books.settle(queue, status, reason)
        return 0.0


def _given_up(waiting: QueuedCommand, why: str) -> str:
    return f"given up after {waiting.age:.0f} s: {why}"
