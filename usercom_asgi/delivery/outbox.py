"""Protocols of outboxes: :class:`Outbox`, :class:`Store` and :class:`QueueHost`."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Protocol, cast

from ..core.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from ..core.receipts import Outcome
    from .queue import QueuedCommand


class QueueHost(Protocol):
    """The service as a store sees it."""

    @property
    def free_capacity(self) -> int:
        """How many more commands fit into memory."""
        ...

    def enqueue(self, queued: QueuedCommand) -> None:
        """Queue a command that the store has made safe."""
        ...

    def restore(self, queued: QueuedCommand, keys: str | None) -> None:
        """Queue a command from the outbox, with the ``keys`` of its queue."""
        ...

    def release(self, queued: QueuedCommand) -> None:
        """Leave a command in the store: there is no room, or another process has it."""
        ...

    def evict(
        self, is_lost: Callable[[QueuedCommand], bool]
    ) -> tuple[list[QueuedCommand], list[QueuedCommand]]:
        """Remove commands that another process has claimed.

        Return those that were removed, and those that stay because they are in flight.
        """
        ...

    def snapshot(self) -> list[tuple[QueuedCommand, str]]:
        """Return the commands in the queues, in order, with the keys of their queues."""
        ...

    def mark_forwarded(self, queued: QueuedCommand, reason: str) -> None:
        """Record that another process has the command."""
        ...

    def dead_letter(self, queued: QueuedCommand, reason: str) -> None:
        """Move a command that is in no queue to the dead letters."""
        ...


class Store(Protocol):
    """An open outbox. Only its own tasks and :meth:`flush` wait."""

    def rejection_reason(self, pending: int) -> str | None:
        """Return why no command is accepted while ``pending`` wait, or None."""
        ...

    def put(self, queued: QueuedCommand) -> None:
        """Store a command, then give it to :meth:`QueueHost.enqueue`."""
        ...

    def request_ended(self, number: int) -> None:
        """Note that the request of this number submits no more commands."""
        ...

    def start_drain(self) -> None:
        """Start to drain: send on at once what is held back."""
        ...

    @property
    def error(self) -> str:
        """Why nothing is sent or stored now; empty if all is well."""
        ...

    def oldest(self) -> float | None:
        """Return when the oldest command outside of the queues was created."""
        ...

    def settled(self, queued: QueuedCommand) -> None:
        """Delete a command that has its outcome."""
        ...

    def progressed(self, queued: QueuedCommand, keys: str) -> None:
        """Store a command that was delivered in part, and its queue's keys."""
        ...

    def dead_letter(self, queued: QueuedCommand, letter: Outcome) -> None:
        """Move a command to the dead letters."""
        ...

    async def confirm(self) -> None:
        """Wait until it is certain that the queues are still this process's.

        Another one may have claimed them while this one stood still.
        """
        ...

    async def flush(self) -> None:
        """Wait until all changes so far are safe, so that nothing is sent twice."""
        ...

    def dead(self) -> Sequence[Outcome]:
        """Return the dead letters at hand, oldest first."""
        ...

    @property
    def persisted(self) -> int:
        """How many commands are stored outside of memory, roughly, of all processes."""
        ...

    def is_persisted(self, queued: QueuedCommand) -> bool:
        """Return True if the command outlives this process."""
        ...


class Outbox(Protocol):
    """A kind of storage for commands; opened once for each event loop."""

    def open(self, host: QueueHost, *, max_queue_size: int) -> AbstractAsyncContextManager[Store]:
        """Open it for one service; entered and left in one task.

        Raises:
            OutboxError: It cannot be used.

        """
        ...


def validate_outbox(outbox: object) -> Outbox | None:
    """Return the outbox, if it is one.

    Raises:
        ConfigurationError: It is something else, such as the path of a file.

    """
    what = type(outbox).__name__
    if outbox is not None and (
        isinstance(outbox, (str, PathLike, type)) or not callable(getattr(outbox, "open", None))
    ):
        raise ConfigurationError(
            "outbox", f"must be an outbox, such as SqliteOutbox('var/outbox.db') (got {what})"
        )
    return cast("Outbox | None", outbox)
