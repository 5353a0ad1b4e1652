"""Pauses calls that would fail: :class:`CircuitBreaker`.

All workers share one breaker, because User.com limits the whole workspace.
"""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import anyio

from ..core.exceptions import UnavailableError
from ..core.signals import Signal
from .log_throttle import LogThrottle

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from ..core.exceptions import DeliveryError
    from .retry import RetryPolicy

logger = logging.getLogger("usercom_asgi")

#: Different visitors whose calls fail in a row before the circuit opens.
FAILURE_THRESHOLD = 3
# How many of them are remembered. An outage may last for weeks, with a probe each time.
_MAX_FAILED = 1000
#: The longest pause between two probes, in seconds.
MAX_PAUSE = 30.0
#: Seconds between two probes with a rejected API key: the first pause after a 401,
#: and the longest.
AUTH_RETRY_INITIAL, AUTH_RETRY_MAX = 10.0, 300.0
#: HTTP statuses of a rejected API key.
KEY_STATUSES = frozenset({401, 403})


class Call(NamedTuple):
    """Permission for one call, to be followed by one outcome at most.

    Only a probe can extend or end a pause, because other calls may have
    started before it.
    """

    breaker: CircuitBreaker
    is_probe: bool

    def succeed(self) -> bool:
        """Record an answer of User.com; return True if it closes the circuit."""
        return self.breaker.on_success(is_probe=self.is_probe)

    def fail(self, error: DeliveryError, visitor: str, *, is_own: bool = False) -> None:
        """Record a failure.

        ``is_own`` marks a visitor whose calls fail while those of others succeed. It
        says nothing about User.com, so it is not counted.
        """
        self.breaker.on_failure(error, visitor, is_probe=self.is_probe, is_own=is_own)


