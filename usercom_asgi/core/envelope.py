"""What travels from a handler to User.com, and the seam at which it is handed over.

``delivery`` knows when and in what order to send, ``api`` knows how; they meet in :class:`Sender`, and know nothing else of
each other.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from .commands import ResetAuth

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from .commands import Command
    from .receipts import Receipt
    from .user_key import ResetMarker


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PageContext:
    """Where it was said: the page's address (free of ``__ca__chat``), the site's host, and the visitor's browser."""

    url: str = ""
    domain: str = ""
    referrer: str = ""
    user_agent: str = ""


#: How long a reset stays ours, in seconds: after it the widget makes the new visitor, and the delivery must not.
RESET_DEADLINE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Envelope:
    """A command, and all that is needed to send it later and elsewhere.

    ``lane`` names the queue, which keeps the order. ``key`` is the user key that the browser sent; None means the key that an
    earlier answer names. ``source`` is a random name of the request that the command comes from: a key that User.com names is
    used for the same source alone (see ``delivery/key_ring.py``). ``identity`` is who the visitor is known to be, with which a
    key can be asked for. ``may_create`` allows a hit without an identity to create a new user. ``created_at`` is in
    seconds since the epoch. ``request`` numbers the request that it comes from, as :meth:`Store.request_ended` does; None where
    no request ends.
    """

    command: Command
    ordering_key: str
    key: str | None = None
    source: str = ""
    identity: Mapping[str, object] = field(default_factory=dict[str, object])
    page: PageContext = field(default_factory=PageContext)
    may_create: bool = False
    created_at: float = field(
        default_factory=lambda: time.time()
    )  # looked up at each call, so that tests can set the clock
    request: int | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"<Envelope {self.command!r}>"

    @property
    def creates_user(self) -> bool:
        """True if User.com creates a new user for it: sent twice, it would create two."""
        return self.may_create or isinstance(self.command, ResetAuth)


def ordering_key_for(names: Mapping[str, object], source: str) -> str:
    """Return the lane of a visitor without a user key: one for each ``user_id``, else one for each source.

    An email alone is what a form was filled in with: it must not let a stranger's commands stand in a person's queue.
    """
    return f"known:{('user_id', names['user_id'])}" if "user_id" in names else f"source:{source}"


@dataclass(frozen=True, slots=True, repr=False)
class SendResult:
    """What came of one call: the user key that User.com named, and what is to be sent next of the same command.

    One call is one request. A page hit with an event needs two, and the second must use the key that the first brought back,
    since with Unified Identification a hit may turn out to be somebody else's.
    """

    key: str | None = None
    then: Command | None = None


@dataclass(frozen=True, slots=True, repr=False)
class PendingReset:
    """A reset under way: its marker, and the receipt that will name the new visitor's key."""

    marker: ResetMarker
    receipt: Receipt


class Sender(Protocol):
    """Sends one command in one request.

    Raises:
        Unavailable: Trying again later may help.
        Refused: It will not.

    """

    async def send(self, envelope: Envelope, key: str | None) -> SendResult:
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

    def remember(self, name: str, reset: PendingReset) -> None:
        """Keep a reset for a request that comes later."""
        ...

    def recall(self, name: str) -> PendingReset | None:
        """Return the reset that an earlier request asked for, if this process knows it."""
        ...
