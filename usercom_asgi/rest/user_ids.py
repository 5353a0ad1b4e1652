"""User.com's ids of users by their key or email: :class:`UserIds`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

import anyio

from .failures import unexpected

if TYPE_CHECKING:
    from .identifiers import Email, Key
    from .models import User
    from .users import Users

Named: TypeAlias = "Key | Email"

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

    async def get(self, name: Named) -> int:
        """Return the id of a user.

        Raises:
            NotFoundError: If there is no such user.
            AmbiguousError: If several have this email.

        """
        lock = self._looking_up.setdefault(name, anyio.Lock())
        try:
            async with lock:
                known = self._recall(name)
                return known if known is not None else self._remember(name, await self._ask(name))
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._looking_up.pop(name, None)

    def forget(self, name: Named) -> None:
        """Look a user up again at the next request."""
        self._known.pop(name, None)

    async def _ask(self, name: Named) -> User:
        return await self._users.get(name)

    def _recall(self, name: Named) -> int | None:
        number, expires_at = self._known.get(name, (None, 0.0))
        return number if expires_at > time.monotonic() else None

    def _remember(self, name: Named, user: User) -> int:
        if user.id is None:
            raise unexpected("GET", "/users/search/", 200, "with a user without id")
        self._known.pop(name, None)
        if len(self._known) >= _MAX_ENTRIES:
            del self._known[next(iter(self._known))]
        self._known[name] = user.id, time.monotonic() + _SECONDS
        return user.id
