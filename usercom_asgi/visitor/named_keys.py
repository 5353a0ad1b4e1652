"""User keys that User.com names in its answers to one visitor: :class:`NamedKeys`."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..core.receipts import Receipt
    from ..core.validation import Json

# A websocket may send commands for weeks, while User.com is down as well.
MAX_ENTRIES = 32


class NamedKeys:
    """The newest answers that have named a key, and those that may.

    Each belongs to the identity that its command was sent for.
    """

    __slots__ = ("_known", "_pending")

    def __init__(self) -> None:
        self._known: deque[tuple[Mapping[str, Json], str]] = deque(maxlen=MAX_ENTRIES)
        self._pending: deque[tuple[Mapping[str, Json], Receipt]] = deque(maxlen=MAX_ENTRIES)

    def __len__(self) -> int:
        return len(self._known) + len(self._pending)

    def add(self, identity: Mapping[str, Json], receipt: Receipt) -> None:
        """Add a command whose answer names a key."""
        pending = self._pending
        while pending and pending[0][1].is_final:
            self._keep(*pending.popleft())
        # Of those that still wait the oldest is forgotten. The delivery gives its key
        # to the later commands of the same request.
        pending.append((identity, receipt))

    def newest(self) -> str | None:
        """Return the key that was named last."""
        named = (receipt.key for _, receipt in reversed(self._pending) if receipt.key)
        return next(named, None) or (self._known[-1][1] if self._known else None)

    def newest_for(self, identity: Mapping[str, Json]) -> str | None:
        """Return the key that was named last for this identity, and for no other."""
        named = (
            receipt.key
            for sent_for, receipt in reversed(self._pending)
            if receipt.key and sent_for == identity
        )
        known = (key for sent_for, key in reversed(self._known) if sent_for == identity)
        return next(named, None) or next(known, None)

    def _keep(self, identity: Mapping[str, Json], receipt: Receipt) -> None:
        entry = (identity, receipt.key)
        if receipt.key and (not self._known or self._known[-1] != entry):
            self._known.append((identity, receipt.key))
