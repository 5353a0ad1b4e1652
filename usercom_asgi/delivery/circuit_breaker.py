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
PROBE_AFTER = 4
#: Seconds between two questions whether User.com is there again.
LONGEST_PAUSE = 30.0
#: Seconds after which a refused key is tried again, at first and at last.
LOCKED_FIRST, LOCKED_LONGEST = 10.0, 300.0
_LOCKS = frozenset({401, 403})
# So many 403 in a row are about our key, at first and at last: each lock that was a mistake makes it twice as many.
_REFUSALS_FIRST, _REFUSALS_LAST = 2, 8


class CircuitBreaker:
    """Lets calls pass, at most ``requests_per_second`` of them; closed, or open for one, while User.com does not serve.

    After each :meth:`enter` a :meth:`left` is due, and before it, if a call is made, :meth:`begin` at once and then one of
    :meth:`passed`, :meth:`failed` and :meth:`refused`: the next probe must not come in before it is known what came of the last
    one. They are told what ``enter`` has returned: only a probe can say that a pause was too short, not a call that was under
    way when it began. What fails while others pass (``is_own``) says nothing of User.com, and is not counted.
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
        self._closed_until = 0.0
        self._named_until = 0.0
        self._is_probing = False
        self._has_probe = False
        self._pauses = 0
        self._failures = 0
        self._refusals = 0
        self._most_refusals = _REFUSALS_FIRST
        self._changed = anyio.Event()
        #: User.com refuses our key: nothing is sent but a probe now and then.
        self.is_unauthorized = False
        #: Why the last call that failed has failed.
        self.reason = ""
        #: How many calls were answered well.
        self.passes = 0

    @property
    def is_open(self) -> bool:
        """True unless the last call has failed."""
        return not (self._failures or self.is_unauthorized or self._refusals > 1)

    @property
    def resumes_at(self) -> float:
        """When the next call may be made, on the clock of the event loop; in the past while nothing is in its way."""
        return self._closed_until

    async def enter(self) -> bool:
        """Wait until a call may be made; true if it is a probe."""
        while True:
            until = max(self._closed_until, self._next_slot)
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

    def begin(self) -> None:
        """A call is made: the next one keeps its distance."""
        if self._interval:
            self._next_slot = max(anyio.current_time(), self._next_slot) + self._interval

    def passed(self, *, is_probe: bool) -> bool:
        """A call was answered; true if User.com is there again after it was not."""
        self.passes += 1
        if self._is_probing and not is_probe:
            return False  # it was under way when the pause began: with many workers, that is how a limit is met
        self._failures = self._refusals = 0
        self._outage.passed()
        if not self._is_probing:
            return False
        if self.is_unauthorized:
            logger.warning("User.com takes our key again: sending goes on")
            self._most_refusals = min(2 * self._most_refusals, _REFUSALS_LAST)
        self._is_probing = self._has_probe = self.is_unauthorized = False
        self._pauses = 0
        self._open_at(0.0)
        return True

    def failed(self, error: UnavailableError, *, is_probe: bool, is_own: bool = False) -> None:
        """User.com was not reached, or could not serve; what it says of when to come back is for all."""
        self.reason = str(error)
        named = self._retry.asked(error.retry_after)
        is_asked = bool(named) or error.status == 429
        is_own = is_own and not is_asked
        if not is_own:
            self._count_failure()
        if named:
            self._named_until = max(self._named_until, anyio.current_time() + named)
        if self._is_probing and not is_probe:
            self._pause(named)
            return
        if is_probe or is_asked or (self._failures >= PROBE_AFTER and not is_own):
            # What tells nothing new makes the pauses no longer: one that can tell may come at any time.
            self._pauses = max(self._pauses, 1) if is_own else self._pauses + 1
            self._pause(max(self._delay(self._pauses), named))

    def _count_failure(self) -> None:
        self._failures += 1
        if not self.is_unauthorized:
            self._outage.failed(
                self.reason, self._failures, is_certain=self._failures >= PROBE_AFTER
            )

    def refused(self, error: RejectedError, *, is_probe: bool, is_own: bool = False) -> bool:
        """User.com has refused a command; true if that may be about our key, and not about the command."""
        if error.status is None:  # it was never sent: there is nothing that could be
            return False
        if error.status not in _LOCKS:
            self.passed(is_probe=is_probe)
            return False
        self.reason = str(error)
        if self.is_unauthorized or error.status == 401:
            self._lock(error, is_probe=is_probe)
        elif not is_own and (is_probe or not self._is_probing):
            # It may be about one visitor's address alone; if the next one gets it too, it is about us. That one is asked alone,
            # and chosen as probes are: of many that are on their way at once, all may be that visitor's.
            self._refusals += 1
            if self._refusals >= self._most_refusals:
                self._lock(error, is_probe=is_probe)
            else:
                self._pause(self._delay(self._refusals - 1))
        return True

    def left(self, *, is_probe: bool) -> None:
        """Give the place back: a probe's is the next one's."""
        if is_probe:
            self._has_probe = False
            self._wake()
        self._outage.tell()

    def hurry(self) -> None:
        """Have the next probe made at once, unless User.com has named a time itself or refuses our key."""
        if not self.is_unauthorized:
            self._open_at(min(self._closed_until, self._named_until))

    def _lock(self, error: RejectedError, *, is_probe: bool) -> None:
        if self.is_unauthorized and not is_probe:
            return  # it was under way when the first one was refused
        if not self.is_unauthorized:
            self.is_unauthorized = True
            self._pauses = 0
            self._outage.answered()
            logger.error(
                "%s: User.com refuses our key, and nothing is sent to it any more. Is api_key right, and the site among the"
                " workspace's domains? What is said waits, and is tried again every few minutes.",
                error,
            )
        self._pauses += 1
        self._pause(min(LOCKED_FIRST * 2.0 ** min(self._pauses - 1, 10), LOCKED_LONGEST))

    def _delay(self, pauses: int) -> float:
        return min(self._retry.delay(pauses, None), LONGEST_PAUSE) if pauses else 0.0

    def _pause(self, seconds: float) -> None:
        self._is_probing = True
        self._open_at(max(self._closed_until, anyio.current_time() + seconds))

    def _open_at(self, moment: float) -> None:
        self._closed_until = moment
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class OutageLog:
    """One line when User.com is gone and one when it is back, however many calls fail; at most once a minute if it flaps.

    ``waiting`` tells how much waits for it; without it nothing is said, since nothing is tried again.
    """

    def __init__(self, waiting: Callable[[], int] | None = None) -> None:
        self._waiting = waiting
        self._complaints = LogThrottle()
        self._began: float | None = None
        self._is_said = False
        self._lasted: float | None = None

    def failed(self, reason: str, many: int, *, is_certain: bool) -> None:
        """Another call has failed, the last of so many in a row; said once it is certain that this is no hiccup."""
        self._began = self._began or time.monotonic()
        if (
            is_certain
            and not self._is_said
            and self._waiting is not None
            and self._complaints.due("gone") is not None
        ):
            self._is_said = True
            logger.warning(
                "User.com cannot be reached or does not serve, %d calls in a row (%s): %d commands wait, and are tried again",
                many, reason, self._waiting(),
            )  # fmt: skip

    def passed(self) -> None:
        """User.com is there."""
        if self._is_said and self._began is not None:
            self._lasted = time.monotonic() - self._began
        self.answered()

    def answered(self) -> None:
        """User.com is there, and what it has to say is in the log already."""
        self._began, self._is_said = None, False

    def tell(self) -> None:
        """Say that it is back, if that is news; when what came of the call is in the books, so that it waits no more."""
        if self._lasted is not None and self._waiting is not None:
            lasted, self._lasted = self._lasted, None
            logger.warning(
                "User.com is there again after %.0f s: %d commands wait", lasted, self._waiting()
            )
