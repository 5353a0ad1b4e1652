"""What the workers do: take a lane when a call may be made, send its first command, and see to what comes of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.exceptions import Refused, Unavailable
from ..core.receipts import Status

if TYPE_CHECKING:
    from ..core.envelope import Answer, Sender
    from ..core.exceptions import DeliveryError
    from .circuit_breaker import Gate
    from .message import Waiting
    from .queue import Lane, Lanes
    from .recorder import Books
    from .retry import RetryPolicy

logger = logging.getLogger("usercom_asgi")

# So often a command may be refused as a key would be, while others pass: then it is the command.
_MOST_REFUSALS = 2


class Sending:
    """Long-lived workers, each with one lane at a time; all of them behind one gate."""

    def __init__(self, sender: Sender, lanes: Lanes, gate: Gate, retry: RetryPolicy, books: Books) -> None:
        self._sender = sender
        self._lanes = lanes
        self._gate = gate
        self._retry = retry
        self._books = books

    async def work(self) -> None:
        """Send what the lanes hold, one command at a time; runs for ever."""
        while True:
            await self._lanes.promise()
            # Where all was withdrawn, or the time is over, there is no call to wait for.
            is_probe = await self._gate.enter() if self._needs_a_call(self._lanes.first()) else False
            lane = self._lanes.take(is_probe=is_probe)
            waiting, delay = (lane.waiting[0] if lane.waiting else None), 0.0
            try:
                if waiting is not None:
                    delay = await self._send(lane, waiting, is_probe=is_probe)
            except Exception:
                # A worker never dies: what we did not foresee costs this one command.
                logger.exception("delivery to User.com met an error of its own; one command is lost")
                if lane.waiting and lane.waiting[0] is waiting:
                    self._books.settle(lane, Status.DROPPED, "an error in the delivery")
            finally:
                self._gate.left(is_probe=is_probe)
            await self._books.store.written()
            if delay:
                self._lanes.park(lane, delay)
            else:
                self._lanes.give_back(lane)

    def _needs_a_call(self, lane: Lane) -> bool:
        return bool(lane.waiting) and not self._is_over(lane.waiting[0])

    async def _send(self, lane: Lane, waiting: Waiting, *, is_probe: bool) -> float:
        """Send the lane's first command; return the seconds to wait before the next try, 0 for none."""
        if self._is_over(waiting):
            return self._give_up(lane, waiting, _given_up(waiting, "its time is over"))
        self._gate.begin()
        waiting.tries += 1
        lane.in_flight = waiting
        try:
            answer = await self._sender.send(waiting.envelope, lane.keys.key_for(waiting.envelope))
        except Unavailable as error:
            return self._unavailable(lane, waiting, error, is_probe=is_probe)
        except Refused as error:
            return self._refused(lane, waiting, error, is_probe=is_probe)
        finally:
            lane.in_flight = None
        lane.passed()
        if self._gate.passed(is_probe=is_probe):
            self._lanes.unpark()  # User.com is there again, for all
        self._delivered(lane, waiting, answer)
        return 0.0

    def _is_over(self, waiting: Waiting) -> bool:
        return (waiting.tries > 0 and self._retry.expired(waiting)) or self._retry.is_forbidden(waiting)

    def _delivered(self, lane: Lane, waiting: Waiting, answer: Answer) -> None:
        is_news = lane.keys.learn(waiting.envelope, answer.key)
        if answer.then is None:
            if is_news:  # more of this visitor may wait where it is not seen from here
                self._books.progressed(lane)
            self._books.settle(lane, Status.DELIVERED)
            return
        waiting.envelope = replace(waiting.envelope, command=answer.then, may_create=False)
        waiting.tries = 0
        self._books.progressed(lane)

    def _refused(self, lane: Lane, waiting: Waiting, error: Refused, *, is_probe: bool) -> float:
        is_fault = lane.failed(self._gate.passes)
        is_ours = self._gate.refused(error, is_probe=is_probe, is_own=is_fault or lane.is_known)
        if not is_ours:
            lane.passed()
        # Others' commands pass, and only this one is refused as if by our key.
        waiting.refusals += is_ours and is_fault
        # Without a status there was no answer: the sender itself has found nothing that could be sent.
        reason = f"not sent: {error}" if error.status is None else f"refused: {error}"
        if is_ours and waiting.envelope.creates_user:
            self._books.settle(lane, Status.DROPPED, reason, error=error)  # the widget makes the user instead
            return 0.0
        if not is_ours or waiting.refusals >= _MOST_REFUSALS:
            # User.com is there, and has an opinion.
            if waiting.parts:
                self._lanes.take_apart(lane)
                return 0.0
            self._books.settle(lane, Status.DEAD, reason, error=error)
            return 0.0
        return self._try_again(lane, waiting, self._retry.delay(waiting.tries, None), error)

    def _unavailable(self, lane: Lane, waiting: Waiting, error: Unavailable, *, is_probe: bool) -> float:
        is_fault = lane.failed(self._gate.passes)
        self._gate.failed(error, is_probe=is_probe, is_own=is_fault or lane.is_known)
        if not self._retry.may_repeat(waiting, error):
            return self._give_up(lane, waiting, f"not repeated, since it may have been carried out: {error}")
        return self._try_again(lane, waiting, self._retry.delay(waiting.tries, error.retry_after), error)

    def _try_again(self, lane: Lane, waiting: Waiting, delay: float, error: DeliveryError) -> float:
        if self._retry.expired(waiting, delay):
            return self._give_up(lane, waiting, _given_up(waiting, str(error)))
        self._books.retried(waiting)
        return delay

    def _give_up(self, lane: Lane, waiting: Waiting, reason: str) -> float:
        # What would make a user is not to be repeated by anybody, and behind a response there is nobody who would keep it.
        is_kept = self._retry.deadline > 0 and not waiting.envelope.creates_user
        status = Status.DEAD if is_kept else Status.DROPPED
        self._books.settle(lane, status, reason)
        return 0.0


def _given_up(waiting: Waiting, why: str) -> str:
    return f"given up after {waiting.age:.0f} s: {why}"
