"""Commands on their way to User.com, and the protocols of those who send them.

``delivery`` decides when and in which order to send, and ``api`` knows how. They
share only :class:`Sender`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from .commands import ResetAuth
from .telemetry import trace_parent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .commands import Command
    from .receipts import Receipt
    from .user_key import ResetMarker


#: The source of commands outside of requests. Their user_id and email are the
#: application's own words, and not those of a form.
JOB = "job"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PageContext:
    """The page of a command; its URL is without ``__ca__chat``."""

    url: str = ""
    domain: str = ""
    referrer: str = ""
    user_agent: str = ""


#: Seconds for which our call makes a reset. After it the widget creates
#: the new visitor.
RESET_DEADLINE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Envelope:
    """A command, with all that is needed to send it later and elsewhere.

    - ``ordering_key`` names the queue, which keeps the order.
    - ``key`` is the user key that the browser sent. Without one, the key of an earlier
      answer is used.
    - ``source`` is a random name of the request. A key that User.com names is used for
      the same source alone (see ``delivery/key_ring.py``).
    - ``identity`` holds the visitor's known attributes, by which User.com finds a key.
    - ``may_create`` allows a hit without an identity to create a new user.
    - ``created_at`` is in seconds since the epoch.
    - ``trace_parent`` is the span of the request, if the application traces, or empty.
    - ``request`` is the number of the request for :meth:`Store.request_ended`, or None.
    """

    command: Command
    ordering_key: str
    key: str | None = None
    source: str = ""
    identity: Mapping[str, object] = field(default_factory=dict[str, object])
    page: PageContext = field(default_factory=PageContext)
    may_create: bool = False
    # Looked up at each call, so that tests can set the clock.
    created_at: float = field(default_factory=lambda: time.time())
    trace_parent: str = field(default_factory=trace_parent, compare=False)
    request: int | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"<Envelope {self.command!r}>"

    @property
    def creates_user(self) -> bool:
        """True if User.com creates a user for it; sent twice, it would create two."""
        return self.may_create or isinstance(self.command, ResetAuth)


def ordering_key_for(names: Mapping[str, object], source: str) -> str:
    """Return the queue of a visitor without a user key: by ``user_id`` or source.

    An email alone may come from a form. A stranger's commands must not wait in
    its owner's queue.
    """
    return f"known:{('user_id', names['user_id'])}" if "user_id" in names else f"source:{source}"


@dataclass(frozen=True, slots=True, repr=False)
class SendResult:
    """The result of one call: the key that User.com named, and the next command.

    A page hit with an event needs two calls. The second one uses the key that the first
    one returned, because with Unified Identification a hit may belong to another user.
    """

    key: str | None = None
    next_command: Command | None = None


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PendingReset:
    """A reset under way; its receipt will have the new visitor's key."""

    marker: ResetMarker
    receipt: Receipt


class Sender(Protocol):
    """Sends one command in one request.

    Raises:
        UnavailableError: Another try may help.
        RejectedError: It will not.

    """

    async def send(self, envelope: Envelope, key: str | None) -> SendResult:
        """Send the envelope's command as the visitor with this key."""
        ...


#: Opens a sender with its connections, inside the event loop that uses it.
OpenSender: TypeAlias = Callable[[], AbstractAsyncContextManager[Sender]]


class Delivery(Protocol):
    """A delivery, as a request uses it."""

    @property
    def loop(self) -> object | None:
        """The event loop that it runs in; None before and after."""
        ...

    def submit(self, envelope: Envelope) -> Receipt:
        """Accept an envelope at once, or drop it."""
        ...

    def skip(self, command: Command, reason: str, path: str = "") -> Receipt:
        """Record a command with nothing to send, of a request to this path."""
        ...

    async def wait_for(self, receipt: Receipt, within: float) -> None:
        """Wait at most ``within`` seconds for an outcome, or for a failed try."""
        ...

    def remember(self, name: str, reset: PendingReset) -> None:
        """Keep a reset for a later request."""
        ...

    def recall(self, name: str) -> PendingReset | None:
        """Return the reset of an earlier request, if this process knows it."""
        ...
