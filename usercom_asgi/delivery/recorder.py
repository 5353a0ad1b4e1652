"""Records command outcomes: receipts, counters, hooks, outbox, log."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.commands import ResetAuth
from ..core.exceptions import RejectedError
from ..core.receipts import Outcome, OutcomeCallbacks, PendingReceipt, Status
from ..core.signals import Signal
from .log_throttle import LogThrottle
from .queue import VisitorQueue
from .stats import Stats

if TYPE_CHECKING:
    from ..core.envelope import Envelope
    from ..core.exceptions import DeliveryError
    from .outbox import Store
    from .queue import QueuedCommand

logger = logging.getLogger("usercom_asgi")


class OutcomeRecorder:
    """Records the outcomes of one delivery."""

    def __init__(self, callbacks: OutcomeCallbacks, store: Store) -> None:
        self.stats = Stats()
        #: Commands in memory without an outcome.
        self.waiting = 0
        #: Notified when a drain may be over: a command has its outcome,
        #: or waits elsewhere.
        self.changed = Signal()
        self.store = store
        self._hooks = OutcomeHooks(callbacks)
        self._forwarded = 0
        self._dropped_resets = 0
        self._throttle = LogThrottle()

    def record(
        self,
        queue: VisitorQueue,
        status: Status,
        reason: str = "",
        *,
        error: RejectedError | None = None,
    ) -> None:
        """Record the outcome of the queue's first command, and remove it."""
        queued = queue.commands.popleft()
        key = queue.keys.key_for(queued.envelope)
        self.waiting -= 1
        self.changed.notify_all()
        if status is Status.DELIVERED:
            self.stats.delivered += 1
        elif status is Status.DEAD:
            self.stats.dead_lettered += 1
        else:
            self._count_dropped(queued.envelope)
        queued.receipt.finish(status, reason, key if status is Status.DELIVERED else None)
        if status is Status.DEAD:
            # With the key that it would have been sent with: a retry from the dead
            # letters does not know the queue.
            queued.envelope = replace(queued.envelope, key=key)
            self.store.dead_letter(
                queued, outcome_of(queued.envelope, status, reason, key=key, error=error)
            )
        self.store.settled(queued)
        # Logging and hooks come last, so that an error in them loses nothing.
        self._throttle.log_outcome(queued.envelope.command, status, reason, has_dead_letters=True)
        self._hooks.call(queued.envelope, status, reason, key=key, error=error)

    def progressed(self, queue: VisitorQueue) -> None:
        """Store that a part of the command was delivered, or a key learned."""
        if queue.commands[0].row is not None:
            self.store.progressed(queue.commands[0], queue.keys.dumps())

    def retried(self, queued: QueuedCommand) -> None:
        """Count a failed try, and wake those who wait for its outcome."""
        self.stats.retried += 1
        queued.receipt.wake()

    def reject(self, envelope: Envelope, reason: str) -> PendingReceipt:
        """Drop a command that is not accepted."""
        self.stats.rejected += 1
        self._count_dropped(envelope)
        self._throttle.log(
            logging.WARNING,
            "command_rejected",
            "Dropping command: %s (%d dropped so far)",
            reason,
            self.stats.dropped,
            reason=reason,
            dropped=self.stats.dropped,
        )
        self._hooks.call(envelope, Status.DROPPED, reason)
        receipt = PendingReceipt()
        receipt.finish(Status.DROPPED, reason)
        return receipt

    def release(self) -> None:
        """Count a command that is left in the outbox."""
        self.stats.persisted += 1
        self.waiting -= 1
        self.changed.notify_all()

    def restore(self) -> None:
        """Count a command that came from the outbox."""
        self.waiting += 1
        self.stats.restored += 1

    def dead_letter(self, queued: QueuedCommand, reason: str) -> None:
        """Move a command that is in no queue to the dead letters."""
        queue = VisitorQueue(queued.envelope.ordering_key)
        queue.commands.append(queued)
        self.record(queue, Status.DEAD, reason)

    def mark_forwarded(self, queued: QueuedCommand, reason: str) -> None:
        """Record that another process has the command."""
        self.release()
        self._forwarded += 1
        queued.receipt.forward(reason)

    def close(self, left: list[QueuedCommand], reason: str) -> None:
        """Record the commands that are left at the end."""
        for queued in left:
            if self.store.is_persisted(queued):
                self.release()
                continue
            self.waiting -= 1
            self._count_dropped(queued.envelope)
            queued.receipt.finish(Status.DROPPED, reason)
            self._hooks.call(queued.envelope, Status.DROPPED, reason)

    def log_summary(self, failure: str) -> None:
        """Log the outcomes in one line."""
        stats = self.stats
        if stats.accepted or stats.restored or stats.dropped:
            # The widget makes up for dropped resets, so less is lost than it looks.
            resets = f" (resets: {self._dropped_resets})" if self._dropped_resets else ""
            persisted = self.store.persisted + self._forwarded
            logger.log(
                logging.WARNING if stats.dropped or stats.dead_lettered else logging.INFO,
                "Delivered to User.com: %d, left in the outbox: %d, dropped: %d%s, dead letters: %d%s",
                stats.delivered,
                persisted,
                stats.dropped,
                resets,
                stats.dead_lettered,
                failure and f" (the last failure: {failure})",
                extra={
                    "usercom_event": "delivery_ended",
                    "usercom_delivered": stats.delivered,
                    "usercom_dropped": stats.dropped,
                    "usercom_dead_lettered": stats.dead_lettered,
                    "usercom_persisted": persisted,
                },
            )

    def _count_dropped(self, envelope: Envelope) -> None:
        self.stats.dropped += 1
        if isinstance(envelope.command, ResetAuth):
            self._dropped_resets += 1


class OutcomeHooks:
    """Calls the application's outcome hooks."""

    def __init__(self, callbacks: OutcomeCallbacks) -> None:
        self._callbacks = callbacks
        self._is_needed = callbacks != OutcomeCallbacks()
        self._is_calling = False

    def call(
        self,
        envelope: Envelope,
        status: Status,
        reason: str = "",
        *,
        key: str | None = None,
        error: DeliveryError | None = None,
    ) -> None:
        """Call the hook for an outcome."""
        # A hook may submit a command that is rejected: count it, but don't call
        # the hook again.
        if not self._is_needed or self._is_calling:
            return
        self._is_calling = True
        try:
            self._callbacks.call(outcome_of(envelope, status, reason, key=key, error=error))
        finally:
            self._is_calling = False


def outcome_of(
    envelope: Envelope,
    status: Status,
    reason: str,
    *,
    key: str | None = None,
    error: DeliveryError | None = None,
) -> Outcome:
    """Return the outcome for hooks and dead letters; ``key`` is the learned key."""
    return Outcome(
        command=envelope.command,
        status=status,
        created_at=envelope.created_at,
        reason=reason,
        http_status=error.status if isinstance(error, RejectedError) else None,
        detail=error.detail if isinstance(error, RejectedError) else "",
        key=key or envelope.key,
    )
