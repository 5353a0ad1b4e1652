"""Decides which commands are retried, and when: :class:`RetryPolicy`."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from ..core.envelope import RESET_DEADLINE

if TYPE_CHECKING:
    from ..core.exceptions import UnavailableError
    from .queue import QueuedCommand


class RetryPolicy(NamedTuple):
    """Exponential back-off with jitter, until ``give_up_after``; in seconds."""

    initial_delay: float = 0.5
    max_delay: float = 60.0
    give_up_after: float = 6 * 3600.0

    def delay(self, tries: int, retry_after: float | None) -> float:
        """Return the seconds to wait after so many tries; at least ``retry_after``."""
        ceiling = min(self.max_delay, self.initial_delay * 2.0 ** min(tries - 1, 30))
        delay = random.uniform(ceiling / 2, ceiling)  # noqa: S311  jitter keeps no secret
        return max(delay, self.retry_after_delay(retry_after))

    def retry_after_delay(self, retry_after: float | None) -> float:
        """Return the seconds that a ``Retry-After`` asks for, up to an hour."""
        return min(retry_after or 0.0, 3600.0)

    def expired(self, queued: QueuedCommand, delay: float = 0.0) -> bool:
        """Return True if another try in ``delay`` seconds would be too late."""
        return queued.age + delay > (
            RESET_DEADLINE if queued.envelope.creates_user else self.give_up_after
        )

    def is_too_late(self, queued: QueuedCommand) -> bool:
        """Return True if a first try is too late: the widget creates the user."""
        return queued.envelope.creates_user and queued.age > RESET_DEADLINE

    def is_safe_to_retry(self, queued: QueuedCommand, error: UnavailableError) -> bool:
        """Return True if a second call cannot create a second user."""
        return error.not_sent or not queued.envelope.creates_user
