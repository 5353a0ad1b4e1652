"""A delivery that records, in the place of the real one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from ..core.event_loops import current_loop
from ..core.receipts import Receipt, Status, skip_receipt
from ..delivery.stats import Readiness, Stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.abc import TaskStatus

    from ..core.commands import Command
    from ..core.config import UserComConfig
    from ..core.envelope import Envelope, PendingReset
    from ..core.receipts import Outcome
    from .captured import Captured


class RecordingDelivery:
    """Records each command when it is submitted, so that no test has to wait.

    It stands for a :class:`DeliveryService`, for the delivery of one request, and, with
    a ``refusal``, for that of a visitor who must not be tracked.
    """

    is_over = False
    dead_letters: Sequence[Outcome] = ()

    def __init__(self, captured: Captured, config: UserComConfig, *, refusal: str = "") -> None:
        self.captured = captured
        #: The event loop that it was made or started in, for calls from threads.
        self.loop = current_loop()
        self._config = config
        self._refusal = refusal

    @property
    def stats(self) -> Stats:
        """The counters of the capture."""
        sent = len(self.captured.commands)
        skipped = len(self.captured.skipped)
        return Stats(accepted=sent, delivered=sent, skipped=skipped)

    def submit(self, envelope: Envelope) -> Receipt:
        """Record a command; its receipt is final."""
        if self._refusal:
            receipt = skip_receipt(envelope.command, self._refusal)
        else:
            receipt = Receipt(Status.DELIVERED, key=self._key_after(envelope))
        self.captured.add(envelope, receipt)
        return receipt

    def _key_after(self, envelope: Envelope) -> str | None:
        """Return the key that User.com would name in its response."""
        if self._config.uses_rest:
            return self.captured.new_key() if envelope.may_create else envelope.key
        if envelope.creates_user:
            return self.captured.new_key()
        return envelope.key or self.captured.key_for(envelope.identity)

    def skip(self, command: Command, reason: str, path: str = "") -> Receipt:
        """Record a command with nothing to send."""
        receipt = skip_receipt(command, reason, path)
        self.captured.add_command(command, receipt, url=path)
        return receipt

    def remember(self, name: str, reset: PendingReset) -> None:
        """Keep a reset for a later request of the capture."""
        self.captured.pending_resets[name] = reset

    def recall(self, name: str) -> PendingReset | None:
        """Return the reset of an earlier request."""
        return self.captured.pending_resets.get(name)

    def request_ended(self, number: int) -> None:
        """Do nothing: each command has its outcome."""

    async def wait_for(self, receipt: Receipt, within: float) -> None:
        """Return at once: each receipt is final."""

    async def flush(self, timeout: float = 5.0) -> bool:  # noqa: ARG002, ASYNC109  as the real one
        """Return True: nothing waits."""
        return True

    def readiness(self) -> Readiness:
        """See :meth:`DeliveryService.readiness`."""
        return Readiness(state="sending", is_accepting=True)

    async def start(self) -> None:
        """Note the event loop."""
        self.loop = current_loop()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Note the event loop; there is nothing to run."""
        self.loop = current_loop()
        task_status.started()

    async def drain(self) -> None:
        """Do nothing: each command has its outcome."""
