"""Complaints that would come at every command while something is broken: :class:`Rarely`."""

from __future__ import annotations

import time

_INTERVAL = 60.0


class Rarely:
    """One line a minute of each kind, however much is lost: a full queue must not fill the disk as well."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[float, int]] = {}

    def due(self, kind: str) -> int | None:
        """Return how many lines of this kind were kept back since the last one; None if the next is to be kept back too."""
        now = time.monotonic()
        last, kept_back = self._lines.get(kind, (None, 0))
        if last is not None and now - last <= _INTERVAL:
            self._lines[kind] = last, kept_back + 1
            return None
        self._lines[kind] = now, 0
        return kept_back