class CircuitBreaker:
    """Permits calls, at most ``requests_per_second`` of them.

    The circuit is *closed* while calls succeed. It *opens* for a while when the calls
    of ``FAILURE_THRESHOLD`` different visitors fail in a row, when User.com asks for a
    pause (429, ``Retry-After``), or when it rejects the API key (401, or 403 in a row
    as above). Then it is *half-open*: one probe at a time. A success closes it, and a
    failure opens it for longer.
    """

    def __init__(
        self,
        retry: RetryPolicy,
        requests_per_second: float | None = None,
        count_waiting: Callable[[], int] = lambda: 0,
    ) -> None:
        self._retry = retry
        self._count_waiting = count_waiting
        self._throttle = LogThrottle()  # an outage, a rejected key: once a minute each
        self._outage_began = self._outage_lasted = 0.0
        self._is_outage_logged = False
        self._first_failures = 0  # before any success, and below an outage
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._next_slot = 0.0
        self._asked_until = 0.0
        self._has_probe = False
        self._pauses = 0
        self._failed: set[str] = set()
        self._changed = Signal()
        #: When the next call may start, on the event loop's clock; in the past if now.
        self.resumes_at = 0.0
        #: True while User.com rejects the API key. Only probes are sent.
        self.is_unauthorized = False
        #: Why the last failed call has failed.
        self.reason = ""
        #: The number of calls that succeeded.
        self.successes = 0

    @property
    def is_healthy(self) -> bool:
        """Whether the circuit is closed and the last call succeeded."""
        return not self._failed and not self._pauses

    @asynccontextmanager
    async def call(self) -> AsyncGenerator[Call]:
        """Wait until a call may start, and make it in the block."""
        while True:
            until = max(self.resumes_at, self._next_slot)
            now = anyio.current_time() if until else 0.0
            if until > now:
                with anyio.CancelScope(deadline=until):
                    await self._changed.wait()
            elif self._has_probe:
                await self._changed.wait()
            else:
                break
        call = Call(self, is_probe=self._pauses > 0)
        self._has_probe = call.is_probe
        if self._interval:
            self._next_slot = max(anyio.current_time(), self._next_slot) + self._interval
        try:
            yield call
        finally:
            if call.is_probe:
                self._has_probe = False
                self._changed.notify_all()
            self._log_recovery()

    def on_success(self, *, is_probe: bool) -> bool:
        """Record an answer of User.com; return True if it closes the circuit."""
        self.successes += 1
        if self._first_failures >= FAILURE_THRESHOLD and self.successes == 1:
            logger.warning(
                "The calls to User.com succeed now", extra={"usercom_event": "first_call_succeeded"}
            )
        if self._pauses and not is_probe:
            return False  # it started before the pause, so it says nothing about recovery
        self._failed.clear()
        self._end_outage()
        if not self._pauses:
            return False
        if self.is_unauthorized:
            self._throttle.log(
                logging.WARNING,
                "api_key_accepted",
                "User.com accepts the API key again, resuming delivery",
            )
        self._pauses, self.is_unauthorized = 0, False
        self._resume_at(0.0)
        return True

    def on_failure(
        self, error: DeliveryError, visitor: str, *, is_probe: bool, is_own: bool
    ) -> None:
        """Record a failure; see :meth:`Call.fail`."""
        self.reason = error.reason
        asked = 0.0
        if isinstance(error, UnavailableError):
            asked = self._retry.retry_after_delay(error.retry_after)
        if asked:
            self._asked_until = max(self._asked_until, anyio.current_time() + asked)
        if not is_own and len(self._failed) < _MAX_FAILED:
            self._failed.add(visitor)
        is_outage = len(self._failed) >= FAILURE_THRESHOLD and not is_own
        is_key = error.status == 401 or (error.status == 403 and is_outage)
        if is_key:
            self._reject_key(error)
        elif is_outage and not self.is_unauthorized:
            self._log_outage()
        elif not (self.successes or self._pauses or asked or error.status == 429):
            self._log_first_failures()
        if self._pauses and not is_probe:  # it started before the pause
            self._resume_at(max(self.resumes_at, self._asked_until))
        elif is_probe or is_outage or is_key or asked or error.status == 429:
            self._pauses += 1
            pause = anyio.current_time() + self._pause_seconds(is_certain=error.status == 401)
            self._resume_at(max(self.resumes_at, self._asked_until, pause))

    def retry_now(self) -> None:
        """Allow a probe now, unless User.com set a time or rejects the API key."""
        if not self.is_unauthorized:
            self._resume_at(min(self.resumes_at, self._asked_until))

    def _reject_key(self, error: DeliveryError) -> None:
        if self.is_unauthorized:
            return
        self.is_unauthorized, self._pauses = True, 0
        # Without a line of its own: the rejected key is its cause.
        self._outage_began, self._is_outage_logged = 0.0, False
        consequence = f"pausing delivery for up to {AUTH_RETRY_MAX:.0f} s at a time"
        self._throttle.log_rejected_key(error, consequence)

    def _pause_seconds(self, *, is_certain: bool) -> float:
        if not self.is_unauthorized:
            return min(self._retry.delay(self._pauses, None), MAX_PAUSE)
        # A 403 may be about the visitors instead, so begin with a short pause.
        first = AUTH_RETRY_INITIAL if is_certain else self._retry.initial_delay
        return min(first * 2.0 ** min(self._pauses - 1, 20), AUTH_RETRY_MAX)

    def _resume_at(self, moment: float) -> None:
        self.resumes_at = moment
        self._changed.notify_all()

    def _log_first_failures(self) -> None:
        """Log once that no call has succeeded yet, because the settings may be wrong.

        A developer is a single visitor, and one visitor's failures do not open the circuit.
        """
        self._first_failures += 1
        if self._first_failures != FAILURE_THRESHOLD:
            return
        self._throttle.log(
            logging.WARNING,
            "first_calls_failed",
            "The first calls to User.com failed (%s), retrying. Check app or base_url, and"
            " api_key or rest_token, by `usercom-asgi check`",
            self.reason,
            reason=self.reason,
        )

    def _log_outage(self) -> None:
        """Log an outage unless that was done; called for each of its failures."""
        self._outage_began = self._outage_began or time.monotonic()
        self._is_outage_logged = self._is_outage_logged or self._throttle.log(
            logging.WARNING,
            "outage_began",
            "User.com is unavailable, the calls of %d visitors failed in a row (%s):"
            " %d commands wait for a retry",
            len(self._failed),
            self.reason,
            self._count_waiting(),
            reason=self.reason,
            waiting=self._count_waiting(),
        )

    def _end_outage(self) -> None:
        if self._is_outage_logged:
            self._outage_lasted = time.monotonic() - self._outage_began
        self._outage_began, self._is_outage_logged = 0.0, False

    def _log_recovery(self) -> None:
        """Log the end of an outage, after the outcome is recorded, for the right count."""
        if self._outage_lasted:
            lasted, self._outage_lasted = self._outage_lasted, 0.0
            logger.warning(
                "User.com is available again after %.0f s: %d commands wait",
                lasted,
                self._count_waiting(),
                extra={
                    "usercom_event": "outage_ended",
                    "usercom_seconds": round(lasted, 3),
                    "usercom_waiting": self._count_waiting(),
                },
            )
