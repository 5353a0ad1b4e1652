"""When the next call to User.com may be made: :class:`CircuitBreaker`.

One for all workers, since the limit is one for the whole workspace: a ``Retry-After`` that one of them is given pauses all, and
after repeated failure one of them asks whether User.com is there again, instead of all hammering.
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

#: So many failures in a row, of all workers together, and only one of them goes on.
FAILURE_THRESHOLD = 4
#: Seconds between two questions whether User.com is there again.
MAX_PAUSE = 30.0
#: Seconds after which a refused key is tried again, at first and at last.
AUTH_RETRY_INITIAL, AUTH_RETRY_MAX = 10.0, 300.0
_KEY_STATUSES = frozenset({401, 403})
# So many 403 in a row are about our key, at first and at last: each lock that was a mistake makes it twice as many.
_MIN_REJECTIONS, _MAX_REJECTIONS = 2, 8


class CircuitBreaker:
    """Lets calls pass, at most ``requests_per_second`` of them; closed, or open for one, while User.com does not serve.

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
        #: User.com refuses our key: nothing is sent but a probe now and then.
        self.is_unauthorized = False
        #: Why the last call that failed has failed.
        self.reason = ""
        #: How many calls were answered well.
        self.successes = 0

    @property
    def is_healthy(self) -> bool:
        """True unless the last call has failed."""
        return not (self._failures or self.is_unauthorized or self._rejections > 1)

    @property
    def resumes_at(self) -> float:
        """When the next call may be made, on the clock of the event loop; in the past while nothing is in its way."""
        return self._resumes_at

    async def acquire(self) -> bool:
        """Wait until a call may be made; true if it is a probe."""
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
        """A call is made: the next one keeps its distance."""
        if self._interval:
            self._next_slot = max(anyio.current_time(), self._next_slot) + self._interval

    def on_success(self, *, is_probe: bool) -> bool:
        """A call was answered; true if User.com is there again after it was not."""
        self.successes += 1
        if self._is_probing and not is_probe:
            return False  # it was under way when the pause began: with many workers, that is how a limit is met
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
        """User.com was not reached, or could not serve; what it says of when to come back is for all."""
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
            # What tells nothing new makes the pauses no longer: one that can tell may come at any time.
            self._pauses = max(self._pauses, 1) if is_own else self._pauses + 1
            self._pause(max(self._delay(self._pauses), asked))

    def _count_failure(self) -> None:
        self._failures += 1
        if not self.is_unauthorized:
            self._outage.on_failure(
                self.reason, self._failures, is_certain=self._failures >= FAILURE_THRESHOLD
            )

    def on_rejected(self, error: RejectedError, *, is_probe: bool, is_own: bool = False) -> bool:
        """User.com has refused a command; true if that may be about our key, and not about the command."""
        if error.status is None:  # it was never sent: there is nothing that could be
            return False
        if error.status not in _KEY_STATUSES:
            self.on_success(is_probe=is_probe)
            return False
        self.reason = str(error)
        if self.is_unauthorized or error.status == 401:
            self._pause_for_key(error, is_probe=is_probe)
        elif not is_own and (is_probe or not self._is_probing):
            # It may be about one visitor's address alone; if the next one gets it too, it is about us. That one is asked alone,
            # and chosen as probes are: of many that are on their way at once, all may be that visitor's.
            self._rejections += 1
            if self._rejections >= self._rejection_threshold:
                self._pause_for_key(error, is_probe=is_probe)
            else:
                self._pause(self._delay(self._rejections - 1))
        return True

    def release(self, *, is_probe: bool) -> None:
        """Give the place back: a probe's is the next one's."""
        if is_probe:
            self._has_probe = False
            self._wake()
        self._outage.log_recovery()

    def retry_now(self) -> None:
        """Have the next probe made at once, unless User.com has named a time itself or refuses our key."""
        if not self.is_unauthorized:
            self._resume_at(min(self._resumes_at, self._asked_until))

    def _pause_for_key(self, error: RejectedError, *, is_probe: bool) -> None:
        if self.is_unauthorized and not is_probe:
            return  # it was under way when the first one was refused
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
    """One line when User.com is gone and one when it is back, however many calls fail; at most once a minute if it flaps.

    ``count_waiting`` returns how much waits for it; without it nothing is said, since nothing is tried again.
    """

    def __init__(self, count_waiting: Callable[[], int] | None = None) -> None:
        self._count_waiting = count_waiting
        self._throttle = LogThrottle()
        self._began: float | None = None
        self._is_logged = False
        self._lasted: float | None = None

    def on_failure(self, reason: str, failures: int, *, is_certain: bool) -> None:
        """Another call has failed, the last of so many in a row; said once it is certain that this is no hiccup."""
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
        """User.com is there."""
        if self._is_logged and self._began is not None:
            self._lasted = time.monotonic() - self._began
        self.clear()

    def clear(self) -> None:
        """User.com is there, and what it has to say is in the log already."""
        self._began, self._is_logged = None, False

    def log_recovery(self) -> None:
        """Say that it is back, if that is news; when what came of the call is in the books, so that it waits no more."""
        if self._lasted is not None and self._count_waiting is not None:
            lasted, self._lasted = self._lasted, None
            logger.warning(
                "User.com is available again after %.0f s: %d commands wait",
                lasted,
                self._count_waiting(),
            )
