"""Publishes commands as broker tasks, retrying until accepted."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio

from ...core.serialization import pack
from ...delivery.recorder import LogThrottle
from ...delivery.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ...core.envelope import Envelope

logger = logging.getLogger("usercom_asgi")

#: How long a broker may take to accept one task, in seconds.
PUBLISH_TIMEOUT = 3.0
_RETRY = RetryPolicy(first=0.25, longest=2.0)
# So many failures of one task, while others pass: then it is the task that the broker does not take.
MAX_FAILURES = 8


class TaskPublisher:
    """Hands the broker one task at a time, again and again until it is taken."""

    def __init__(self, send: Callable[[list[dict[str, Any]]], Awaitable[object]]) -> None:
        self._send = send
        self._passes = 0
        self._throttle = LogThrottle()
        #: Why the last one was not taken; empty if it was.
        self.trouble = ""

    async def publish(self, envelopes: Sequence[Envelope]) -> bool:
        """Hand over what is to travel as one task, however long that takes; False if the broker takes all others but this."""
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
        """Write down that the broker serves."""
        if self.trouble:
            self.trouble = ""
            logger.warning("the broker is there again")

    def on_failure(self, error: BaseException) -> None:
        """Say that the broker does not serve; once a minute."""
        # The type tells enough, and the text might quote the broker's address with its password.
        self.trouble = f"the broker does not take tasks ({type(error.__cause__ or error).__name__})"
        if self._throttle.due("the broker") is not None:
            logger.error("%s: what is said to User.com waits here until it does", self.trouble)


def to_task(envelope: Envelope) -> dict[str, Any]:
    """Return an envelope as JSON for the broker; its events say when they were said, since a broker keeps no order."""
    packed = pack(envelope)
    created_at = datetime.fromtimestamp(envelope.created_at, UTC).isoformat(timespec="milliseconds")
    command = packed["command"]
    if command["kind"] == "product_event":
        command["custom_data"].setdefault("occurred_at", created_at)
    event = command if command["kind"] == "event" else command.get("event")
    if event is not None:
        event["data"].setdefault("occurred_at", created_at)
    return packed
