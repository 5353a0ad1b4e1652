"""Where accepted commands wait: the protocol, and memory."""

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
    from .message import QueuedCommand

#: Dead letters that memory keeps: the newest.
_MAX_DEAD_LETTERS = 1000


class QueueHost(Protocol):
    """What a store needs of the runtime."""

    @property
    def free_capacity(self) -> int:
        """How many commands may still come into memory."""
        ...

    def enqueue(self, queued: QueuedCommand) -> None:
        """Take a command that was put into the store, and is safe there."""
        ...

    def restore(self, queued: QueuedCommand, keys: str | None, *, is_own: bool) -> None:
        """Take a command from where it was kept; ``keys`` is the text of :meth:`Store.progressed`.

        ``is_own``: this runtime has accepted it, and left it there.
        """
        ...

    def release(self, queued: QueuedCommand) -> None:
        """A command was put into the store and stays there: there is no room, or it is another process's."""
        ...

    def evict(self, ordering_keys: Container[str]) -> list[QueuedCommand]:
        """Take out what is in memory of these lanes and not in flight, and return it: it is another process's."""
        ...

    def mark_forwarded(self, queued: QueuedCommand, reason: str) -> None:
        """Another process has it, and what becomes of it will not be known here."""
        ...

    def dead_letter(self, queued: QueuedCommand, reason: str) -> None:
        """A command that is in no lane goes to the dead letters."""
        ...


class Store(Protocol):
    """An open outbox. Nothing in it waits, but for what runs in its own tasks."""

    def rejection_reason(self, pending: int) -> str | None:
        """Return why nothing more can be accepted while so many wait in memory; None if it can."""
        ...

    def put(self, queued: QueuedCommand) -> None:
        """Take what was accepted. When it is safe it is given to :meth:`QueueHost.enqueue`."""
        ...

    def request_ended(self, number: int) -> None:
        """The request that has said what bears this number says no more."""
        ...

    def start_drain(self) -> None:
        """The end is near: what has gathered goes on its way."""
        ...

    @property
    def error(self) -> str:
        """Why nothing gets out of it, or nothing is kept by it, now; empty while all is well."""
        ...

    def oldest(self) -> float | None:
        """Return when the oldest of what is not in the lanes was said."""
        ...

    def settled(self, queued: QueuedCommand) -> None:
        """It was delivered, or given up for good: it need not be kept."""
        ...

    def progressed(self, queued: QueuedCommand, keys: str) -> None:
        """A part of it was delivered, or a key was learned; ``keys`` is all that its lane has learned (:class:`KeyRing`)."""
        ...

    def dead_letter(self, queued: QueuedCommand, letter: Outcome) -> None:
        """It goes to the dead letters."""
        ...

    async def flush(self) -> None:
        """Wait until what the store was told so far is safe: whoever sends on before that may have to send twice."""
        ...

    def dead(self) -> Sequence[Outcome]:
        """Return the dead letters that are at hand, oldest first."""
        ...

    @property
    def persisted(self) -> int:
        """How much is kept elsewhere than in this process's memory, roughly; it may come from all processes."""
        ...

    def is_persisted(self, queued: QueuedCommand) -> bool:
        """Tell whether this is not lost if it is left at the end."""
        ...


class Outbox(Protocol):
    """Where accepted commands wait; configuration until it is opened, once for each event loop."""

    def open(self, host: QueueHost, *, max_queue_size: int) -> AbstractAsyncContextManager[Store]:
        """Open it for one runtime, in whose task this is entered and left.

        Raises:
            OutboxError: It cannot be used.

        """
        ...


def checked(outbox: object) -> Outbox | None:
    """Return an outbox that was given, if it is one.

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
    """Commands wait in the memory of the process, ``max_queue_size`` at most; what is left at its end is lost. The default."""

    @asynccontextmanager
    async def open(self, host: QueueHost, *, max_queue_size: int) -> AsyncGenerator[MemoryStore]:
        """See :meth:`Outbox.open`."""
        yield MemoryStore(host, max_queue_size)


class UnbufferedStore:
    """What a store that holds nothing back says of that."""

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
        """It was never anywhere else."""

    def dead_letter(self, queued: QueuedCommand, letter: Outcome) -> None:  # noqa: ARG002  the protocol's signature
        """Keep the newest."""
        self._dead.append(letter)

    async def flush(self) -> None:
        """There is nothing to write; but many commands that have become too old at once must not hold up the event loop."""
        await anyio.lowlevel.checkpoint()

    def dead(self) -> list[Outcome]:
        """See :meth:`Store.dead`."""
        return list(self._dead)

    def is_persisted(self, queued: QueuedCommand) -> bool:  # noqa: ARG002  the protocol's signature
        """It is gone with the process."""
        return False
