"""Delivery without a lifespan: after the response, in the request's own task.

Mounted applications, ``--lifespan off``, serverless adapters and in-process test clients
have no lifespan, so no workers can outlive a request. Each request then delivers its own
commands: in order, one try each.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import anyio

from ..core.exceptions import DeliveryError, RejectedError
from ..core.receipts import PendingReceipt, Status, skip_receipt
from ..core.signals import Signal
from .circuit_breaker import KEY_STATUSES
from .key_ring import KeyRing
from .recorder import HookCaller, LogThrottle
from .stats import Readiness, Stats

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from types import TracebackType

    from ..core.commands import Command
    from ..core.config import UserComConfig
    from ..core.envelope import Envelope, OpenSender, PendingReset, Sender
    from ..core.receipts import Outcome, OutcomeCallbacks, Receipt

logger = logging.getLogger("usercom_asgi")


class _InlineStatus:
    """The status of the delivery where each request delivers its own commands."""

    stats = Stats()
    dead_letters: Sequence[Outcome] = ()

    def readiness(self) -> Readiness:
        """See :meth:`DeliveryService.readiness`."""
        return Readiness(state="inline", is_accepting=True)


#: What ``get_delivery`` returns where there is no lifespan.
INLINE_STATUS = _InlineStatus()


class InlineDelivery:
    """Delivery of one request, which sends after the response, for ``inline_deadline`` at most.

    It sends earlier if ``at_once`` is set, for a reset, or if a handler waits for a receipt.
    A request without commands costs nothing.
    """

    def __init__(
        self,
        open_sender: OpenSender,
        config: UserComConfig,
        callbacks: OutcomeCallbacks,
        *,
        at_once: bool = False,
    ) -> None:
        self._open_sender = open_sender
        self._config = config
        self._callbacks = callbacks
        self._at_once = at_once
        self._batch: _Batch | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._batch is not None:
            await self._batch.finish()

    def submit(self, envelope: Envelope) -> PendingReceipt:
        """Accept an envelope, or drop it; see :meth:`DeliveryService.submit`."""
        if self._batch is None:
            self._batch = _Batch(self._open_sender, self._config, self._callbacks)
        receipt = self._batch.add(envelope)
        if self._at_once:
            self._batch.start()
        return receipt

    def skip(self, command: Command, reason: str) -> Receipt:
        """See :class:`~usercom_asgi.core.envelope.Delivery`."""
        return skip_receipt(command, reason)

    def request_ended(self, number: int) -> None:
        """Do nothing: the delivery ends with the request."""

    def remember(self, name: str, reset: PendingReset) -> None:
        """Do nothing: a reset ends with the request."""

    def recall(self, name: str) -> PendingReset | None:  # noqa: ARG002  the protocol's signature
        """Return None: a reset ends with the request."""
        return None

    async def wait_for(self, receipt: Receipt, within: float) -> None:
        """Start sending, and wait at most ``within`` seconds for an outcome."""
        if self._batch is not None:
            self._batch.start()
        if isinstance(receipt, PendingReceipt):
            await receipt.tried(within)


class _Batch:
    """Commands of one request, and the loop that sends them."""

    def __init__(
        self, open_sender: OpenSender, config: UserComConfig, callbacks: OutcomeCallbacks
    ) -> None:
        self._open_sender = open_sender
        self._config = config
        self._hooks = HookCaller(callbacks)
        self._throttle = LogThrottle()
        self._waiting: deque[tuple[Envelope, PendingReceipt]] = deque()
        self._keys: dict[str, KeyRing] = {}
        self._scope = anyio.CancelScope(shield=True)
        self._has_started = self._is_over = False
        self._changed = Signal()
        self._ended = anyio.Event()
        self._failure = "there was no time left"

    def add(self, envelope: Envelope) -> PendingReceipt:
        """Accept an envelope, or drop it."""
        receipt = PendingReceipt(self.start)
        if self._is_over:
            self._lose(envelope, receipt, "the request is over")
        elif len(self._waiting) >= self._config.max_queue_size:
            self._lose(envelope, receipt, f"{len(self._waiting)} commands wait already")
        elif envelope.creates_user:  # the response waits for it
            self._waiting.appendleft((envelope, receipt))
        else:
            self._waiting.append((envelope, receipt))
        self._changed.notify_all()
        return receipt

    def start(self) -> None:
        """Send in a task of its own, while the request goes on."""
        if not self._has_started:
            self._has_started = True
            _start_task(self._run)

    async def finish(self) -> None:
        """Send what is left, within the deadline, even if the request was cancelled."""
        self._is_over = True
        self._scope.deadline = anyio.current_time() + self._config.inline_deadline
        self._changed.notify_all()
        with anyio.CancelScope(shield=True):
            if not self._has_started:
                self._has_started = True
                await self._run()
            await self._ended.wait()

    async def _run(self) -> None:
        try:
            with self._scope:
                async with self._open_sender() as sender:
                    await self._send_all(sender)
        except Exception:
            # An error in the delivery must not become the application's.
            logger.exception("Delivery to User.com cannot run, dropping the request's commands")
        finally:
            self._is_over = True
            self._drop_rest()
            self._ended.set()

    def _drop_rest(self) -> None:
        if self._waiting:
            logger.warning(
                "Not delivered to User.com before the deadline behind the response: %d commands (%s)",
                len(self._waiting),
                self._failure,
            )
        while self._waiting:
            envelope, receipt = self._waiting.popleft()
            reason = "not delivered before the deadline behind the response"
            receipt.finish(Status.DROPPED, reason)
            self._hooks.call(envelope, Status.DROPPED, reason)

    async def _send_all(self, sender: Sender) -> None:
        while self._waiting or not self._is_over:
            if self._waiting:
                await self._send(sender, *self._waiting[0])
            else:
                await self._changed.wait()

    async def _send(self, sender: Sender, envelope: Envelope, receipt: PendingReceipt) -> None:
        keys = self._keys.setdefault(envelope.ordering_key, KeyRing())
        accepted, error, reason = (envelope, receipt), None, ""
        try:
            while True:
                result = await sender.send(envelope, keys.key_for(envelope))
                keys.learn(envelope, result.key)
                if result.then is None:
                    break
                envelope = replace(envelope, command=result.then, may_create=False)
        except DeliveryError as raised:
            error, reason = raised, self._failure = raised, str(raised)
        self._waiting.remove(accepted)
        key = keys.key_for(envelope)
        if error is None:
            receipt.finish(Status.DELIVERED, key=key)
            self._hooks.call(envelope, Status.DELIVERED, key=key)
        else:
            self._lose(envelope, receipt, reason, key, error)

    def _lose(
        self,
        envelope: Envelope,
        receipt: PendingReceipt,
        reason: str,
        key: str | None = None,
        error: DeliveryError | None = None,
    ) -> None:
        """Record and log a command that is not delivered."""
        status = Status.DROPPED
        if isinstance(error, RejectedError) and error.status not in KEY_STATUSES:
            status = Status.DEAD
        receipt.finish(status, reason)
        self._throttle.log(
            logging.WARNING,
            status.value,
            "Command was not delivered to User.com: %r: %s",
            envelope.command,
            reason,
        )
        self._hooks.call(envelope, status, reason, key=key, error=error)


# The event loop itself keeps only weak references to its tasks.
_tasks = set["asyncio.Task[None]"]()


def _start_task(run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Start a task outside of any task group; it handles its own errors.

    A group would have to be entered before each request, also before those that submit
    nothing.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio

        trio.lowlevel.spawn_system_task(run)
    else:
        task = loop.create_task(run())
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
