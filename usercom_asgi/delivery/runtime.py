"""The running delivery: bounded memory, a few long-lived workers, one drain at the end."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio

from ..errors import Refused, Unavailable
from ..receipts import Receipt, Status
from .lanes import Lane, Lanes, Waiting
from .retry import RetryPolicy

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from ..config import UserComConfig
    from ..envelope import Answer, Envelope, OpenSender, Sender
    from ..identity import Reset

logger = logging.getLogger("usercom_asgi")

# One line a minute, however much is dropped: a full queue must not fill the disk as well.
_COMPLAINT_INTERVAL = 60.0
_REMEMBERED = 10_000


@dataclass(slots=True)
class Stats:
    """Counts since the start of the runtime."""

    accepted: int = 0
    delivered: int = 0
    retried: int = 0
    dropped: int = 0
    refused: int = 0


class Runtime:
    """Accepts envelopes at once and sends them in the background.

    ``max_waiting`` bounds everything that is accepted and not settled, in flight included. One event loop owns it.
    """

    def __init__(
        self,
        open_sender: OpenSender,
        config: UserComConfig,
        retry: RetryPolicy | None = None,
        *,
        until: str = "the shutdown",
    ) -> None:
        self.stats = Stats()
        self.waiting = 0
        self._open_sender = open_sender
        self._config = config
        self._retry = retry or RetryPolicy()
        self._until = until
        self._lanes = Lanes()
        self._remembered: dict[str, Reset] = {}
        self._failures = 0
        self._last_failure = ""
        self._closed = False
        self._last_complaint = 0.0
        self._idle = anyio.Event()
        self._stop = anyio.Event()
        self._stopped = anyio.Event()
        #: Set once :meth:`run` is at work.
        self.has_started = anyio.Event()

    @property
    def reachable(self) -> bool:
        """False while User.com is known to be down: the last call has failed."""
        return self._failures == 0

    def submit(self, envelope: Envelope) -> Receipt:
        """Accept an envelope, or drop it if too many wait. Never waits, never raises."""
        if self._closed:
            return self._refuse("the application is shutting down")
        if self.waiting >= self._config.max_waiting:
            return self._refuse(f"{self.waiting} commands wait already (max_waiting)")
        receipt = Receipt()
        self.stats.accepted += 1
        self.waiting += 1
        self._lanes.add(Waiting(envelope, receipt))
        return receipt

    async def settle(self, receipt: Receipt, within: float) -> None:
        """Wait at most ``within`` seconds for an outcome; not at all while User.com is known to be down."""
        if self.reachable:
            await receipt.tried(within)

    def remember(self, name: str, reset: Reset) -> None:
        """Keep a reset for a request that comes later; the oldest are forgotten."""
        if len(self._remembered) >= _REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[name] = reset

    def recall(self, name: str) -> Reset | None:
        """Return the reset that an earlier request asked for."""
        return self._remembered.get(name)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Send what is submitted, until :meth:`drain` has ended; to be started once, in a task of its own."""
        self.has_started.set()
        announced = False
        try:
            async with self._open_sender() as sender, anyio.create_task_group() as workers:
                for _ in range(self._config.max_concurrency):
                    workers.start_soon(self._work, sender)
                workers.start_soon(self._lanes.unpark_when_due)
                announced = True
                task_status.started()
                await self._stop.wait()
                workers.cancel_scope.cancel()
        except Exception:
            # The application goes on without us: what is said is dropped and counted.
            logger.exception("the delivery to User.com cannot run")
        finally:
            self._closed = True
            self._give_up_on(self._lanes.close())
            self._stopped.set()
        if not announced:
            task_status.started()

    async def drain(self) -> None:
        """Take nothing more, deliver what waits within ``grace`` seconds, end :meth:`run`, and say what was lost."""
        self._closed = True
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(self._config.grace):
                while self.waiting and self.has_started.is_set() and not self._stopped.is_set():
                    self._idle = anyio.Event()
                    await self._idle.wait()
            self._stop.set()
            if self.has_started.is_set():
                await self._stopped.wait()
            else:
                self._give_up_on(self._lanes.close())

    async def _work(self, sender: Sender) -> None:
        while True:
            lane = await self._lanes.take()
            delay = 0.0
            try:
                delay = await self._send_next(sender, lane)
            except Exception:
                # A worker never dies: what we did not foresee costs this one command.
                logger.exception("delivery to User.com met an error of its own; one command is lost")
                self._settle(lane, Status.DROPPED, "an error in the delivery")
            if delay:
                self._lanes.park(lane, delay)
            else:
                self._lanes.give_back(lane)

    async def _send_next(self, sender: Sender, lane: Lane) -> float:
        """Send the lane's first command; return the seconds to wait before the next try, 0 for none."""
        waiting = lane.waiting[0]
        if (waiting.tries and self._retry.expired(waiting)) or self._retry.is_forbidden(waiting):
            return self._give_up(lane, waiting, "its time is over")
        waiting.tries += 1
        try:
            answer = await sender.send(waiting.envelope, lane.key or waiting.envelope.key)
        except Unavailable as error:
            self._failures += 1
            self._last_failure = str(error)
            return self._try_again_later(lane, waiting, error)
        except Refused as error:
            # User.com is there, and has an opinion.
            self._failures = 0
            self.stats.refused += 1
            # Without error.detail: an answer may quote the values that it refuses.
            logger.warning("User.com refused %r: %s", waiting.envelope.command, error)
            self._settle(lane, Status.DROPPED, f"refused: {error}")
            return 0.0
        self._failures = 0
        self._delivered(lane, waiting, answer)
        return 0.0

    def _delivered(self, lane: Lane, waiting: Waiting, answer: Answer) -> None:
        self._lanes.learn(lane, answer.key)
        if answer.then is not None:
            waiting.envelope = replace(waiting.envelope, command=answer.then, may_create=False)
            waiting.tries = 0
            return
        self.stats.delivered += 1
        self._settle(lane, Status.DELIVERED, key=lane.key)

    def _try_again_later(self, lane: Lane, waiting: Waiting, error: Unavailable) -> float:
        delay = self._retry.delay(waiting.tries, error.retry_after)
        if self._retry.expired(waiting, delay) or not self._retry.may_repeat(waiting, error):
            repeatable = self._retry.may_repeat(waiting, error)
            return self._give_up(lane, waiting, str(error) if repeatable else f"{error}; it may have been carried out")
        self.stats.retried += 1
        waiting.receipt.wake()
        return delay

    def _give_up(self, lane: Lane, waiting: Waiting, why: str) -> float:
        self._complain(f"{waiting.envelope.command!r} given up after {waiting.age:.0f} s: {why}")
        self.stats.dropped += 1
        self._settle(lane, Status.DROPPED, f"given up: {why}")
        return 0.0

    def _settle(self, lane: Lane, status: Status, reason: str = "", key: str | None = None) -> None:
        lane.waiting.popleft().receipt.settle(status, reason, key)
        self.waiting -= 1
        if not self.waiting:
            self._idle.set()

    def _refuse(self, reason: str) -> Receipt:
        self.stats.dropped += 1
        self._complain(f"{reason}: what is said to User.com is dropped ({self.stats.dropped} so far)")
        return Receipt(Status.DROPPED, reason)

    def _give_up_on(self, left: list[Waiting]) -> None:
        for waiting in left:
            waiting.receipt.settle(Status.DROPPED, f"not delivered before {self._until}")
        self.stats.dropped += len(left)
        self.waiting = 0
        self._idle.set()
        if left:
            why = self._last_failure or "there was no time left"
            logger.warning("not delivered to User.com before %s: %d commands (%s)", self._until, len(left), why)

    def _complain(self, text: str) -> None:
        now = time.monotonic()
        if not self._last_complaint or now - self._last_complaint > _COMPLAINT_INTERVAL:
            self._last_complaint = now
            logger.warning("%s", text)
