"""A command on its way to User.com: :class:`QueuedCommand`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..core.envelope import Envelope
    from ..core.receipts import Receipt


class QueuedCommand:
    """An accepted envelope on its way, with its receipt and the tries so far."""

    # Thousands of these may wait, and each object that they hold is one more for every full garbage collection.
    __slots__ = ("envelope", "key_rejections", "receipt", "row", "tries")

    def __init__(self, envelope: Envelope, receipt: Receipt) -> None:
        self.envelope = envelope
        self.receipt = receipt
        #: Its row in the outbox; None while it is in memory only.
        self.row: int | None = None
        self.tries = 0
        #: How often User.com has refused it as it refuses a key, while others passed.
        self.key_rejections = 0

    @property
    def age(self) -> float:
        """Seconds since it was said."""
        return time.time() - self.envelope.created_at
