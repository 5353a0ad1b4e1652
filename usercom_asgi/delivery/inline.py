"""Delivery without a lifespan: after the response, in the request's own task.

Mounted applications, ``--lifespan off``, serverless adapters and in-process test
clients have no lifespan, so no workers can outlive a request. Each request then
delivers its own commands: in order, one try each.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Self

import anyio

from ..core import telemetry
from ..core.config import DISABLED
from ..core.event_loops import current_loop, is_error, start_task
from ..core.exceptions import DeliveryError, RejectedError
from ..core.receipts import PendingReceipt, Status, skip_receipt
from ..core.signals import Signal
from .circuit_breaker import KEY_STATUSES
from .key_ring import KeyRing
from .stats import Readiness, Stats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from ..core.commands import Command
    from ..core.config import UserComConfig
    from ..core.envelope import Delivery, Envelope, OpenSender, PendingReset, Sender
    from ..core.receipts import Outcome, Receipt
    from .log_throttle import LogThrottle
    from .recorder import OutcomeHooks
    from .service import DeliveryService

logger = logging.getLogger("usercom_asgi")

#: The counter of each outcome; see :class:`.Stats`.
_COUNTERS = {
    Status.DELIVERED: "delivered",
    Status.DROPPED: "dropped",
    Status.DEAD: "dead_lettered",
}


@lru_cache(16)
def _announce(origin: str) -> None:
    logger.info(
        "Delivering commands to %s after each response, because there is no lifespan (logged once)",
        origin,
        extra={"usercom_event": "delivery_inline", "usercom_origin": origin},
    )


class _FixedStatus:
    """The status of a delivery that no lifespan runs."""

    stats = Stats()
    dead_letters: Sequence[Outcome] = ()

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    def readiness(self) -> Readiness:
        """See :meth:`DeliveryService.readiness`."""
        return self._readiness

    async def flush(self, timeout: float = 5.0) -> bool:  # noqa: ARG002, ASYNC109  see the service
        """Return True: no command waits beyond its own request."""
        return True


#: What ``get_delivery`` returns where there is no lifespan.
INLINE_STATUS = _FixedStatus(Readiness(state="inline", is_accepting=True))
#: What ``get_delivery`` returns with ``enabled=False``.
DISABLED_STATUS = _FixedStatus(Readiness(state="disabled", is_accepting=False, reason=DISABLED))


class InlineDelivery:
    """Delivery of one request, after the response.

    It takes ``inline_deadline`` at most. It sends earlier if ``at_once`` is
    set, for a reset, or if a handler waits for a receipt. A request without
    commands costs nothing.
    """

    #: The event loop of the request, for calls from threads.
    loop: object | None = None
    _has_commands = False
    _has_started = False
    _is_over = False
    _failure = "there was no time left"

    def __init__(
        self,
        open_sender: OpenSender,
        config: UserComConfig,
        hooks: OutcomeHooks,
        throttle: LogThrottle,
        *,
        at_once: bool = False,
    ) -> None:
        self._open_sender = open_sender
        self._config = config
        self._hooks = hooks
        self._throttle = throttle
        self._at_once = at_once

    def _prepare(self) -> None:
        """Make what only a request with commands needs."""
        self._has_commands = True
        _announce(self._config.origin)
        self._waiting: deque[tuple[Envelope, PendingReceipt]] = deque()
        self._keys: dict[str, KeyRing] = {}
        self._changed, self._ended = Signal(), anyio.Event()
        # A cancelled request delivers as well.
        self._scope = anyio.CancelScope(shield=True)

    async def __aenter__(self) -> Self:
        self.loop = current_loop()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over = True
        if self._has_commands:
            self._scope.deadline = anyio.current_time() + self._config.inline_deadline
            self._changed.notify_all()
            with anyio.CancelScope(shield=True):
                if not self._has_started:
                    await self._run()
                await self._ended.wait()

    def submit(self, envelope: Envelope) -> PendingReceipt:
        """Accept an envelope, or drop it; see :meth:`DeliveryService.submit`."""
        if not self._has_commands:
            self._prepare()
        receipt = PendingReceipt(self._start)
        if self._is_over:
            self._reject(envelope, receipt, "the request is over")
        elif len(self._waiting) >= self._config.max_queue_size:
            reason = f"{len(self._waiting)} commands wait already (max_queue_size)"
            self._reject(envelope, receipt, reason)
        else:
            telemetry.count(self._config.origin, "accepted")
            if envelope.creates_user:  # the response waits for it
                self._waiting.appendleft((envelope, receipt))
            else:
                self._waiting.append((envelope, receipt))
        self._changed.notify_all()
        if self._at_once:
            self._start()
        return receipt

    def _reject(self, envelope: Envelope, receipt: PendingReceipt, reason: str) -> None:
        telemetry.count(self._config.origin, "rejected")
        self._record(envelope, receipt, Status.DROPPED, reason)

    def skip(self, command: Command, reason: str, path: str = "") -> Receipt:
        """See :class:`~usercom_asgi.core.envelope.Delivery`."""
        telemetry.count(self._config.origin, "skipped")
        return skip_receipt(command, reason, path)

    def request_ended(self, number: int) -> None:
        """Do nothing: the delivery ends with the request."""

    def remember(self, name: str, reset: PendingReset) -> None:
        """Do nothing: a reset ends with the request."""

    def recall(self, name: str) -> PendingReset | None:  # noqa: ARG002  the protocol's signature
        """Return None: a reset ends with the request."""
        return None

    async def wait_for(self, receipt: Receipt, within: float) -> None:
        """Start sending, and wait at most ``within`` seconds for an outcome."""
        if isinstance(receipt, PendingReceipt):
            self._start()
            await receipt.tried(within)

    def _start(self) -> None:
        """Send in a task of its own, while the request goes on."""
        if self._has_commands and not self._has_started and not self._is_over:
            self._has_started = True
            # Not in a group, which would have to be entered before each request, also
            # before those that submit nothing.
            start_task(self._run)

    async def _run(self) -> None:
        try:
            with self._scope:
                async with self._open_sender() as sender:
                    while self._waiting or not self._is_over:
                        if self._waiting:
                            await self._send(sender, *self._waiting[0])
                        else:
                            await self._changed.wait()
        except BaseException as error:  # it must not become the application's
            if not is_error(error):
                raise
            logger.exception(
                "Delivery to User.com cannot run, dropping the request's commands",
                extra={"usercom_event": "delivery_broken"},
            )
        finally:
            self._is_over = True
            if self._waiting:
                until = "before the deadline after the response"
                message = f"Not delivered to User.com {until}: %d commands (%s)"
                self._throttle.log(
                    logging.WARNING,
                    "commands_dropped",
                    message,
                    len(self._waiting),
                    self._failure,
                    count=len(self._waiting),
                    reason=self._failure,
                )
                while self._waiting:
                    envelope, receipt = self._waiting.popleft()
                    telemetry.count(self._config.origin, "dropped")
                    receipt.finish(Status.DROPPED, f"not delivered {until}")
                    self._hooks.call(envelope, Status.DROPPED, receipt.reason)
            self._ended.set()

    async def _send(self, sender: Sender, envelope: Envelope, receipt: PendingReceipt) -> None:
        keys = self._keys.setdefault(envelope.ordering_key, KeyRing())
        accepted, status, reason, error = envelope, Status.DELIVERED, "", None
        try:
            while True:
                with telemetry.delivery(envelope, 1):
                    result = await sender.send(envelope, keys.key_for(envelope))
                keys.learn(envelope, result.key)
                if result.next_command is None:
                    break
                envelope = replace(envelope, command=result.next_command, may_create=False)
        except DeliveryError as raised:
            error, reason = raised, raised.reason
            is_refused = isinstance(error, RejectedError) and error.status not in KEY_STATUSES
            status = Status.DEAD if is_refused else Status.DROPPED
            self._failure = reason
            if error.status == 401:
                self._throttle.log_rejected_key(error, "the command is lost")
        self._waiting.remove((accepted, receipt))
        self._record(envelope, receipt, status, reason, key=keys.key_for(envelope), error=error)

    def _record(
        self,
        envelope: Envelope,
        receipt: PendingReceipt,
        status: Status,
        reason: str,
        *,
        key: str | None = None,
        error: DeliveryError | None = None,
    ) -> None:
        telemetry.count(self._config.origin, _COUNTERS[status])
        receipt.finish(status, reason, key if status is Status.DELIVERED else None)
        self._throttle.log_outcome(envelope.command, status, reason, has_dead_letters=False)
        self._hooks.call(envelope, status, reason, key=key, error=error)


class LastingDelivery:
    """Delivery of a websocket, which may stay open when the running delivery has ended.

    From then on it delivers its own commands.
    """

    def __init__(self, running: DeliveryService, make_inline: Callable[[], InlineDelivery]) -> None:
        self._running = running
        self._make_inline = make_inline
        self._inline: InlineDelivery | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._inline is not None:
            await self._inline.__aexit__(kind, error, trace)

    @property
    def _delivery(self) -> Delivery:
        if self._inline is None and self._running.is_over:
            self._inline = self._make_inline()
        return self._inline or self._running

    @property
    def loop(self) -> object | None:
        """See :class:`~usercom_asgi.core.envelope.Delivery`."""
        return self._delivery.loop

    def submit(self, envelope: Envelope) -> Receipt:
        """Accept an envelope, or drop it; see :meth:`DeliveryService.submit`."""
        return self._delivery.submit(envelope)

    def skip(self, command: Command, reason: str, path: str = "") -> Receipt:
        """See :class:`~usercom_asgi.core.envelope.Delivery`."""
        return self._delivery.skip(command, reason, path)

    async def wait_for(self, receipt: Receipt, within: float) -> None:
        """See :class:`~usercom_asgi.core.envelope.Delivery`."""
        await self._delivery.wait_for(receipt, within)

    def remember(self, name: str, reset: PendingReset) -> None:
        """See :class:`~usercom_asgi.core.envelope.Delivery`."""
        self._delivery.remember(name, reset)

    def recall(self, name: str) -> PendingReset | None:
        """See :class:`~usercom_asgi.core.envelope.Delivery`."""
        return self._delivery.recall(name)
