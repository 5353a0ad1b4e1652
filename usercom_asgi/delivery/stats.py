"""Counters and state of a delivery: :class:`Stats`, :class:`Readiness`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Stats:
    """Counts since the start of the delivery in this process. They always add up.

    ``accepted + restored + rejected == delivered + dropped + dead_lettered +
    persisted + waiting``.
    """

    accepted: int = 0  #: accepted from this process
    restored: int = 0  #: loaded from the outbox
    rejected: int = (
        0  #: dropped at the call: the queue was full, or the application was shutting down
    )
    skipped: int = 0  #: not accepted, because there was nothing to send
    delivered: int = 0
    retried: int = 0  #: failed tries that are retried
    dropped: int = 0  #: lost: rejected at the call, or not delivered before the end
    dead_lettered: int = 0  #: rejected by User.com, or too old
    persisted: int = 0  #: left in the outbox, for lack of room, a later run or another process
    waiting: int = 0  #: in memory now, in flight included
    oldest_age: float = 0.0  #: seconds since the oldest waiting command was created


@dataclass(frozen=True, slots=True)
class Readiness:
    """The state of the delivery, for a health route.

    Don't restart the application because User.com is down. ``state`` is one of:

    - ``sending``;
    - ``failing``: the last call has failed;
    - ``paused``: nothing is sent for ``resumes_in`` seconds;
    - ``unauthorized``: User.com rejects the API key;
    - ``starting`` or ``closed``;
    - ``inline``: there is no lifespan, and each request delivers its own commands;
    - ``disabled``: ``enabled=False``, nothing is sent.

    ``is_accepting`` is False while new commands are dropped.
    """

    state: str
    is_accepting: bool
    reason: str = ""
    resumes_in: float = 0.0
    waiting: int = 0
    oldest_age: float = 0.0
    persisted: int = 0  #: in the outbox, if that is not memory; of all processes, roughly
