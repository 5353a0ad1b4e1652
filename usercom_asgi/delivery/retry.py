"""What is tried again, and when."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.envelope import RESET_DEADLINE

if TYPE_CHECKING:
    from ..core.exceptions import UnavailableError
    from .message import QueuedCommand


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off, of which half is jitter, under a total deadline. All in seconds."""

    initial_delay: float = 0.5
    max_delay: float = 60.0
    give_up_after: float = 6 * 3600.0

    def delay(self, tries: int, retry_after: float | None) -> float:
        """Return how long to wait after so many tries; what the answer asked for is the least, up to an hour."""
        ceiling = min(self.max_delay, self.initial_delay * 2.0 ** min(tries - 1, 30))
        delay = random.uniform(ceiling / 2, ceiling)  # noqa: S311  jitter keeps no secret
        return max(delay, self.retry_after_delay(retry_after))

    def retry_after_delay(self, retry_after: float | None) -> float:
        """Return the seconds that an answer has asked for, up to an hour."""
        return min(retry_after or 0.0, 3600.0)

    def expired(self, queued: QueuedCommand, delay: float = 0.0) -> bool:
        """Tell whether another try in ``delay`` seconds would come too late."""
        return queued.age + delay > (
            RESET_DEADLINE if queued.envelope.creates_user else self.give_up_after
        )

    def is_too_late(self, queued: QueuedCommand) -> bool:
        """Tell whether not even the first try may be made: from the deadline on the widget makes the new visitor."""
        return queued.envelope.creates_user and queued.age > RESET_DEADLINE

    def is_safe_to_retry(self, queued: QueuedCommand, error: UnavailableError) -> bool:
        """Tell whether a command may be sent twice: what was carried out already would make a second new user."""
        return error.not_sent or not queued.envelope.creates_user
