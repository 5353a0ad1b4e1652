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

    first: float = 0.5
    longest: float = 60.0
    deadline: float = 6 * 3600.0

    def delay(self, tries: int, retry_after: float | None) -> float:
        """Return how long to wait after so many tries; what the answer asked for is the least, up to an hour."""
        ceiling = min(self.longest, self.first * 2.0 ** min(tries - 1, 30))
        delay = random.uniform(ceiling / 2, ceiling)  # noqa: S311  jitter keeps no secret
        return max(delay, self.asked(retry_after))

    def asked(self, retry_after: float | None) -> float:
        """Return the seconds that an answer has asked for, up to an hour."""
        return min(retry_after or 0.0, 3600.0)

    def expired(self, waiting: QueuedCommand, delay: float = 0.0) -> bool:
        """Tell whether another try in ``delay`` seconds would come too late."""
        return waiting.age + delay > (
            RESET_DEADLINE if waiting.envelope.creates_user else self.deadline
        )

    def is_forbidden(self, waiting: QueuedCommand) -> bool:
        """Tell whether not even the first try may be made: from the deadline on the widget makes the new visitor."""
        return waiting.envelope.creates_user and waiting.age > RESET_DEADLINE

    def may_repeat(self, waiting: QueuedCommand, error: UnavailableError) -> bool:
        """Tell whether a command may be sent twice: what was carried out already would make a second new user."""
        return error.not_sent or not waiting.envelope.creates_user
