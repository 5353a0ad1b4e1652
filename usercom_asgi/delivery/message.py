"""A command on its way to User.com: :class:`QueuedCommand`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..core.envelope import Envelope
    from ..core.receipts import Receipt


class QueuedCommand:
    """An accepted envelope, with its receipt and the tries so far."""

    # Thousands of these may wait, and each object in them costs time in every full garbage
    # collection.
    __slots__ = ("envelope", "key_rejections", "receipt", "row", "tries")

    def __init__(self, envelope: Envelope, receipt: Receipt) -> None:
        self.envelope = envelope
        self.receipt = receipt
        #: Its row in the outbox; None while it is in memory only.
        self.row: int | None = None
        self.tries = 0
        #: How often User.com rejected it like an API key while others succeeded.
        self.key_rejections = 0

    @property
    def age(self) -> float:
        """Seconds since the command was created."""
        return time.time() - self.envelope.created_at
