"""Rate limit for log messages: :class:`LogThrottle`."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from ..core.receipts import Status

if TYPE_CHECKING:
    from ..core.commands import Command
    from ..core.exceptions import DeliveryError

logger = logging.getLogger("usercom_asgi")

# Seconds between two messages of one kind.
_INTERVAL = 60.0


class LogThrottle:
    """Logs at most one message of each kind a minute, however often a fault repeats."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}

    def log(self, level: int, event: str, message: str, *args: object, **fields: object) -> bool:
        """Log a message, or count it for the next one; return True if it was logged.

        ``event`` is its kind and its name in docs/observability.md, which lists the fields.
        """
        now = time.monotonic()
        last, suppressed = self._last.get(event, (None, 0))
        if last is not None and now - last <= _INTERVAL:
            self._last[event] = last, suppressed + 1
            return False
        self._last[event] = now, 0
        if suppressed:
            message += f" (and {suppressed} more since the last such line)"
        extra = {f"usercom_{name}": value for name, value in fields.items()}
        logger.log(level, message, *args, extra={"usercom_event": event, **extra})
        return True

    def log_rejected_key(self, error: DeliveryError, consequence: str) -> None:
        """Log that User.com does not accept the API key or the token."""
        self.log(
            logging.ERROR,
            "api_key_rejected",
            "User.com rejected the API key (%s), %s."
            " Check rest_token, or for channel='widget' api_key and the workspace's allowed domains",
            error.reason,
            consequence,
            status=error.status,
        )

    def log_outcome(
        self, command: Command, status: Status, reason: str, *, has_dead_letters: bool
    ) -> None:
        """Log what became of a command: every delivery, and losses as :meth:`log` does."""
        kind = type(command).__name__
        if status is Status.DELIVERED:
            logger.debug(
                "Delivered %r",
                command,
                extra={"usercom_event": "command_delivered", "usercom_command": kind},
            )
            return
        event = "command_dead_lettered" if status is Status.DEAD else "command_dropped"
        # Without the error's detail, which may quote the values that User.com rejects.
        text = "Command was not delivered to User.com: %r: %s"
        if status is Status.DEAD and has_dead_letters:
            text = "Moving command to the dead letters: %r: %s"
        self.log(logging.WARNING, event, text, command, reason, command=kind, reason=reason)
