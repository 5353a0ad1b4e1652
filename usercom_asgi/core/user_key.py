"""User keys: their form, their digests, and the names of the cookies and headers that carry them."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from typing import TypeGuard

#: The widget's cookie, written by the browser and by nobody else unless asked (User.com's cookie table).
COOKIE = "__ca__chat"
#: The media type in ``Accept`` by which the bridge of ``page/js`` says that a page asks, and will hear.
BRIDGE = b"application/x-usercom"
# Twelve characters nowadays; the documentation shows seven as well, so the length is left open (docs/usercom.md, 2).
_USER_KEY = re.compile(r"[A-Za-z0-9]{1,64}")
_MARKER = re.compile(r"([0-9a-f]{16}|-)\.([0-9A-Za-z_-]{16,32})\.([0-9]{1,12})")


def is_user_key(value: object) -> TypeGuard[str]:
    """Tell whether a value has the form of a user key."""
    return isinstance(value, str) and _USER_KEY.fullmatch(value) is not None


@dataclass(frozen=True, slots=True, repr=False)
class ResetMarker:
    """What the marker cookie says: whose key must not come back, and which reset it was.

    ``digest`` is of the old key (``-`` where there was none). ``token`` names the reset within the process that made it, and
    cannot be guessed: who knows it is given the new visitor's key. ``at`` is in seconds since the epoch.
    """

    digest: str
    token: str
    at: int

    @classmethod
    def new(cls, old_key_digest: str) -> ResetMarker:
        """Make the marker of a reset that happens now."""
        return cls(old_key_digest, new_ordering_key(), int(time.time()))

    @classmethod
    def parse(cls, value: str | None) -> ResetMarker | None:
        """Read the cookie's value; None for anything that we did not write."""
        match = _MARKER.fullmatch(value) if value else None
        return cls(match[1], match[2], int(match[3])) if match else None

    def __str__(self) -> str:
        return f"{self.digest}.{self.token}.{self.at}"

    def matches(self, key: str) -> bool:
        """Return whether this is the key that the reset ended."""
        return key_digest(key) == self.digest


def new_ordering_key() -> str:
    """Return a name for the lane of a visitor who has no key yet; nobody can guess it."""
    return secrets.token_urlsafe(16)


def key_digest(key: str | None) -> str:
    """Shorten a user key to something that recognises it and cannot open its chat."""
    return hashlib.sha256(key.encode()).hexdigest()[:16] if key else "-"
