"""The signed flash cookie: what was said to the page, on its way over redirects to the next one.

It is bound to the visitor's user key, so it does not run in another visitor's page: neither in the next one's at this
browser, nor in a browser into which a sibling subdomain has planted it. A visitor without a key gets one at any moment, by
the widget's first ping. There the cookie's name binds it where it can: on https, without a ``cookie_domain``, it begins with
``__Host-``, and no other host can set it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias, cast

from .identity import set_cookie
from .signing import Signer
from .user_key import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .attributes import Json

logger = logging.getLogger("usercom_asgi")

COOKIE = "__ca__flash"
#: Its name on https, if it belongs to this host alone (RFC 6265bis, 4.1.3.2).
HOST_COOKIE = "__Host-__ca__flash"
#: Seconds that something said to a page waits for one: afterwards nobody remembers why the chat should open.
MAX_AGE = 24 * 3600

#: One thing said to a page: an id of its own, the function to call, and the arguments.
Said: TypeAlias = "list[Json]"


class Flash:
    """Writes and reads the flash cookie."""

    def __init__(self, secret_keys: Sequence[str], domain: str | None) -> None:
        self._domain = domain
        self._signer = Signer(secret_keys, "flash")

    def name(self, *, secure: bool) -> str:
        """Return the name of the cookie, on https or without it."""
        return HOST_COOKIE if secure and self._domain is None else COOKIE

    def load(self, value: str | None, key: str | None, *, secure: bool) -> list[Said]:
        """Return the commands in a cookie's value if they are for the visitor with this user key; else none."""
        try:
            of, said = self._signer.loads(value, MAX_AGE)
        except (TypeError, ValueError):
            return []
        # From this browser before its first ping, as the name proves: it is for the visitor with the key of that ping.
        is_of_this_browser = of == digest(None) and self.name(secure=secure) == HOST_COOKIE
        if not isinstance(said, list) or not (of == digest(key) or is_of_this_browser):
            logger.debug("a flash cookie of another visitor is ignored")
            return []
        return cast("list[Said]", said)

    def set_cookie(self, said: Sequence[Said], key: str | None, *, secure: bool) -> bytes:
        """Return the ``Set-Cookie`` value that keeps this for the next page of the visitor with this key."""
        text = self._signer.dumps([digest(key), list(said)])
        return set_cookie(self.name(secure=secure), text, max_age=MAX_AGE, domain=self._domain, secure=secure, http_only=True)

    def expire(self, *, secure: bool) -> bytes:
        """Return the ``Set-Cookie`` value that ends the cookie: what it said has been said."""
        return set_cookie(self.name(secure=secure), "", max_age=0, domain=self._domain, secure=secure, http_only=True)
