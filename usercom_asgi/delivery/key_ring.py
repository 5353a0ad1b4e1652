"""The user key of a queued command: :class:`KeyRing`, the one place for that rule.

User.com decides identity: its answer to a page hit may name another user key than the
one that was sent. The rule for what happens with that key:

* A command travels under the key that its own browser sent with the request.
* A key that User.com names in an answer replaces it only for later commands of the same
  request that are about the same person.
* The key of a visitor that a reset creates belongs to the queue of that reset, which
  only the browser that asked for it can name.

So a key never passes from one browser to another, nor from one person to the next
in one request.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from ..core.envelope import Envelope

# Entries serve the commands of requests that still wait. The oldest are of
# requests long over.
_MAX_ENTRIES = 64


class KeyRing:
    """The user keys that User.com has named in answer to one queue's commands."""

    __slots__ = ("_created", "_keys")

    def __init__(self) -> None:
        self._created: str | None = None
        self._keys: dict[str, str] = {}

    def key_for(self, envelope: Envelope) -> str | None:
        """Return the key to send a command with; None if it has to be looked up."""
        return self._keys.get(_slot(envelope)) or envelope.key or self._created

    def learn(self, envelope: Envelope, key: str | None) -> bool:
        """Remember the key that User.com named for a command; return True if new."""
        if key is None or key == self.key_for(envelope):
            return False
        if envelope.creates_user:
            self._created = key
        elif len(self._keys) >= _MAX_ENTRIES:
            del self._keys[next(iter(self._keys))]
        self._keys[_slot(envelope)] = key
        return True

    def dumps(self) -> str:
        """Return the keys, which are secrets, as text for an outbox."""
        return json.dumps([self._created, self._keys], separators=(",", ":"))

    def restore(self, text: str | None) -> None:
        """Add the keys of :meth:`dumps`; keys that were learned since then win."""
        try:
            created, keys = json.loads(text or "")
            loaded = {str(slot): str(key) for slot, key in cast("dict[str, str]", keys).items()}
        except (AttributeError, TypeError, ValueError):
            return
        self._created = self._created or (created if isinstance(created, str) else None)
        # Bounded here as well, because each process that holds the queue adds its own.
        self._keys = dict([*({**loaded, **self._keys}).items()][-_MAX_ENTRIES:])


def _slot(envelope: Envelope) -> str:
    return json.dumps([envelope.source, sorted(envelope.identity.items())], separators=(",", ":"))
