"""Delivery without a lifespan: behind the response, in the request's own task, under a deadline.

Mounted applications, ``--lifespan off``, serverless adapters and in-process test clients give a middleware no lifespan, and so
no place for workers. What a request says is then sent by the request itself.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import anyio

from ..errors import DeliveryError
from ..receipts import Receipt, Status

if TYPE_CHECKING:
    from types import TracebackType

    from ..config import UserComConfig
    from ..envelope import Envelope, OpenSender, Sender

logger = logging.getLogger("usercom_asgi")

_TOO_LATE = "User.com did not answer in time, and there is no lifespan in which to try again"


class InlineDelivery:
    """What one request says, sent in order by :meth:`deliver`; each command is tried once."""

    def __init__(self, open_sender: OpenSender, config: UserComConfig) -> None:
        self._open_sender = open_sender
        self._config = config
        self._waiting: list[tuple[Envelope, Receipt]] = []
        self._keys: dict[str, str] = {}
        self._connections = AsyncExitStack()
        self._sender: Sender | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.deliver(self._config.inline_deadline)
            await self._connections.aclose()

    def submit(self, envelope: Envelope) -> Receipt:
        """Accept an envelope; it is sent when the response is out."""
        if len(self._waiting) >= self._config.max_waiting:
            return Receipt(Status.DROPPED, f"{len(self._waiting)} commands wait already (max_waiting)")
        receipt = Receipt()
        self._waiting.append((envelope, receipt))
        return receipt

    def recall(self, token: str) -> Receipt | None:  # noqa: ARG002  the runtime's signature
        """Nothing outlives the request here."""
        return None

    async def settle(self, receipt: Receipt, lane: str, within: float) -> None:  # noqa: ARG002  the runtime's signature
        """Send what waits in a lane now, in at most ``within`` seconds."""
        await self.deliver(within, lane=lane)

    async def deliver(self, within: float, *, lane: str | None = None) -> None:
        """Send what waits, of one lane or of all, in at most ``within`` seconds; what is not sent by then is dropped."""
        chosen = [each for each in self._waiting if lane is None or each[0].lane == lane]
        self._waiting = [each for each in self._waiting if each not in chosen]
        if not chosen:
            return
        with anyio.move_on_after(within):
            for envelope, receipt in chosen:
                await self._send(envelope, receipt)
        lost = [receipt for _, receipt in chosen if not receipt.is_final]
        for receipt in lost:
            receipt.settle(Status.DROPPED, _TOO_LATE)
        if lost:
            logger.warning("%d commands lost: %s", len(lost), _TOO_LATE)

    async def _send(self, envelope: Envelope, receipt: Receipt) -> None:
        key: str | None = None
        try:
            sender = await self._open()
            while True:
                answer = await sender.send(envelope, self._keys.get(envelope.lane) or envelope.key)
                key = answer.key
                if key:
                    self._keys[envelope.lane] = key
                if answer.then is None:
                    break
                envelope = replace(envelope, command=answer.then)
        except DeliveryError as error:
            logger.warning("a command to User.com is lost: %s", error)
            receipt.settle(Status.DROPPED, str(error))
        except Exception:
            logger.exception("delivery to User.com met an error of its own; one command is lost")
            receipt.settle(Status.DROPPED, "an error in the delivery")
        else:
            receipt.settle(Status.DELIVERED, key=key)

    async def _open(self) -> Sender:
        # No private client for a request that says nothing: opening one is the dearest thing here.
        if self._sender is None:
            self._sender = await self._connections.enter_async_context(self._open_sender())
        return self._sender
