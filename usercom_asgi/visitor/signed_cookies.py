"""Signed values for cookies of ours. The last of the keys signs, all of them verify: so keys can be rotated."""

from __future__ import annotations

import hashlib
import hmac
import logging
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from itsdangerous import BadData, URLSafeTimedSerializer

from ..core.user_key import key_digest
from .cookies import MAX_AGE, expire_twins, set_cookie

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..core.validation import Json


class Signer:
    """Turns JSON values into text that only we can have written, and back. ``purpose`` keeps one cookie from being another."""

    def __init__(self, secret_keys: Sequence[str], purpose: str) -> None:
        self._serializer = URLSafeTimedSerializer(
            list(secret_keys),
            salt=f"usercom_asgi.{purpose}",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def dumps(self, content: object) -> str:
        """Return the signed text."""
        value = self._serializer.dumps(content)
        return value.decode() if isinstance(value, bytes) else value

    def loads(self, value: str | None, max_age: int) -> Any:
        """Return what was signed at most ``max_age`` seconds ago; None for anything else."""
        if not value:
            return None
        try:
            return self._serializer.loads(value, max_age=max_age)
        except BadData:
            return None


IDENTITY_COOKIE = "__ca__identity"


class IdentityCookie:
    """Writer and reader of the cookie that remembers who was last identified."""

    def __init__(self, secret_keys: Sequence[str], domain: str | None) -> None:
        self._keys = list(secret_keys)
        self._domain = domain
        self._signer = Signer(secret_keys, "identity")

    def load(self, value: str | None) -> str | None:
        """Return the fingerprint in a cookie's value; None for what is too old, or what we did not write."""
        return _who(self._signer.loads(value, MAX_AGE))

    def fingerprint(self, person: Mapping[str, object]) -> str | None:
        """Return what recognises a person; None for somebody without a name."""
        return self._fingerprint(self._keys[-1], person)

    def matches(self, fingerprint: str, person: Mapping[str, object]) -> bool:
        """Tell whether this is the fingerprint of that person, made with any of the keys."""
        mine = [self._fingerprint(key, person) for key in self._keys]
        return any(each is not None and hmac.compare_digest(each, fingerprint) for each in mine)

    def set_cookie(self, fingerprint: str | None, *, secure: bool) -> bytes:
        """Return the ``Set-Cookie`` value that remembers this person, or nobody."""
        text = self._signer.dumps({"who": fingerprint}) if fingerprint else ""
        age = MAX_AGE if fingerprint else 0
        return set_cookie(
            IDENTITY_COOKIE, text, max_age=age, domain=self._domain, secure=secure, http_only=True
        )

    def expire_twins(self, *, host: str, secure: bool, path: str) -> list[bytes]:
        """Return the ``Set-Cookie`` values that end the cookie elsewhere, as from before ``cookie_domain`` changed."""
        twins = expire_twins(
            IDENTITY_COOKIE,
            host=host,
            secure=secure,
            domain=self._domain,
            path=path,
            http_only=True,
        )
        return [each for each in twins if each != self.set_cookie(None, secure=secure)]

    @staticmethod
    def _fingerprint(key: str, person: Mapping[str, object]) -> str | None:
        # The id counts before the address, as it does at User.com.
        for name in ("user_id", "email"):
            if name in person:
                who = f"{name}:{person[name]}".encode()
                return hmac.digest(key.encode(), who, "sha256").hex()[:32]
        return None


def _who(content: object) -> str | None:
    who = cast("dict[str, object]", content).get("who") if isinstance(content, dict) else None
    return who if isinstance(who, str) else None


logger = logging.getLogger("usercom_asgi")

FLASH_COOKIE = "__ca__flash"
#: Its name on https, if it belongs to this host alone (RFC 6265bis, 4.1.3.2).
FLASH_HOST_COOKIE = "__Host-__ca__flash"
#: Lifetime of queued browser commands, in seconds.
FLASH_MAX_AGE = 24 * 3600

#: One thing said to a page: an id of its own, the function to call, and the arguments.
Said: TypeAlias = "list[Json]"


class FlashCookie:
    """Writes and reads the flash cookie."""

    def __init__(self, secret_keys: Sequence[str], domain: str | None) -> None:
        self._domain = domain
        self._signer = Signer(secret_keys, "flash")

    def name(self, *, secure: bool) -> str:
        """Return the name of the cookie, on https or without it."""
        return FLASH_HOST_COOKIE if secure and self._domain is None else FLASH_COOKIE

    def load(self, value: str | None, key: str | None, *, secure: bool) -> list[Said]:
        """Return the commands in a cookie's value, if they are for the visitor with this key."""
        try:
            of, said = self._signer.loads(value, FLASH_MAX_AGE)
        except (TypeError, ValueError):
            return []
        # Set before this browser's first ping, as the cookie's name proves. The key that the
        # browser has now is of that ping.
        is_of_this_browser = (
            of == key_digest(None) and self.name(secure=secure) == FLASH_HOST_COOKIE
        )
        if not isinstance(said, list) or not (of == key_digest(key) or is_of_this_browser):
            logger.debug("Ignoring a flash cookie of another visitor")
            return []
        return cast("list[Said]", said)

    def set_cookie(self, said: Sequence[Said], key: str | None, *, secure: bool) -> bytes:
        """Return the ``Set-Cookie`` value that keeps commands for the visitor's next page."""
        text = self._signer.dumps([key_digest(key), list(said)])
        name = self.name(secure=secure)
        return set_cookie(
            name, text, max_age=FLASH_MAX_AGE, domain=self._domain, secure=secure, http_only=True
        )

    def expire(self, *, secure: bool) -> bytes:
        """Return the ``Set-Cookie`` value that ends the cookie, once its commands were sent."""
        return set_cookie(
            self.name(secure=secure),
            "",
            max_age=0,
            domain=self._domain,
            secure=secure,
            http_only=True,
        )
