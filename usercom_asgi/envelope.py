"""What travels from a handler to User.com, and the seam at which it is handed over.

``delivery`` knows when and in what order to send, ``api`` knows how; they meet in :class:`Sender`, and know nothing else of
each other.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from .context import PageContext

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from .commands import Command
    from .identity import Reset
    from .receipts import Receipt

#: How long a reset stays ours, in seconds: after it the widget makes the new visitor, and the delivery must not.
RESET_DEADLINE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Envelope:
    """A command, and all that is needed to send it later and elsewhere.

    ``lane`` names the visitor for the purpose of order. ``key`` is the visitor's user key; None means the key that the lane
    learns from an earlier answer. ``identity`` is who the visitor is known to be, with which a key can be asked for.
    ``may_create`` says
    that a hit of nobody known may make a new user. ``said_at`` is in seconds since the epoch. ``request`` numbers the request
    that says it, which will say when it has ended; None where nothing is to be waited for.
    """

    command: Command
    lane: str
    key: str | None = None
    identity: Mapping[str, object] = field(default_factory=dict[str, object])
    page: PageContext = field(default_factory=PageContext)
    may_create: bool = False
    said_at: float = field(default_factory=time.time)
    request: int | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"<Envelope {self.command!r}>"


def lane_of(key: str | None, names: Mapping[str, object]) -> str:
    """Return the lane of a visitor: the key's, or that of the first name by which somebody without a key is known."""
    return key or f"known:{next(iter(names.items()), None)}"


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """What came of one call: the user key that User.com named, and what is to be sent next of the same command.

    One call is one request. A page hit with an event needs two, and the second must use the key that the first brought back,
    since with Unified Identification a hit may turn out to be somebody else's.
    """

    key: str | None = None
    then: Command | None = None


class Sender(Protocol):
    """Sends one command in one request.

    Raises:
        Unavailable: Trying again later may help.
        Refused: It will not.

    """

    async def send(self, envelope: Envelope, key: str | None) -> Answer:
        """Send the envelope's command as the visitor with this key."""
        ...


class OpenSender(Protocol):
    """Opens a sender with its connections, inside the event loop that will use it."""

    def __call__(self) -> AbstractAsyncContextManager[Sender]:
        """Return a context manager that closes the connections at its end."""
        ...


class Delivery(Protocol):
    """What a visitor needs of the delivery."""

    def submit(self, envelope: Envelope) -> Receipt:
        """Accept an envelope at once, or drop it."""
        ...

    def skip(self, command: Command, reason: str) -> Receipt:
        """Take note of a command of which there is nothing to send."""
        ...

    def remember(self, name: str, reset: Reset) -> None:
        """Keep a reset for a request that comes later."""
        ...

    def recall(self, name: str) -> Reset | None:
        """Return the reset that an earlier request asked for, if this process knows it."""
        ...
