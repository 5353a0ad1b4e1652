"""Changes on their way to the file: :class:`WriteBuffer`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import anyio

from ...core.serialization import to_text
from .database import WriteBatch

if TYPE_CHECKING:
    from ...core.receipts import Outcome
    from ..queue import QueuedCommand


class WriteBuffer:
    """Changes for the next transaction, and counts of the commands in memory."""

    def __init__(self, max_dead_letters: int) -> None:
        self._max_dead_letters = max_dead_letters
        #: New commands.
        self.puts: list[QueuedCommand] = []
        #: New commands behind older ones of the same visitor that are on disk only,
        #: while the file cannot be written.
        self.held_back: list[QueuedCommand] = []
        self.changes = WriteBatch()
        #: How many commands of each queue are in memory and on disk (or on their
        #: way to it).
        self.in_memory: dict[str, int] = {}
        #: The sum of them.
        self.held = 0
        #: Set while there is something to write.
        self.has_changes = anyio.Event()

    def put(self, queued: QueuedCommand) -> None:
        """Add a new command."""
        self.puts.append(queued)
        self.hold(queued.envelope.ordering_key, 1)
        self.has_changes.set()

    def delete(self, queued: QueuedCommand, row: int) -> None:
        """Delete a command that has its outcome."""
        self.changes.done.append(row)
        self.hold(queued.envelope.ordering_key, -1)
        self.has_changes.set()

    def update(self, queued: QueuedCommand, row: int, keys: str) -> None:
        """Update a command that was delivered in part, and the keys of its queue."""
        self.changes.changed.append((to_text(queued.envelope), row))
        self.changes.keys.append((keys, queued.envelope.ordering_key))
        self.has_changes.set()

    def add_dead_letter(self, queued: QueuedCommand, letter: Outcome) -> None:
        """Add a dead letter."""
        body, key = to_text(queued.envelope), queued.envelope.ordering_key
        self.changes.dead_letters.append(
            (key, letter.created_at, body, letter.http_status, letter.reason, letter.detail)
        )
        self.has_changes.set()

    def drop_oldest_dead_letters(self) -> bool:
        """Bound the dead letters; return True if some were dropped."""
        too_many = len(self.changes.dead_letters) - self._max_dead_letters
        if too_many > 0:
            del self.changes.dead_letters[:too_many]
        return too_many > 0

    def hold(self, ordering_key: str, change: int) -> None:
        """Count a queue's commands, and release a queue that has none.

        The next transaction loads the commands of released queues from disk.
        """
        if not self.count(ordering_key, change):
            self.release(ordering_key)

    def release(self, ordering_key: str) -> None:
        """Let the next transaction load commands of a queue."""
        self.changes.released.append(ordering_key)
        self.has_changes.set()

    def count(self, ordering_key: str, change: int) -> int:
        """Change the count of a queue's commands, and return it."""
        self.held += change
        count = self.in_memory.get(ordering_key, 0) + change
        if count > 0:
            self.in_memory[ordering_key] = count
        else:
            self.in_memory.pop(ordering_key, None)
        return count

    def take(self) -> tuple[list[QueuedCommand], WriteBatch]:
        """Remove and return all changes."""
        puts, self.puts, self.held_back = self.held_back + self.puts, [], []
        changes, self.changes = self.changes, WriteBatch()
        changes.released = list(dict.fromkeys(changes.released))
        return puts, changes

    def take_puts(self, *, are_all: bool) -> list[QueuedCommand]:
        """Remove and return the new commands, and those held back if ``are_all``."""
        puts, self.puts = self.puts, []
        if are_all:
            puts, self.held_back = self.held_back + puts, []
        return puts

    def put_back(self, puts: list[QueuedCommand], changes: WriteBatch) -> None:
        """Take back the changes of a failed transaction, before those made since."""
        self.puts = [*puts, *self.puts]
        later, self.changes = self.changes, changes
        for name in ("done", "dead_letters", "changed", "keys", "released"):
            getattr(changes, name).extend(getattr(later, name))

    def forget_rows(self) -> None:
        """Drop what concerns the rows of a file that is gone."""
        letters, self.changes = self.changes.dead_letters, WriteBatch()
        self.changes.dead_letters = letters
        waiting = [*self.held_back, *self.puts]
        self.held = len(waiting)
        self.in_memory = dict(Counter(each.envelope.ordering_key for each in waiting))
