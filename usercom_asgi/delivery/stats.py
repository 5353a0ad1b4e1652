"""What a delivery has done, in figures: :class:`Stats`, :class:`Readiness`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Stats:
    """Counts since the start of the delivery in this process. Nothing goes missing in them.

    ``accepted + restored + rejected == delivered + dropped + dead_lettered + persisted + waiting``.
    """

    accepted: int = 0  #: taken from this process
    restored: int = (
        0  #: taken over from an outbox that another process, or an earlier run, has filled
    )
    rejected: int = 0  #: dropped at the call: too much waited, or the application was shutting down
    skipped: int = (
        0  #: not taken, since there was nothing to send; the receipt and a debug line say why
    )
    delivered: int = 0
    retried: int = 0  #: tries that have failed and are repeated
    dropped: int = 0  #: lost: turned away, or not delivered before the end
    dead_lettered: int = 0  #: refused by User.com, or too old: kept with the dead letters
    persisted: int = 0  #: left in the outbox, for later or for another process
    waiting: int = 0  #: in memory now, in flight included
    oldest_age: float = 0.0  #: seconds since the oldest of what waits was said


@dataclass(frozen=True, slots=True)
class Readiness:
    """How the delivery is, for a health route. An application is well while User.com is not: do not restart it for that.

    ``state`` is ``sending``, ``failing`` (the last call has failed), ``paused`` (nothing is sent for ``resumes_in`` seconds),
    ``unauthorized`` (User.com refuses our key), ``starting``, ``closed``, or ``inline`` (there is no lifespan: each request
    delivers for itself). ``is_accepting`` is False while what is said is dropped.
    """

    state: str
    is_accepting: bool
    reason: str = ""
    resumes_in: float = 0.0
    waiting: int = 0
    oldest_age: float = 0.0
    kept: int = 0  #: in the outbox, if that is not memory; of all processes, roughly
