"""Records command outcomes: receipts, counters, hooks, outbox, log."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.commands import ResetAuth
from ..core.receipts import Outcome, Receipt, Status, tell
from .queue import VisitorQueue
from .stats import Stats

if TYPE_CHECKING:
    from ..core.envelope import Envelope
    from ..core.exceptions import RejectedError
    from ..core.receipts import Listeners
    from .message import QueuedCommand
    from .outbox import Store

logger = logging.getLogger("usercom_asgi")


class OutcomeRecorder:
    """The accounts of one delivery."""

    def __init__(self, listeners: Listeners, store: Store) -> None:
        self.stats = Stats()
        #: How much is in memory, accepted and not settled.
        self.waiting = 0
        self.store = store
        self._hooks = {
            Status.DELIVERED: listeners.on_delivered,
            Status.DROPPED: listeners.on_dropped,
            Status.DEAD: listeners.on_dead,
        }
        self._is_telling = False
        self._handed_over = 0
        self._dropped_resets = 0
        self._complaints = LogThrottle()

    def settle(
        self,
        queue: VisitorQueue,
        status: Status,
        reason: str = "",
        *,
        error: RejectedError | None = None,
    ) -> None:
        """The lane's first command has come to its end."""
        waiting = queue.waiting.popleft()
        key = queue.keys.key_for(waiting.envelope)
        self.waiting -= 1
        if status is Status.DELIVERED:
            self.stats.delivered += 1
        elif status is Status.DEAD:
            self.stats.dead += 1
        else:
            self._count_dropped(waiting.envelope)
        waiting.receipt.settle(status, reason, key if status is Status.DELIVERED else None)
        if status is Status.DEAD:
            # With the key that it would have been sent with: a retry from the dead letters does not know the queue.
            waiting.envelope = replace(waiting.envelope, key=key)
            self.store.dead_letter(
                waiting, outcome_of(waiting.envelope, status, reason, key=key, error=error)
            )
        self.store.settled(waiting)
        # What is somebody else's code comes last: an error in it costs nothing.
        if status is not Status.DELIVERED:
            self._complain_of(waiting, status, reason)
        self._tell(waiting.envelope, status, reason, key=key, error=error)

    def progressed(self, queue: VisitorQueue) -> None:
        """A part of the lane's first command was delivered, or its visitor's key was learned."""
        if queue.waiting[0].row is not None:
            self.store.progressed(queue.waiting[0], queue.keys.dumps())

    def retried(self, waiting: QueuedCommand) -> None:
        """A try has failed, and there will be another: who waits for the outcome is told that it will take a while."""
        self.stats.retried += 1
        waiting.receipt.wake()

    def reject(self, envelope: Envelope, reason: str) -> Receipt:
        """Drop a command at the call."""
        self.stats.rejected += 1
        self._count_dropped(envelope)
        self._complain(
            "turned away",
            f"{reason}: what is said to User.com is dropped ({self.stats.dropped} so far)",
        )
        self._tell(envelope, Status.DROPPED, reason)
        return Receipt(Status.DROPPED, reason)

    def release(self) -> None:
        """Let go of a command that is safe in the outbox, and will come from there."""
        self.stats.left += 1
        self.waiting -= 1

    def restore(self, *, is_own: bool) -> None:
        """Take a command that was left in the outbox."""
        self.waiting += 1
        if is_own:
            self.stats.left -= 1
        else:
            self.stats.adopted += 1

    def dead_letter(self, waiting: QueuedCommand, reason: str) -> None:
        """Put a command that is in no lane to the dead letters."""
        queue = VisitorQueue(waiting.envelope.ordering_key)
        queue.waiting.append(waiting)
        self.settle(queue, Status.DEAD, reason)

    def mark_forwarded(self, waiting: QueuedCommand, reason: str) -> None:
        """Let go of a command that another process has taken: what becomes of it will not be known here."""
        self.release()
        self._handed_over += 1
        waiting.receipt.hand_over(reason)

    def close(self, left: list[QueuedCommand], reason: str) -> int:
        """Account for what is left at the end; return how much of it is lost."""
        lost = 0
        for waiting in left:
            if self.store.keeps(waiting):
                self.release()
                continue
            lost += 1
            self.waiting -= 1
            self._count_dropped(waiting.envelope)
            waiting.receipt.settle(Status.DROPPED, reason)
            self._tell(waiting.envelope, Status.DROPPED, reason)
        return lost

    def log_summary(self, failure: str) -> None:
        """Say in one line what became of everything."""
        stats = self.stats
        if stats.accepted or stats.adopted or stats.dropped:
            # What these would have done the widget does, later: less is lost than it looks.
            resets = f" (resets: {self._dropped_resets})" if self._dropped_resets else ""
            logger.log(
                logging.WARNING if stats.dropped or stats.dead else logging.INFO,
                "delivered to User.com: %d, left in the outbox: %d, dropped: %d%s, dead letters: %d%s",
                stats.delivered, self.store.kept + self._handed_over, stats.dropped, resets, stats.dead,
                failure and f" (the last failure: {failure})",
            )  # fmt: skip

    def _complain_of(self, waiting: QueuedCommand, status: Status, reason: str) -> None:
        what = f"{waiting.envelope.command!r}: {reason}"  # without error.detail, which may quote the values that it refuses
        if status is Status.DEAD:
            self._complain("dead", f"to the dead letters: {what}")
        else:
            self._complain("lost", f"not delivered to User.com: {what}")

    def _count_dropped(self, envelope: Envelope) -> None:
        self.stats.dropped += 1
        if isinstance(envelope.command, ResetAuth):
            self._dropped_resets += 1

    def _tell(
        self,
        envelope: Envelope,
        status: Status,
        reason: str,
        *,
        key: str | None = None,
        error: RejectedError | None = None,
    ) -> None:
        hook = self._hooks[status]
        # A hook that is being told may say something that is turned away: that is counted, and told no more.
        if hook is None or self._is_telling:
            return
        self._is_telling = True
        try:
            tell(hook, outcome_of(envelope, status, reason, key=key, error=error))
        finally:
            self._is_telling = False

    def _complain(self, kind: str, text: str) -> None:
        unsaid = self._complaints.due(kind)
        if unsaid is not None:
            logger.warning(
                "%s%s", text, f" (and {unsaid} more since the last such line)" if unsaid else ""
            )


def outcome_of(
    envelope: Envelope,
    status: Status,
    reason: str,
    *,
    key: str | None = None,
    error: RejectedError | None = None,
) -> Outcome:
    """Return what hooks and dead letters are told; ``key`` is what the visitor's lane has learned."""
    return Outcome(
        command=envelope.command,
        status=status,
        created_at=envelope.created_at,
        reason=reason,
        http_status=error.status if error else None,
        detail=error.detail if error else "",
        key=key or envelope.key,
    )


_INTERVAL = 60.0


class LogThrottle:
    """One line a minute of each kind, however much is lost: a full queue must not fill the disk as well."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[float, int]] = {}

    def due(self, kind: str) -> int | None:
        """Return how many lines of this kind were kept back since the last one; None if the next is to be kept back too."""
        now = time.monotonic()
        last, kept_back = self._lines.get(kind, (None, 0))
        if last is not None and now - last <= _INTERVAL:
            self._lines[kind] = last, kept_back + 1
            return None
        self._lines[kind] = now, 0
        return kept_back
