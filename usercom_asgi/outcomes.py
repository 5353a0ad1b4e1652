"""What became of what was said, for those who want to know of all of it: :class:`Outcome`, and who is told."""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from .errors import ConfigurationError
from .hooks import warn_once
from .receipts import Receipt, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from .commands import Command

logger = logging.getLogger("usercom_asgi")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Outcome:
    """What became of one command.

    ``status`` is ``delivered``, ``dropped`` or ``dead``; ``reason`` is a sentence, but for what was delivered. Of a command
    that User.com has refused ``http_status`` is its answer's status, and ``detail`` the first 500 characters of the answer's
    body, which may quote what was sent. ``key`` is the visitor's user key, a secret. ``said_at`` is in seconds since the epoch.
    Updates that have merged are one.
    """

    command: Command
    status: Status
    said_at: float
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
                raise ConfigurationError(name, "must be a plain function that takes an Outcome; it is not awaited")


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
