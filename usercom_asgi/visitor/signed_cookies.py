"""Signed cookies: who was identified last, and browser commands for the next page.

The last of ``secret_keys`` signs, and all of them verify, so that keys can be rotated.
"""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING, cast

from ..core.user_key import key_digest
from .cookies import MAX_AGE, expire_everywhere, set_cookie
from .signing import HmacSha256, Signer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .browser import BrowserCall

logger = logging.getLogger("usercom_asgi")

IDENTITY_COOKIE = "__ca__identity"
FLASH_COOKIE = "__ca__flash"
#: The name of the flash cookie on https without ``cookie_domain``, which other hosts of
#: the site cannot set (RFC 6265bis, 4.1.3.2).
FLASH_HOST_COOKIE = "__Host-__ca__flash"
#: Lifetime of queued browser commands, in seconds.
FLASH_MAX_AGE = 24 * 3600


class IdentityCookie:
    """The cookie with a fingerprint of the user who was identified last."""

    def __init__(self, secret_keys: Sequence[str], domain: str | None) -> None:
        self._keys = [key.encode() for key in secret_keys]
        self._hmac = HmacSha256(self._keys)
        self._domain = domain
        self._signer = Signer(secret_keys, "identity")

    def load(self, value: str | None) -> str | None:
        """Return the fingerprint in a cookie's value; None if it is expired or not ours."""
        content: object = self._signer.loads(value, MAX_AGE)
        who = cast("dict[str, object]", content).get("who") if isinstance(content, dict) else None
        return who if isinstance(who, str) else None

    def fingerprint(self, user: Mapping[str, object]) -> str | None:
        """Return the fingerprint of a user; None without ``user_id`` and ``email``."""
        return self._fingerprint(self._keys[-1], user)

    def matches(self, fingerprint: str, user: Mapping[str, object]) -> bool:
        """Return whether any of the keys makes this fingerprint of that user."""
        made = [self._fingerprint(key, user) for key in self._keys]
        return any(each is not None and hmac.compare_digest(each, fingerprint) for each in made)

    def set_cookie(self, fingerprint: str | None, *, secure: bool) -> bytes:
        """Return the ``Set-Cookie`` value for a fingerprint; None expires the cookie."""
        return set_cookie(
            IDENTITY_COOKIE,
            self._signer.dumps({"who": fingerprint}) if fingerprint else "",
            max_age=MAX_AGE if fingerprint else 0,
            domain=self._domain,
            secure=secure,
            http_only=True,
        )

    def expire_duplicates(self, *, host: str, secure: bool, path: str) -> list[bytes]:
        """Return ``Set-Cookie`` values that expire the cookie anywhere but at its own place.

        Another place may have one from before ``cookie_domain`` was changed.
        """
        everywhere = expire_everywhere(
            IDENTITY_COOKIE,
            host=host,
            secure=secure,
            domain=self._domain,
            path=path,
            http_only=True,
        )
        return [each for each in everywhere if each != self.set_cookie(None, secure=secure)]

    def _fingerprint(self, key: bytes, user: Mapping[str, object]) -> str | None:
        # The id takes precedence over the e-mail address, as it does at User.com.
        for name in ("user_id", "email"):
            if name in user:
                # One that User.com does not accept counts, too: it may hold a surrogate.
                who = f"{name}:{user[name]}".encode(errors="surrogatepass")
                return self._hmac.get_signature(key, who).hex()[:32]
        return None


class FlashCookie:
    """The cookie with browser commands for the visitor's next page."""

    def __init__(self, secret_keys: Sequence[str], domain: str | None) -> None:
        self._domain = domain
        self._signer = Signer(secret_keys, "flash")

    def name(self, *, secure: bool) -> str:
        """Return the name of the cookie, on https or http."""
        return FLASH_HOST_COOKIE if secure and self._domain is None else FLASH_COOKIE

    def load(self, value: str | None, key: str | None, *, secure: bool) -> list[BrowserCall]:
        """Return the commands in a cookie's value, if they are for the visitor with this key."""
        try:
            bound_to, calls = self._signer.loads(value, FLASH_MAX_AGE)
        except (TypeError, ValueError):
            return []
        # The cookie may have been set before this browser's first ping gave it a key.
        # Its name proves that this host has set it.
        is_from_before_key = (
            bound_to == key_digest(None) and self.name(secure=secure) == FLASH_HOST_COOKIE
        )
        if not isinstance(calls, list) or not (bound_to == key_digest(key) or is_from_before_key):
            logger.debug(
                "Ignoring a flash cookie that was not set for the visitor's present user key",
                extra={"usercom_event": "flash_cookie_ignored"},
            )
            return []
        return cast("list[BrowserCall]", calls)

    def set_cookie(self, calls: Sequence[BrowserCall], key: str | None, *, secure: bool) -> bytes:
        """Return the ``Set-Cookie`` value that keeps commands for the visitor's next page."""
        text = self._signer.dumps([key_digest(key), list(calls)])
        return self._set(text, FLASH_MAX_AGE, secure=secure)

    def expire(self, *, secure: bool) -> bytes:
        """Return the ``Set-Cookie`` value that expires the cookie, once its commands are sent."""
        return self._set("", 0, secure=secure)

    def _set(self, text: str, max_age: int, *, secure: bool) -> bytes:
        return set_cookie(
            self.name(secure=secure),
            text,
            max_age=max_age,
            domain=self._domain,
            secure=secure,
            http_only=True,
        )
