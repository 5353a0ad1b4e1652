"""Outcomes of commands: :class:`Receipt` for the caller, hooks for the application."""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import anyio

from .exceptions import ConfigurationError
from .hooks import accepts_one_argument
from .log import warn_once
from .signals import Signal
from .text import shown_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from .commands import Command

logger = logging.getLogger("usercom_asgi")

# Seconds for which a caller waits for the commit of a command; a disk may hang.
_MAX_COMMIT_SECONDS = 5.0


class Status(StrEnum):
    """Progress of a command."""

    ACCEPTED = "accepted"  #: waits for its delivery, or is in flight
    DELIVERED = "delivered"  #: User.com has confirmed it
    SKIPPED = "skipped"  #: there was nothing to send; ``reason`` has the cause
    DROPPED = "dropped"  #: it will not be delivered; ``reason`` has the cause
    DEAD = "dead"  #: in the dead letters: User.com rejected it, or it became too old


class Receipt:
    """The outcome of a command, or its progress so far.

    ``status`` may change until :attr:`is_final`. ``reason`` is a sentence if the
    command was not delivered. ``key`` is the user key that User.com answered with; it
    is a secret of the visitor. With an outbox on a broker the status stays
    ``accepted``, because another process delivers the command.
    """

    __slots__ = ("key", "reason", "status")

    def __init__(
        self, status: Status = Status.ACCEPTED, reason: str = "", key: str | None = None
    ) -> None:
        self.status = status
        self.reason = reason
        self.key = key

    def __repr__(self) -> str:
        # Without the key, which opens the visitor's chat.
        return f"<Receipt {self.status.value}{': ' + self.reason if self.reason else ''}>"

    @property
    def is_final(self) -> bool:
        """True once the outcome is known."""
        return self.status is not Status.ACCEPTED

    async def delivered(self, timeout: float = 2.0) -> bool:  # noqa: ARG002, ASYNC109  for subclasses
        """Wait at most ``timeout`` seconds; return True if it was delivered.

        False may also mean "not yet": see ``status``. Never raises.
        """
        return self.status is Status.DELIVERED

    async def stored(self, within: float = _MAX_COMMIT_SECONDS) -> None:
        """Wait until the command is on disk, if the outbox has a file."""


class PendingReceipt(Receipt):
    """A receipt that a delivery updates, for a command that it accepted.

    ``start`` is called when a caller waits for the outcome, for a delivery
    that begins then.
    """

    __slots__ = ("__weakref__", "_changed", "_start", "_storing", "is_forwarded")

    def __init__(self, start: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._start = start
        self._storing: anyio.Event | None = None
        self._changed: Signal | None = None
        #: Another process has the command, so the outcome will not be known here.
        self.is_forwarded = False

    async def delivered(self, timeout: float = 2.0) -> bool:  # noqa: ASYNC109  public API
        """See :meth:`Receipt.delivered`."""
        if self._start is not None and not self.is_final:
            self._start()
        with anyio.move_on_after(timeout):
            await self.over()
        return self.status is Status.DELIVERED

    async def stored(self, within: float = _MAX_COMMIT_SECONDS) -> None:
        """Wait at most ``within`` seconds until the command is on disk."""
        if self._storing is not None:
            with anyio.move_on_after(within):
                await self._storing.wait()

    async def over(self) -> None:
        """Wait until the outcome is known, or another process has the command."""
        while not (self.is_final or self.is_forwarded):
            await self._wait()

    async def tried(self, within: float) -> None:
        """Wait at most ``within`` seconds for the outcome, or for a failed try."""
        if not self.is_final and within > 0:
            with anyio.move_on_after(within):
                await self._wait()

    async def _wait(self) -> None:
        if self._changed is None:  # few callers wait
            self._changed = Signal()
        await self._changed.wait()

    def wake(self) -> None:
        """Wake the tasks that wait for an outcome or a try."""
        if self._changed is not None:
            self._changed.notify_all()

    def start_with(self, start: Callable[[], None]) -> None:
        """Set what is called when a caller waits for the outcome."""
        self._start = start

    @property
    def is_storing(self) -> bool:
        """True while the command is on its way to the disk."""
        return self._storing is not None

    def begin_storing(self) -> None:
        """Let :meth:`stored` wait for :meth:`end_storing`."""
        self._storing = anyio.Event()

    def end_storing(self) -> None:
        """Record that the command is on disk, or that the disk failed."""
        if self._storing is not None:
            self._storing.set()
            self._storing = None

    def forward(self, reason: str) -> None:
        """Record that another process delivers the command."""
        if not self.is_final:
            self.is_forwarded, self.reason = True, reason
            self.wake()

    def finish(self, status: Status, reason: str = "", key: str | None = None) -> None:
        """Record the outcome, once."""
        if not self.is_final:
            self.status, self.reason, self.key = status, reason, key
            self.wake()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Outcome:
    """The outcome of one command.

    ``status`` is ``delivered``, ``dropped`` or ``dead``; ``reason`` is a sentence if it
    was not delivered. If User.com rejected the command, ``http_status`` is the status
    of its answer, and ``detail`` the first 500 characters of the body, which may quote
    the command. ``key`` is the visitor's user key, a secret. ``created_at`` is in
    seconds since the epoch.
    """

    command: Command
    status: Status
    created_at: float
    reason: str = ""
    http_status: int | None = None
    detail: str = ""
    key: str | None = None

    def __repr__(self) -> str:
        # Without the key, the detail and the command's values, because a repr ends
        # in a log.
        reason = f", {self.reason}" if self.reason else ""
        return f"<Outcome {self.status.value}: {self.command!r}{reason}>"


#: A plain function: it is called while a handler may be running, and is not awaited.
OutcomeHook: TypeAlias = "Callable[[Outcome], object]"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeCallbacks:
    """Functions that receive the outcomes. Their errors are logged, and change nothing.

    Raises:
        ConfigurationError: One is no plain function.

    """

    on_delivered: OutcomeHook | None = None
    on_dropped: OutcomeHook | None = None
    on_dead: OutcomeHook | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            hook = getattr(self, name)
            if hook is not None and not _is_plain_function(hook):
                raise ConfigurationError(
                    name, "must be a plain function that takes an Outcome; it is not awaited"
                )

    def call(self, outcome: Outcome) -> None:
        """Call the function for this outcome; an error in it is logged, once."""
        hook = {
            Status.DELIVERED: self.on_delivered,
            Status.DROPPED: self.on_dropped,
            Status.DEAD: self.on_dead,
        }[outcome.status]
        if hook is None:
            return
        try:
            hook(outcome)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  foreign code: not even a CancelledError
            # Without its text, which may quote the outcome.
            name = getattr(hook, "__qualname__", type(hook).__name__)
            warn_once("hook_failed", f"The outcome hook {name} raises {type(error).__name__}")


def _is_plain_function(hook: object) -> bool:
    if not callable(hook) or not accepts_one_argument(hook):
        return False
    # An object may have an async __call__, whose result would be awaited nowhere.
    is_async = map(inspect.iscoroutinefunction, (hook, type(hook).__call__))
    return not any(is_async)


def skip_receipt(command: Command, reason: str, path: str = "") -> Receipt:
    """Return the receipt of a skipped command; ``path`` is that of the request."""
    logger.debug(
        "Skipping %r%s: %s",
        command,
        f" of the path {shown_path(path)!r}" if path else "",
        reason,
        extra={
            "usercom_event": "command_skipped",
            "usercom_command": type(command).__name__,
            "usercom_reason": reason,
        },
    )
    return Receipt(Status.SKIPPED, reason)
