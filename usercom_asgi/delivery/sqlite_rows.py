"""Which rows of the file this process has left there: :class:`Rows`."""

from __future__ import annotations

_BLOCK = 1024


class Rows:
    """A set of row numbers that lie close to each other: a bit for each, so that a million of them take a few hundred kB."""

    def __init__(self) -> None:
        self._blocks: dict[int, int] = {}

    def add(self, row: int) -> None:
        """Put one in."""
        block, bit = divmod(row, _BLOCK)
        self._blocks[block] = self._blocks.get(block, 0) | 1 << bit

    def discard(self, row: int) -> bool:
        """Take one out, and tell whether it was there."""
        block, bit = divmod(row, _BLOCK)
        bits = self._blocks.get(block, 0)
        if not bits >> bit & 1:
            return False
        self._blocks[block] = bits ^ 1 << bit
        if not self._blocks[block]:
            del self._blocks[block]
        return True

    def forget_below(self, row: int) -> None:
        """Forget those that are far below this one: other processes have sent them."""
        for block in [each for each in self._blocks if each < row // _BLOCK]:
            del self._blocks[block]
