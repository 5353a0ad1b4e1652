"""What a handler gets for what it said: :class:`Receipt`."""

from __future__ import annotations

from enum import StrEnum

import anyio


class Status(StrEnum):
    """How far what was said has come."""

    ACCEPTED = "accepted"  #: waits for its delivery, or is on its way
    DELIVERED = "delivered"  #: User.com has answered that it has it
    SKIPPED = "skipped"  #: there was nothing to send; ``reason`` says why
    DROPPED = "dropped"  #: it will not be delivered; ``reason`` says why


class Receipt:
    """Tells what became of a command.

    ``status`` is known at once and may change until :attr:`is_final`; ``reason`` is a sentence where it was skipped or
    dropped; ``key`` is the user key that User.com answered with, a secret of the visitor's.
    """

    __slots__ = ("_final", "key", "reason", "status")

    def __init__(self, status: Status = Status.ACCEPTED, reason: str = "", key: str | None = None) -> None:
        self.status = status
        self.reason = reason
        self.key = key
        self._final: anyio.Event | None = None

    def __repr__(self) -> str:
        # Without the key: whoever holds it can open the visitor's chat.
        return f"<Receipt {self.status.value}{': ' + self.reason if self.reason else ''}>"

    @property
    def is_final(self) -> bool:
        """True once the outcome is known."""
        return self.status is not Status.ACCEPTED

    async def delivered(self, timeout: float = 2.0) -> bool:  # noqa: ASYNC109  the design names it so
        """Wait at most ``timeout`` seconds for the outcome; true if User.com has what was said.

        False may also mean "not yet": ``status`` tells. Never raises.
        """
        if not self.is_final and timeout > 0:
            if self._final is None:
                self._final = anyio.Event()
            with anyio.move_on_after(timeout):
                await self._final.wait()
        return self.status is Status.DELIVERED

    def settle(self, status: Status, reason: str = "", key: str | None = None) -> None:
        """Write down the outcome, once; called by the delivery."""
        if self.is_final:
            return
        self.status, self.reason, self.key = status, reason, key
        if self._final is not None:
            self._final.set()
