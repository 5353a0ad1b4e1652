"""Decides when the next call to User.com may start: :class:`CircuitBreaker`.

All workers share one breaker, because User.com limits the whole workspace. A ``Retry-After``
pauses all workers. After repeated failures one worker probes User.com for all.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import anyio

from .recorder import LogThrottle

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.exceptions import RejectedError, UnavailableError
    from .retry import RetryPolicy

logger = logging.getLogger("usercom_asgi")

#: Failures in a row, of all workers together, after which only a probe is sent.
FAILURE_THRESHOLD = 4
#: The longest pause between two probes, in seconds.
MAX_PAUSE = 30.0
#: Seconds between two probes with a rejected API key: the first pause and the longest.
AUTH_RETRY_INITIAL, AUTH_RETRY_MAX = 10.0, 300.0
_KEY_STATUSES = frozenset({401, 403})
# The number of 403 in a row that count as a rejected API key. It starts at the minimum, and
# doubles whenever a pause for the key turns out to have been a mistake.
_MIN_REJECTIONS, _MAX_REJECTIONS = 2, 8


class CircuitBreaker:
    """Pauses the calls to User.com, and limits them to ``requests_per_second``.

    A worker calls :meth:`acquire`; if it then makes a call, :meth:`on_start` and one of
    :meth:`on_success`, :meth:`on_unavailable` and :meth:`on_rejected`; and last :meth:`release`,
    before which no other probe starts. ``is_probe`` is what ``acquire`` returned: only a probe
    can extend or end a pause, since other calls may have started before it. ``is_own`` marks a
    failure of one visitor while others succeed: it says nothing about User.com, and is not
    counted.
    """

    def __init__(
        self,
        retry: RetryPolicy,
        requests_per_second: float | None = None,
        outage: OutageLog | None = None,
    ) -> None:
        self._retry = retry
        self._outage = outage or OutageLog()
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._next_slot = 0.0
        self._resumes_at = 0.0
        self._asked_until = 0.0
        self._is_probing = False
        self._has_probe = False
        self._pauses = 0
        self._failures = 0
        self._rejections = 0
        self._rejection_threshold = _MIN_REJECTIONS
        self._changed = anyio.Event()
        #: True while User.com rejects the API key. Only probes are sent.
        self.is_unauthorized = False
        #: Why the last failed call has failed.
        self.reason = ""
        #: The number of calls that succeeded.
        self.successes = 0

    @property
    def is_healthy(self) -> bool:
        """Whether the last call succeeded."""
        return not (self._failures or self.is_unauthorized or self._rejections > 1)

    @property
    def resumes_at(self) -> float:
        """When the next call may start, on the event loop's clock; in the past if now."""
        return self._resumes_at

    async def acquire(self) -> bool:
        """Wait until a call may start; return True if it is a probe."""
        while True:
            until = max(self._resumes_at, self._next_slot)
            now = anyio.current_time() if until or self._is_probing else 0.0
            if until > now:
                with anyio.CancelScope(deadline=until):
                    await self._changed.wait()
            elif self._is_probing and self._has_probe:
                await self._changed.wait()
            else:
                break
        self._has_probe = self._is_probing
        return self._has_probe

    def on_start(self) -> None:
        """Record the start of a call, from which the next one keeps its distance."""
        if self._interval:
            self._next_slot = max(anyio.current_time(), self._next_slot) + self._interval

    def on_success(self, *, is_probe: bool) -> bool:
        """Record a success; return True if it ends a pause."""
        self.successes += 1
        if self._is_probing and not is_probe:
            return False  # it started before the pause, so it says nothing about recovery
        self._failures = self._rejections = 0
        self._outage.on_success()
        if not self._is_probing:
            return False
        if self.is_unauthorized:
            logger.warning("User.com accepts the API key again, resuming delivery")
            self._rejection_threshold = min(2 * self._rejection_threshold, _MAX_REJECTIONS)
        self._is_probing = self._has_probe = self.is_unauthorized = False
        self._pauses = 0
        self._resume_at(0.0)
        return True

    def on_unavailable(
        self, error: UnavailableError, *, is_probe: bool, is_own: bool = False
    ) -> None:
        """Record that User.com was not reached or could not serve."""
        self.reason = str(error)
        asked = self._retry.retry_after_delay(error.retry_after)
        is_asked = bool(asked) or error.status == 429
        is_own = is_own and not is_asked
        if not is_own:
            self._count_failure()
        if asked:
            self._asked_until = max(self._asked_until, anyio.current_time() + asked)
        if self._is_probing and not is_probe:
            self._pause(asked)
            return
        if is_probe or is_asked or (self._failures >= FAILURE_THRESHOLD and not is_own):
            # Don't extend the pause for failures specific to one visitor.
            self._pauses = max(self._pauses, 1) if is_own else self._pauses + 1
            self._pause(max(self._delay(self._pauses), asked))

    def _count_failure(self) -> None:
        self._failures += 1
        if not self.is_unauthorized:
            self._outage.on_failure(
                self.reason, self._failures, is_certain=self._failures >= FAILURE_THRESHOLD
            )

    def on_rejected(self, error: RejectedError, *, is_probe: bool, is_own: bool = False) -> bool:
        """Record a rejection; return True if the API key may be the cause."""
        if error.status is None:  # it was never sent, so it says nothing about the key
            return False
        if error.status not in _KEY_STATUSES:
            self.on_success(is_probe=is_probe)
            return False
        self.reason = str(error)
        if self.is_unauthorized or error.status == 401:
            self._pause_for_key(error, is_probe=is_probe)
        elif not is_own and (is_probe or not self._is_probing):
            # A 403 may concern one visitor's address alone. If the next visitor's command gets one
            # too, the API key is the cause. Send only a probe next: calls that are in flight
            # already may all be the same visitor's.
            self._rejections += 1
            if self._rejections >= self._rejection_threshold:
                self._pause_for_key(error, is_probe=is_probe)
            else:
                self._pause(self._delay(self._rejections - 1))
        return True

    def release(self, *, is_probe: bool) -> None:
        """End what :meth:`acquire` began, so that the next probe may start."""
        if is_probe:
            self._has_probe = False
            self._wake()
        self._outage.log_recovery()

    def retry_now(self) -> None:
        """Allow a probe now, unless User.com set a time itself or rejects the API key."""
        if not self.is_unauthorized:
            self._resume_at(min(self._resumes_at, self._asked_until))

    def _pause_for_key(self, error: RejectedError, *, is_probe: bool) -> None:
        if self.is_unauthorized and not is_probe:
            return  # it started before the first rejection
        if not self.is_unauthorized:
            self.is_unauthorized = True
            self._pauses = 0
            self._outage.clear()
            logger.error(
                "User.com rejected the API key (%s), pausing delivery for up to %.0f s at a time."
                " Check api_key and the workspace's allowed domains",
                error,
                AUTH_RETRY_MAX,
            )
        self._pauses += 1
        self._pause(min(AUTH_RETRY_INITIAL * 2.0 ** min(self._pauses - 1, 10), AUTH_RETRY_MAX))

    def _delay(self, pauses: int) -> float:
        return min(self._retry.delay(pauses, None), MAX_PAUSE) if pauses else 0.0

    def _pause(self, seconds: float) -> None:
        self._is_probing = True
        self._resume_at(max(self._resumes_at, anyio.current_time() + seconds))

    def _resume_at(self, moment: float) -> None:
        self._resumes_at = moment
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class OutageLog:
    """Logs one line when an outage begins and one when it ends, at most one a minute.

    ``count_waiting`` returns the number of waiting commands. Without it nothing is logged:
    inline delivery never retries, and logs its losses per request.
    """

    def __init__(self, count_waiting: Callable[[], int] | None = None) -> None:
        self._count_waiting = count_waiting
        self._throttle = LogThrottle()
        self._began: float | None = None
        self._is_logged = False
        self._lasted: float | None = None

    def on_failure(self, reason: str, failures: int, *, is_certain: bool) -> None:
        """Record a failed call, the last of ``failures`` in a row; log once certain."""
        self._began = self._began or time.monotonic()
        if is_certain and not self._is_logged and self._count_waiting is not None:
            self._is_logged = self._throttle.log(
                logging.WARNING,
                "outage",
                "User.com is unavailable, %d calls failed in a row (%s): %d commands wait for a retry",
                failures,
                reason,
                self._count_waiting(),
            )

    def on_success(self) -> None:
        """Record that User.com is available."""
        if self._is_logged and self._began is not None:
            self._lasted = time.monotonic() - self._began
        self.clear()

    def clear(self) -> None:
        """End the outage without a line: its cause is in the log already."""
        self._began, self._is_logged = None, False

    def log_recovery(self) -> None:
        """Log a recovery, after the outcome is recorded, so that the count is right."""
        if self._lasted is not None and self._count_waiting is not None:
            lasted, self._lasted = self._lasted, None
            logger.warning(
                "User.com is available again after %.0f s: %d commands wait",
                lasted,
                self._count_waiting(),
            )
