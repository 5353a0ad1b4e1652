"""The sender's look-ups of User.com's ids, by key, email or custom id."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

import anyio

from ..core.exceptions import UnavailableError
from .failures import unexpected
from .identifiers import CustomId, Email, Key
from .users import SEARCH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .models import User
    from .users import Users

Named: TypeAlias = "Key | Email | CustomId"

_MAX_ENTRIES = 10_000
_SECONDS = 600.0


class UserIds:
    """The ids of users that were looked up, for ten minutes and at most 10,000.

    Concurrent requests for one user share a look-up. A user that was merged or deleted
    meanwhile answers with 404: then :meth:`forget` it, and look it up anew.
    """

    def __init__(self, users: Users) -> None:
        self._users = users
        #: The id of each, and when it expires; the oldest first.
        self._known: dict[Named, tuple[int, float]] = {}
        self._looking_up: dict[Named, anyio.Lock] = {}

    async def get(self, name: Named, ask: Callable[[], Awaitable[int | None]] | None = None) -> int:
        """Return the id of a user.

        Args:
            name: The user's key, email or custom id.
            ask: Returns an id that is not known yet. Defaults to a look-up.

        Raises:
            NotFoundError: If there is no such user.
            AmbiguousError: If several have this email.
            UnavailableError: If the answers are about other users.

        """
        lock = self._looking_up.setdefault(name, anyio.Lock())
        try:
            async with lock:
                known = self._recall(name)
                if known is None:
                    asked = await (self._look_up(name) if ask is None else ask())
                    known = self._remember(name, asked)
                return known
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._looking_up.pop(name, None)

    def forget(self, name: Named) -> None:
        """Look a user up again at the next request."""
        self._known.pop(name, None)

    async def _look_up(self, name: Named) -> int | None:
        """Return the id that User.com answers, if the answer is about this user.

        A duplicate response on a kept connection is taken for that of the next call,
        and may be about another person. So an answer without this name is asked for
        again.
        The key of a visitor who was merged is answered with the user that they became,
        who has another one: then both answers agree.
        """
        first = await self._users.get(name)
        if _has_name(first, name):
            return first.id
        second = await self._users.get(name)
        if _has_name(second, name):
            return second.id
        if isinstance(name, Email):
            raise unexpected("GET", SEARCH, 200, "with a user with another email")
        if first.id != second.id:
            raise UnavailableError(f"GET {SEARCH} answered with other users", not_sent=True)
        return first.id

    def _recall(self, name: Named) -> int | None:
        number, expires_at = self._known.get(name, (None, 0.0))
        return number if expires_at > time.monotonic() else None

    def _remember(self, name: Named, number: int | None) -> int:
        if number is None:
            raise unexpected("GET", SEARCH, 200, "with a user without id")
        self._known.pop(name, None)
        if len(self._known) >= _MAX_ENTRIES:
            del self._known[next(iter(self._known))]
        self._known[name] = number, time.monotonic() + _SECONDS
        return number


def _has_name(user: User, name: Named) -> bool:
    if isinstance(name, Email):
        return (user.email or "").strip().casefold() == name.value.strip().casefold()
    return (user.user_key if isinstance(name, Key) else user.custom_id) == name.value
