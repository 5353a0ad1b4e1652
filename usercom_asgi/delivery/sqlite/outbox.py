"""The outbox that keeps commands in a SQLite file."""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anyio
import anyio.to_thread

from ...core.exceptions import ConfigurationError, OutboxError
from ..queue import MemoryOutbox
from .database import SqliteFile
from .store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..outbox import QueueHost, Store

logger = logging.getLogger("usercom_asgi")


class SqliteOutbox:
    """An outbox in a file on a local disk, shared by the worker processes of one host.

    An awaited helper returns when its command is committed to the disk. A
    committed command is delivered, if need be by another process or after a
    restart. Commands that were in flight when a process was killed may be
    delivered twice. Needs a lifespan.

    Args:
        path: The file. It is created if it is missing, readable by this user only. It
            must not be on a network file system.
        on_error: If the file cannot be used at start: ``raise`` an
            :class:`OutboxError`, or keep commands in ``memory`` and log an error.
        max_rows: Commands that the file may hold. Further commands are dropped.
        lease: Seconds after which another process claims the queues of a killed one.

    Raises:
        ConfigurationError: If an argument is malformed.

    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        on_error: Literal["raise", "memory"] = "raise",
        max_rows: int = 1_000_000,
        lease: float = 10.0,
    ) -> None:
        if (
            not isinstance(path, (str, os.PathLike))
            or not str(path)
            or str(path).startswith((":", "file:"))
        ):
            raise ConfigurationError(
                "outbox", "needs the path of a file, such as SqliteOutbox('var/usercom.db')"
            )
        if on_error not in ("raise", "memory"):
            raise ConfigurationError("outbox", "on_error must be 'raise' or 'memory'")
        if isinstance(max_rows, bool) or not isinstance(max_rows, int) or max_rows < 1:
            raise ConfigurationError("outbox", "max_rows must be a whole number of 1 or more")
        if not isinstance(lease, (int, float)) or not 1 <= lease < 3600:
            given = lease if isinstance(lease, (int, float)) else type(lease).__name__
            raise ConfigurationError(
                "outbox", f"lease must be seconds, from 1 to less than 3600, got {given}"
            )
        self.path = Path(path).absolute()  # it stays the same file after a chdir()
        self._given = str(path)
        self.on_error = on_error
        self.max_rows = max_rows
        self.lease = lease

    def __repr__(self) -> str:
        return f"SqliteOutbox({self._given!r})"

    @asynccontextmanager
    async def open(self, host: QueueHost, *, max_queue_size: int) -> AsyncGenerator[Store]:
        """See :meth:`Outbox.open`."""
        limiter = anyio.CapacityLimiter(1)  # one connection, one thread at a time
        try:
            file = await anyio.to_thread.run_sync(
                SqliteFile, self.path, self.lease, limiter=limiter
            )
        except OutboxError as error:
            if self.on_error == "raise":
                raise
            logger.error(  # noqa: TRY400  the error is in the text
                "%s, keeping commands in memory only: they are lost with the process",
                error,
                extra={"usercom_event": "outbox_unusable"},
            )
            async with MemoryOutbox().open(host, max_queue_size=max_queue_size) as memory:
                yield memory
            return
        store = SqliteStore(
            file,
            host,
            limiter,
            max_queue_size=max_queue_size,
            max_rows=self.max_rows,
            name=str(self.path),
        )
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.keep_writing)
                yield store
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await store.close()
