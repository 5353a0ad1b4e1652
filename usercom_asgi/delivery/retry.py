"""What is tried again, and when."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..commands import ResetAuth
from ..envelope import RESET_DEADLINE

if TYPE_CHECKING:
    from .lanes import Waiting


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with full jitter, under a total deadline. All in seconds."""

    first: float = 0.5
    longest: float = 60.0
    deadline: float = 6 * 3600.0

    def delay(self, tries: int, retry_after: float | None) -> float:
        """Return how long to wait after so many tries; what the answer asked for is the least."""
        ceiling = min(self.longest, self.first * 2.0 ** min(tries - 1, 30))
        delay = random.uniform(ceiling / 2, ceiling)  # noqa: S311  jitter keeps no secret
        return max(delay, retry_after or 0.0)

    def expired(self, waiting: Waiting, age: float) -> bool:
        """Tell whether a command said ``age`` seconds ago is not worth another try."""
        return age > (RESET_DEADLINE if isinstance(waiting.envelope.command, ResetAuth) else self.deadline)
