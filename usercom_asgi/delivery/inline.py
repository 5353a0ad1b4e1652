"""Delivery without a lifespan: after the response, in the request's own task.

Mounted applications, ``--lifespan off``, serverless adapters and in-process test clients have
no lifespan, so no workers can outlive a request. Each request then delivers its own commands.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

import anyio

from ..core.receipts import skipped
from .retry import RetryPolicy
from .service import DeliveryService
from .stats import Readiness, Stats

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from ..core.commands import Command
    from ..core.config import UserComConfig
    from ..core.envelope import Envelope, OpenSender, PendingReset
    from ..core.receipts import Listeners, Outcome, Receipt

# One try a command: a retry would keep the request open.
_ONCE = RetryPolicy(give_up_after=0.0)


class InlineStatus:
    """The status of the delivery where each request delivers its own commands."""

    stats = Stats()
    dead_letters: Sequence[Outcome] = ()

    def readiness(self) -> Readiness:
        """See :meth:`DeliveryService.readiness`."""
        return Readiness(state="inline", is_accepting=True)


class InlineDelivery:
    """A :class:`DeliveryService` for one request, which runs after the response.

    It runs earlier if ``at_once`` is set, for a reset, or if a handler waits for a receipt.
    ``config.shutdown_timeout`` is the time limit. A request without commands opens no connection
    and starts no task.
    """

    def __init__(
        self,
        open_sender: OpenSender,
        config: UserComConfig,
        *,
        at_once: bool = False,
        listeners: Listeners | None = None,
    ) -> None:
        self._open_sender = open_sender
        self._listeners = listeners
        self._config = config
        self._at_once = at_once
        self._service: DeliveryService | None = None
        self._is_running = False
        self._tasks = anyio.create_task_group()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Don't pass the application's error to the group, which would wrap it.
        async with AsyncExitStack() as stack:
            stack.push_async_exit(self._tasks)
            if self._service is not None:
                # A cancelled request delivers as well: both sides of the drain are shielded.
                self._tasks.cancel_scope.shield = True
                with anyio.CancelScope(shield=True):
                    self._run()
                    await self._service.has_started.wait()
                    await self._service.drain()
            self._tasks.cancel_scope.cancel()

    def submit(self, envelope: Envelope) -> Receipt:
        """Accept an envelope, or drop it; see :meth:`DeliveryService.submit`."""
        if self._service is None:
            self._service = DeliveryService(
                self._open_sender,
                self._config,
                _ONCE,
                listeners=self._listeners,
                until="the deadline behind the response",
            )
        receipt = self._service.submit(envelope)
        receipt.on_wait = self._run
        if self._at_once:
            self._run()
        return receipt

    def skip(self, command: Command, reason: str) -> Receipt:
        """See :class:`~usercom_asgi.core.envelope.Delivery`."""
        return skipped(command, reason)

    def request_ended(self, number: int) -> None:
        """Do nothing: the delivery ends with the request."""

    def remember(self, name: str, reset: PendingReset) -> None:
        """Do nothing: a reset ends with the request."""

    def recall(self, name: str) -> PendingReset | None:  # noqa: ARG002  the protocol's signature
        """Do nothing: a reset ends with the request."""
        return None

    async def settle(self, receipt: Receipt, within: float) -> None:
        """Start sending, and wait at most ``within`` seconds for an outcome."""
        self._run()
        await receipt.tried(within)

    def _run(self) -> None:
        if self._service is not None and not self._is_running:
            self._is_running = True
            self._tasks.start_soon(self._service.run)
