"""What the log says while User.com is not there: :class:`Outage`."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from .complaints import Rarely

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("usercom_asgi")


class Outage:
    """One line when User.com is gone and one when it is back, however many calls fail; at most once a minute if it flaps.

    ``waiting`` tells how much waits for it; without it nothing is said, since nothing is tried again.
    """

    def __init__(self, waiting: Callable[[], int] | None = None) -> None:
        self._waiting = waiting
        self._complaints = Rarely()
        self._began: float | None = None
        self._is_said = False
        self._lasted: float | None = None

    def failed(self, reason: str, many: int, *, is_certain: bool) -> None:
        """Another call has failed, the last of so many in a row; said once it is certain that this is no hiccup."""
        self._began = self._began or time.monotonic()
        if is_certain and not self._is_said and self._waiting is not None and self._complaints.due("gone") is not None:
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
            logger.warning("User.com is there again after %.0f s: %d commands wait", lasted, self._waiting())
