"""User keys, their digests, and the names of the cookie and header that carry them."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from typing import TypeGuard

#: The widget's cookie, which holds the user key (User.com's cookie table).
COOKIE = "__ca__chat"
#: The media type that the bridge in ``page/js`` adds to ``Accept``: the page runs
#: commands in the response.
BRIDGE = b"application/x-usercom"
# Keys have 12 characters today. User.com's documentation shows seven as well, so any
# length is accepted (docs/usercom.md, 2).
_USER_KEY = re.compile(r"[A-Za-z0-9]{1,64}")
_MARKER = re.compile(r"([0-9a-f]{16}|-)\.([0-9A-Za-z_-]{16,32})\.([0-9]{1,12})")


def is_user_key(value: object) -> TypeGuard[str]:
    """Return whether a value has the form of a user key."""
    return isinstance(value, str) and _USER_KEY.fullmatch(value) is not None


@dataclass(frozen=True, slots=True, repr=False)
class ResetMarker:
    """Value of the marker cookie: the old key's digest and the reset's token.

    Attributes:
        digest: Digest of the old key; ``-`` if there was none.
        token: Random name of the reset, known to the process that made it. A request
            with the token receives the new visitor's key, so it must not be guessable.
        at: Seconds since the epoch.

    """

    digest: str
    token: str
    at: int

    @classmethod
    def new(cls, old_key_digest: str) -> ResetMarker:
        """Return the marker of a reset that happens now."""
        return cls(old_key_digest, new_ordering_key(), int(time.time()))

    @classmethod
    def parse(cls, value: str | None) -> ResetMarker | None:
        """Return the marker of a cookie's value, or None if the value is malformed."""
        match = _MARKER.fullmatch(value) if value else None
        return cls(match[1], match[2], int(match[3])) if match else None

    def __str__(self) -> str:
        return f"{self.digest}.{self.token}.{self.at}"

    def is_recent(self, seconds: float) -> bool:
        """Return whether the reset was made that long ago at most.

        The clock of the host that made it may be ahead by seconds.
        """
        return abs(time.time() - self.at) < seconds

    def matches(self, key: str) -> bool:
        """Return whether this is the key that the reset ended."""
        return key_digest(key) == self.digest


def new_ordering_key() -> str:
    """Return a random ordering key, for a visitor without a user key."""
    return secrets.token_urlsafe(16)


def key_digest(key: str | None) -> str:
    """Return a short digest of a user key.

    The digest recognises the key. Unlike the key, it does not give access to the chat.
    """
    return hashlib.sha256(key.encode()).hexdigest()[:16] if key else "-"
