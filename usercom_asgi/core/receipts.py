"""What a handler gets for what it said: :class:`Receipt`."""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import anyio

from .exceptions import ConfigurationError
from .hooks import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from .commands import Command


# How long somebody waits for an outbox to write down what was accepted, in seconds: a disk that hangs is not waited for.
_LONGEST_COMMIT = 5.0


class Status(StrEnum):
    """How far what was said has come."""

    ACCEPTED = "accepted"  #: waits for its delivery, or is on its way
    DELIVERED = "delivered"  #: User.com has answered that it has it
    SKIPPED = "skipped"  #: there was nothing to send; ``reason`` says why
    DROPPED = "dropped"  #: it will not be delivered; ``reason`` says why
    DEAD = "dead"  #: User.com has refused it, or it has become too old: it is kept with the dead letters


class Receipt:
    """Tells what became of a command.

    ``status`` is known at once and may change until :attr:`is_final`; ``reason`` is a sentence where it was skipped or
    dropped; ``key`` is the user key that User.com answered with, a secret of the visitor's. Where a broker carries what was
    said it stays ``accepted``, with the ``reason`` that it was handed over: another process delivers it.
    """

    __slots__ = (
        "__weakref__",
        "_changed",
        "is_handed_over",
        "key",
        "on_wait",
        "reason",
        "status",
        "storing",
    )

    def __init__(
        self, status: Status = Status.ACCEPTED, reason: str = "", key: str | None = None
    ) -> None:
        self.status = status
        self.reason = reason
        self.key = key
        #: Called when somebody waits for the outcome: where delivery begins only then.
        self.on_wait: Callable[[], None] | None = None
        #: Set once it is on disk, where it is to be: the awaited helper waits for this.
        self.storing: anyio.Event | None = None
        #: Another process delivers it: the outcome will not be known here.
        self.is_handed_over = False
        self._changed: anyio.Event | None = None

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
        if self.on_wait is not None and not self.is_final:
            self.on_wait()
        with anyio.move_on_after(timeout):
            await self.over()
        return self.status is Status.DELIVERED

    async def over(self) -> None:
        """Wait until nothing more will be known here: the outcome is there, or another process will see to it."""
        while not (self.is_final or self.is_handed_over):
            await self._next()

    async def tried(self, within: float) -> None:
        """Wait at most ``within`` seconds for the outcome, or for a try that failed."""
        if not self.is_final and within > 0:
            with anyio.move_on_after(within):
                await self._next()

    async def stored(self, within: float = _LONGEST_COMMIT) -> None:
        """Wait at most ``within`` seconds until it is on disk, where that is what accepted means."""
        if self.storing is not None:
            with anyio.move_on_after(within):
                await self.storing.wait()

    async def _next(self) -> None:
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    def wake(self) -> None:
        """Tell those who wait that something has happened; called by the delivery."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def hand_over(self, reason: str) -> None:
        """Write down that another process delivers it; called by the delivery."""
        if not self.is_final:
            self.is_handed_over, self.reason = True, reason
            self.wake()

    def settle(self, status: Status, reason: str = "", key: str | None = None) -> None:
        """Write down the outcome, once; called by the delivery."""
        if self.is_final:
            return
        self.status, self.reason, self.key = status, reason, key
        self.wake()


logger = logging.getLogger("usercom_asgi")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Outcome:
    """What became of one command.

    ``status`` is ``delivered``, ``dropped`` or ``dead``; ``reason`` is a sentence, but for what was delivered. Of a command
    that User.com has refused ``http_status`` is its answer's status, and ``detail`` the first 500 characters of the answer's
    body, which may quote what was sent. ``key`` is the visitor's user key, a secret. ``created_at`` is in seconds since the
    epoch.
    """

    command: Command
    status: Status
    created_at: float
    reason: str = ""
    http_status: int | None = None
    detail: str = ""
    key: str | None = None

    def __repr__(self) -> str:
        # Without the key, the detail and the command's values: a repr ends in a log.
        return f"<Outcome {self.status.value}: {self.command!r}{', ' + self.reason if self.reason else ''}>"


#: A plain function (it is called where a handler may be running, and nothing waits for it).
OutcomeHook: TypeAlias = "Callable[[Outcome], object]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Who is told what became of a command. What they raise is logged, and changes nothing.

    Raises:
        ConfigurationError: One is no plain function.

    """

    on_delivered: OutcomeHook | None = None
    on_dropped: OutcomeHook | None = None
    on_dead: OutcomeHook | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            hook = getattr(self, name)
            if hook is not None and (not callable(hook) or inspect.iscoroutinefunction(hook)):
                raise ConfigurationError(
                    name, "must be a plain function that takes an Outcome; it is not awaited"
                )


def skipped(command: Command, reason: str) -> Receipt:
    """Return the receipt of a command of which there is nothing to send; a debug line says why."""
    logger.debug("skipped: %r: %s", command, reason)
    return Receipt(Status.SKIPPED, reason)


def tell(hook: OutcomeHook | None, outcome: Outcome) -> None:
    """Call a hook; an error in it is logged, once."""
    if hook is None:
        return
    try:
        hook(outcome)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  somebody else's code, in the middle of the delivery: no CancelledError either
        # Without its text, which may quote what the hook was told.
        name = getattr(hook, "__qualname__", type(hook).__name__)
        warn_once(f"the hook {name}, which is told of outcomes, raises {type(error).__name__}")
