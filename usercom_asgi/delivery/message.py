"""A command on its way: :class:`QueuedCommand`, and when two of them become one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.commands import Update

if TYPE_CHECKING:
    from ..core.envelope import Envelope
    from ..core.receipts import Receipt

# Updates that were said within so many seconds may become one, and so many of them: they become too old together.
_MERGED_WITHIN = 600.0
_MOST_MERGED = 100


class QueuedCommand:
    """An accepted envelope on its way, with its receipt and the tries so far."""

    # Thousands of these may wait, and each object that they hold is one more for every full garbage collection.
    __slots__ = ("envelope", "is_single", "parts", "receipt", "refusals", "row", "tries")

    def __init__(self, envelope: Envelope, receipt: Receipt) -> None:
        self.envelope = envelope
        #: Its own; see also :attr:`receipts`.
        self.receipt = receipt
        #: Where it stands itself in the outbox, if that is one with rows; see also :attr:`rows`.
        self.row: int | None = None
        #: The updates that have merged into this one, itself included, as they were said.
        self.parts: tuple[QueuedCommand, ...] = ()
        #: It has been part of one that was refused.
        self.is_single = False
        self.tries = 0
        #: How often User.com has refused it as it refuses a key, while others passed.
        self.refusals = 0

    @property
    def receipts(self) -> list[Receipt]:
        """All whose outcome this is: more than one where updates have merged."""
        return [part.receipt for part in self.parts] if self.parts else [self.receipt]

    @property
    def rows(self) -> list[int]:
        """Where all of it stands in the outbox: as many as there are receipts, or none."""
        return [part.row for part in self.parts or (self,) if part.row is not None]

    @property
    def age(self) -> float:
        """Seconds since it was said."""
        return time.time() - self.envelope.created_at

    def take_in(self, newer: QueuedCommand) -> bool:
        """Take a later update of the same visitor into this one; False if that cannot be."""
        mine, other = self.envelope, newer.envelope
        if type(mine.command) is not Update or type(other.command) is not Update:
            return False
        if (
            mine.ordering_key != other.ordering_key
            or mine.key != other.key
            or mine.source != other.source
            or mine.identity != other.identity
        ):
            return False
        if self.is_single or newer.is_single or len(self.parts) >= _MOST_MERGED:
            return False
        if (self.row is None) != (newer.row is None):
            return False  # what is on disk may become another process's, and must not take along what is in memory only
        if other.created_at - mine.created_at > _MERGED_WITHIN or _shares_objects(
            mine.command, other.command
        ):
            return False
        self.parts = (*(self.parts or (self._copy(),)), newer)
        self.envelope = replace(
            mine, command=mine.command.followed_by(other.command), page=other.page
        )
        return True

    def apart(self) -> tuple[QueuedCommand, ...]:
        """Return what has merged into this, each to be sent alone: one of them is refused, and not all of them."""
        for part in self.parts:
            part.is_single = True
        return self.parts

    def _copy(self) -> QueuedCommand:
        copy = QueuedCommand(self.envelope, self.receipt)
        copy.row = self.row
        return copy


def _shares_objects(mine: Update, other: Update) -> bool:
    """Tell whether both hold an object of one name, such as ``company``: User.com merges those, and we must not guess how."""
    return any(
        isinstance(value, Mapping) and name in other.attributes
        for name, value in mine.attributes.items()
    )
