"""The signed flash cookie: what was said to the page, on its way over redirects to the next one.

It is bound to the user key of the visitor of whom it was said: it does not run in the page of whoever comes next at this
browser, even where a reset has gone past us.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

from .identity import digest, set_cookie
from .signing import Signer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .attributes import Json

COOKIE = "__ca__flash"
#: Seconds that something said to a page waits for one: afterwards nobody remembers why the chat should open.
MAX_AGE = 24 * 3600

#: One thing said to a page: an id of its own, the function to call, and the arguments.
Said: TypeAlias = "list[Json]"


class Flash:
    """Writes and reads the flash cookie."""

    def __init__(self, secret_keys: Sequence[str], domain: str | None) -> None:
        self._domain = domain
        self._signer = Signer(secret_keys, "flash")

    def load(self, value: str | None, key: str | None) -> list[Said]:
        """Return what a cookie's value says to a page of the visitor with this user key; of anybody else's, nothing."""
        try:
            of, said = self._signer.loads(value, MAX_AGE)
        except (TypeError, ValueError):
            return []
        # What was said of a visitor before the first ping is theirs under whatever key they have been given since.
        if of not in (digest(None), digest(key)) or not isinstance(said, list):
            return []
        return cast("list[Said]", said)

    def set_cookie(self, said: Sequence[Said], key: str | None, *, secure: bool) -> bytes:
        """Return the ``Set-Cookie`` value that keeps this for the next page of the visitor with this key."""
        text = self._signer.dumps([digest(key), list(said)])
        return set_cookie(COOKIE, text, max_age=MAX_AGE, domain=self._domain, secure=secure, http_only=True)

    def expire(self, *, secure: bool) -> bytes:
        """Return the ``Set-Cookie`` value that ends the cookie: what it said has been said."""
        return set_cookie(COOKIE, "", max_age=0, domain=self._domain, secure=secure, http_only=True)
