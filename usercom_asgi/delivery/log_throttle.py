"""Rate limit for log messages: :class:`LogThrottle`."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("usercom_asgi")

# Seconds between two messages of one kind.
_INTERVAL = 60.0


class LogThrottle:
    """Logs at most one message of each kind a minute, however often a fault repeats."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}

    def log(self, level: int, kind: str, message: str, *args: object) -> bool:
        """Log a message, or count it for the next one; return True if it was logged."""
        now = time.monotonic()
        last, suppressed = self._last.get(kind, (None, 0))
        if last is not None and now - last <= _INTERVAL:
            self._last[kind] = last, suppressed + 1
            return False
        self._last[kind] = now, 0
        if suppressed:
            message += f" (and {suppressed} more since the last such line)"
        logger.log(level, message, *args)
        return True
