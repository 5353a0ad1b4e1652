"""Publishing of commands as broker tasks, with retries."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio

from ...core.serialization import pack
from ...delivery.log_throttle import LogThrottle
from ...delivery.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ...core.envelope import Envelope

logger = logging.getLogger("usercom_asgi")

#: Seconds that the broker may take to accept one task.
PUBLISH_TIMEOUT = 3.0
_RETRY = RetryPolicy(initial_delay=0.25, max_delay=2.0)
# After so many failures while other tasks succeed, the task itself is at fault.
MAX_FAILURES = 8


class TaskPublisher:
    """Publishes tasks and retries each until the broker accepts it."""

    def __init__(self, send: Callable[[list[dict[str, Any]]], Awaitable[object]]) -> None:
        self._send = send
        self._passes = 0
        self._throttle = LogThrottle()
        #: Why the last attempt failed; empty if it succeeded.
        self.trouble = ""

    async def publish(self, envelopes: Sequence[Envelope]) -> bool:
        """Publish envelopes as one task; return False if only this one is rejected.

        While the broker is down, this retries without a limit of time.
        """
        commands = [to_task(envelope) for envelope in envelopes]
        failures, passes = 0, self._passes
        while True:
            try:
                with anyio.fail_after(PUBLISH_TIMEOUT):
                    await self._send(commands)
            except Exception as error:  # noqa: BLE001  every broker has errors of its own
                failures += 1
                self.on_failure(error)
                if failures >= MAX_FAILURES and self._passes > passes:
                    return False
                await anyio.sleep(_RETRY.delay(failures, None))
            else:
                self._passes += 1
                self.on_success()
                return True

    def on_success(self) -> None:
        """Log the recovery of the broker."""
        if self.trouble:
            self.trouble = ""
            logger.warning(
                "The broker accepts tasks again", extra={"usercom_event": "broker_recovered"}
            )

    def on_failure(self, error: BaseException) -> None:
        """Log a failure of the broker, at most once a minute."""
        # Only the type, because the text may contain the broker's URL
        # with its password.
        self.trouble = (
            f"the broker does not accept tasks ({type(error.__cause__ or error).__name__})"
        )
        self._throttle.log(
            logging.ERROR, "broker_unavailable", "Commands wait in memory: %s", self.trouble
        )


def to_task(envelope: Envelope) -> dict[str, Any]:
    """Return an envelope as JSON, with ``occurred_at`` in its events.

    Brokers do not keep the order of tasks.
    """
    packed = pack(envelope)
    created_at = datetime.fromtimestamp(envelope.created_at, UTC).isoformat(timespec="milliseconds")
    command = packed["command"]
    if command["kind"] == "product_event":
        command["custom_data"].setdefault("occurred_at", created_at)
    event = command if command["kind"] == "event" else command.get("event")
    if event is not None:
        event["data"].setdefault("occurred_at", created_at)
    return packed
