"""Signing of JSON values with several keys, of which the last signs: :class:`Signer`."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Any

from itsdangerous import BadData, URLSafeTimedSerializer

if TYPE_CHECKING:
    from collections.abc import Sequence


class Signer:
    """Signs JSON values; ``purpose`` keeps one cookie's value from being valid in another."""

    def __init__(self, secret_keys: Sequence[str], purpose: str) -> None:
        # The derivation "hmac" of itsdangerous, once: it would derive the key for each
        # value anew, which is a third of the cost of reading one.
        salt = f"usercom_asgi.{purpose}".encode()
        self._serializer = URLSafeTimedSerializer(
            [hmac.digest(key.encode(), salt, "sha256") for key in secret_keys],
            signer_kwargs={"key_derivation": "none", "digest_method": hashlib.sha256},
        )

    def dumps(self, content: object) -> str:
        """Return the signed text."""
        value = self._serializer.dumps(content)
        return value.decode() if isinstance(value, bytes) else value

    def loads(self, value: str | None, max_age: int) -> Any:
        """Return a value signed at most ``max_age`` seconds ago; None for anything else."""
        if not value:
            return None
        try:
            content, signed_at = self._serializer.loads(value, return_timestamp=True)
        except BadData:
            return None
        # Not by `max_age=`, which refuses a value from the future: the clock of the
        # host that signed it may be ahead by seconds, and ours may have been set back.
        return content if time.time() - signed_at.timestamp() <= max_age else None
