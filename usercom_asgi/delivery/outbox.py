"""Outbox and store protocols, and the outbox in memory."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from os import PathLike
from typing import TYPE_CHECKING, Protocol, cast

import anyio.lowlevel

from ..core.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Container, Sequence
    from contextlib import AbstractAsyncContextManager

    from ..core.receipts import Outcome
    from .queue import QueuedCommand

#: The number of dead letters kept in memory: the newest.
_MAX_DEAD_LETTERS = 1000


class QueueHost(Protocol):
    """The service as a store sees it."""

    @property
    def free_capacity(self) -> int:
        """How many more commands fit into memory."""
        ...

    def enqueue(self, queued: QueuedCommand) -> None:
        """Queue a command that the store has made safe."""
        ...

    def restore(self, queued: QueuedCommand, keys: str | None, *, is_own: bool) -> None:
        """Queue a command from the outbox; ``keys`` is the text of :meth:`Store.progressed`.

        ``is_own``: this service accepted it, and left it there.
        """
        ...

    def release(self, queued: QueuedCommand) -> None:
        """Leave a command in the store: there is no room, or another process has it."""
        ...

    def evict(self, ordering_keys: Container[str]) -> list[QueuedCommand]:
        """Remove and return what another process has claimed, unless it is in flight."""
        ...

    def mark_forwarded(self, queued: QueuedCommand, reason: str) -> None:
        """Record that another process has the command; its outcome stays unknown here."""
        ...

    def dead_letter(self, queued: QueuedCommand, reason: str) -> None:
        """Move a command that is in no queue to the dead letters."""
        ...


class Store(Protocol):
    """An open outbox. Only its own tasks and :meth:`flush` wait."""

    def rejection_reason(self, pending: int) -> str | None:
        """Return why no command is accepted while ``pending`` are in memory, or None."""
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
        """Store a command that was delivered in part, and its queue's :class:`KeyRing`."""
        ...

    def dead_letter(self, queued: QueuedCommand, letter: Outcome) -> None:
        """Move a command to the dead letters."""
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
        isinstance(outbox, (str, PathLike)) or not callable(getattr(outbox, "open", None))
    ):
        raise ConfigurationError(
            "outbox", f"must be an outbox, such as SqliteOutbox('var/outbox.db') (got {what})"
        )
    return cast("Outbox | None", outbox)


class MemoryOutbox:
    """Keeps at most ``max_queue_size`` commands in memory. The default."""

    @asynccontextmanager
    async def open(self, host: QueueHost, *, max_queue_size: int) -> AsyncGenerator[MemoryStore]:
        """See :meth:`Outbox.open`."""
        yield MemoryStore(host, max_queue_size)


class UnbufferedStore:
    """Defaults for stores without a write buffer."""

    @property
    def error(self) -> str:
        """See :attr:`Store.error`."""
        return ""

    def request_ended(self, number: int) -> None:
        """See :meth:`Store.request_ended`."""

    def start_drain(self) -> None:
        """See :meth:`Store.start_drain`."""

    def oldest(self) -> float | None:
        """See :meth:`Store.oldest`."""
        return None


class MemoryStore(UnbufferedStore):
    """See :class:`Store`."""

    persisted = 0

    def __init__(self, host: QueueHost, max_queue_size: int) -> None:
        self._max_queue_size = max_queue_size
        self._dead: deque[Outcome] = deque(maxlen=_MAX_DEAD_LETTERS)
        self._host = host

    def rejection_reason(self, pending: int) -> str | None:
        """See :meth:`Store.rejection_reason`."""
        return (
            f"{pending} commands wait already (max_queue_size)"
            if pending >= self._max_queue_size
            else None
        )

    def put(self, queued: QueuedCommand) -> None:
        """Enqueue it at once: memory is all there is."""
        self._host.enqueue(queued)

    def settled(self, queued: QueuedCommand) -> None:
        """Nothing to delete: it was in memory only."""

    def progressed(self, queued: QueuedCommand, keys: str) -> None:
        """Nothing to store: it is in memory only."""

    def dead_letter(self, queued: QueuedCommand, letter: Outcome) -> None:  # noqa: ARG002  the protocol's signature
        """Keep the letter; the oldest ones are dropped."""
        self._dead.append(letter)

    async def flush(self) -> None:
        """Yield to the event loop: many commands may expire at once."""
        await anyio.lowlevel.checkpoint()

    def dead(self) -> list[Outcome]:
        """See :meth:`Store.dead`."""
        return list(self._dead)

    def is_persisted(self, queued: QueuedCommand) -> bool:  # noqa: ARG002  the protocol's signature
        """Return False: memory ends with the process."""
        return False
