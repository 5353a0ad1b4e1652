"""The signed companion cookie: what this library remembers of a browser from one request to the next.

It holds a keyed fingerprint of who the browser was last identified as, and neither a name nor a key: enough to notice that
somebody has logged out, or is somebody else.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, cast

from .identity import MAX_AGE, expire_twins, set_cookie
from .signing import Signer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COOKIE = "__ca__companion"


class Companion:
    """Writes and reads the companion cookie."""

    def __init__(self, secret_keys: Sequence[str], domain: str | None) -> None:
        self._keys = list(secret_keys)
        self._domain = domain
        self._signer = Signer(secret_keys, "companion")

    def remembered(self, value: str | None) -> str | None:
        """Return the fingerprint in a cookie's value; None for what is too old, or what we did not write."""
        return _who(self._signer.loads(value, MAX_AGE))

    def claims(self, value: str | None, fingerprint: str) -> bool:
        """Tell whether a cookie's value says that it was this person, whoever wrote it.

        Of the person who is there now that is no news, so nobody gains by a lie; and the proof costs more than a page.
        """
        return _who(self._signer.claimed(value)) == fingerprint

    def fingerprint(self, person: Mapping[str, object]) -> str | None:
        """Return what recognises a person; None for somebody without a name."""
        return self._fingerprint(self._keys[-1], person)

    def is_of(self, fingerprint: str, person: Mapping[str, object]) -> bool:
        """Tell whether this is the fingerprint of that person, made with any of the keys."""
        mine = [self._fingerprint(key, person) for key in self._keys]
        return any(each is not None and hmac.compare_digest(each, fingerprint) for each in mine)

    def set_cookie(self, fingerprint: str | None, *, secure: bool) -> bytes:
        """Return the ``Set-Cookie`` value that remembers this person, or nobody."""
        text = self._signer.dumps({"who": fingerprint}) if fingerprint else ""
        age = MAX_AGE if fingerprint else 0
        return set_cookie(COOKIE, text, max_age=age, domain=self._domain, secure=secure, http_only=True)

    def expire_twins(self, *, host: str, secure: bool, path: str) -> list[bytes]:
        """Return the ``Set-Cookie`` values that end the cookie elsewhere, as from before ``cookie_domain`` changed."""
        twins = expire_twins(COOKIE, host=host, secure=secure, domain=self._domain, path=path, http_only=True)
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
