"""Which user key is the visitor's: the browser's, or one that User.com has named since: :class:`KeyHolder`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .connection import Connection
from .user_key import COOKIE, is_user_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .attributes import Json
    from .envelope import Delivery, PendingReset
    from .receipts import Receipt


class KeyHolder(Connection):
    """The visitor of a request, as far as the key goes."""

    # On the class, since most requests never touch them: a visitor is made for every one.
    # Set where what is said waits for the key that a reset brings.
    _lane: str | None = None
    _reset: PendingReset | None = None
    _has_recalled = False
    # The receipts of this request whose answers name a key, each with the identity that it was sent for.
    _hits: tuple[tuple[Mapping[str, Json], Receipt], ...] = ()
    # The browser's key is somebody else's.
    _is_disowned = False

    _delivery: Delivery

    @property
    def key(self) -> str | None:
        """The visitor's user key; None if there is none, or none yet.

        Whoever holds it can open this visitor's chat: it is a secret, and never a proof of identity.
        """
        reset = self.reset
        if reset is not None:
            return reset.receipt.key
        return self.named_key or (None if self._is_disowned else self._cookie_key)

    @property
    def named_key(self) -> str | None:
        """The key that User.com has named in answer to a hit of this request, if it is another than the browser's."""
        named = next((hit.key for _, hit in reversed(self._hits) if hit.key is not None), None)
        return named if named != self._cookie_key else None

    def key_for(self, who: Mapping[str, Json]) -> str | None:
        """Return the key to send a command about ``who`` with: never one that an answer about another person has named."""
        if self.reset is not None:
            return self.reset.receipt.key
        named = next((hit.key for names, hit in reversed(self._hits) if hit.key is not None and names == who), None)
        return named or (None if self._is_disowned else self._cookie_key)

    @property
    def _cookie_key(self) -> str | None:
        return next((key for key in self.cookie_values(COOKIE) if is_user_key(key) and not self.has_ended(key)), None)

    @property
    def has_hit(self) -> bool:
        """True if something was said whose answer may name another key than the browser's."""
        return bool(self._hits)

    @property
    def reset(self) -> PendingReset | None:
        """The reset that this request asks for; or an earlier one's, whose key the browser has not been given yet."""
        if self._reset is None and not self._has_recalled:
            self._has_recalled = True
            marker = self.marker
            if marker and self._cookie_key is None:
                self._reset = self._delivery.recall(marker.token)
                self._lane = marker.token if self._reset else None
        return self._reset
