"""What a tracing library may record of commands and calls: :class:`Telemetry`.

Only :mod:`usercom_asgi.integrations.opentelemetry` implements it. Until the application
switches that on, :data:`active` is None, and nothing of it is imported.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from .envelope import Envelope


class Counters(Protocol):
    """The counters of one delivery, which only grow; ``delivery/stats.py`` has them."""

    accepted: int
    restored: int
    rejected: int
    skipped: int
    delivered: int
    retried: int
    dropped: int
    dead_lettered: int
    persisted: int


class Gauges(Protocol):
    """The state of one delivery. Another thread may read it."""

    @property
    def waiting(self) -> int: ...  # noqa: D102  as in Stats
    @property
    def persisted(self) -> int: ...  # noqa: D102
    @property
    def oldest_age(self) -> float: ...  # noqa: D102


class Telemetry(Protocol):
    """Records deliveries. None of its methods may raise."""

    def trace_parent(self) -> str:
        """Return the current span as a W3C ``traceparent``, or an empty string."""
        ...

    def delivery(self, envelope: Envelope, attempt: int) -> AbstractContextManager[None]:
        """Return a span around one attempt to send a command."""
        ...

    def call(self, origin: str, name: str, path: str) -> AbstractContextManager[list[int]]:
        """Return a span around one HTTP call, which puts its status into the list.

        ``name`` is the verb and the template of the path. ``path`` may hold ids.
        """
        ...

    def watch(self, origin: str, counters: Counters, gauges: Gauges) -> None:
        """Observe a delivery that begins; its gauges for as long as it exists."""
        ...

    def count(self, origin: str, name: str) -> None:
        """Count something of a delivery that ends with its request."""
        ...


#: The telemetry of this process, or None. Read it as ``telemetry.active``.
active: Telemetry | None = None


def activate(telemetry: Telemetry | None) -> None:
    """Record by this telemetry from now on, or by none."""
    global active
    active = telemetry


def trace_parent() -> str:
    """Return the current span as a W3C ``traceparent``, or an empty string."""
    return active.trace_parent() if active is not None else ""


def delivery(envelope: Envelope, attempt: int) -> AbstractContextManager[None]:
    """Return a span around one attempt to send a command."""
    return active.delivery(envelope, attempt) if active is not None else nullcontext()


def count(origin: str, name: str) -> None:
    """Count something of a delivery that ends with its request."""
    if active is not None:
        active.count(origin, name)
