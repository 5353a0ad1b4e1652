"""Signing of JSON values with several keys, of which the last signs: :class:`Signer`."""

from __future__ import annotations

import hmac
import time
from typing import TYPE_CHECKING, Any

from itsdangerous import BadData, TimestampSigner, URLSafeSerializer
from itsdangerous.signer import SigningAlgorithm

if TYPE_CHECKING:
    from collections.abc import Sequence


class HmacSha256(SigningAlgorithm):
    """HMAC with these keys, each of which is set up once: that costs more than a digest."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keyed = {key: hmac.new(key, digestmod="sha256") for key in keys}

    def get_signature(self, key: bytes, value: bytes) -> bytes:
        """Return the signature of a value."""
        keyed = self._keyed[key].copy()
        keyed.update(value)
        return keyed.digest()


class Signer:
    """Signs JSON values; ``purpose`` keeps one cookie's value from being valid in another."""

    def __init__(self, secret_keys: Sequence[str], purpose: str) -> None:
        # The derivation "hmac" of itsdangerous, once: it would derive the key for each
        # value anew, which is a third of the cost of reading one.
        salt = f"usercom_asgi.{purpose}".encode()
        keys = [hmac.digest(key.encode(), salt, "sha256") for key in secret_keys]
        # The two halves of a `URLSafeTimedSerializer`, which makes a signer for each value.
        self._signer = TimestampSigner(keys, key_derivation="none", algorithm=HmacSha256(keys))
        self._payloads = URLSafeSerializer(keys)

    def dumps(self, content: object) -> str:
        """Return the signed text."""
        return self._signer.sign(self._payloads.dump_payload(content)).decode()

    def loads(self, value: str | None, max_age: int) -> Any:
        """Return a value signed at most ``max_age`` seconds ago; None for anything else."""
        if not value:
            return None
        try:
            payload, signed_at = self._signer.unsign(value, return_timestamp=True)
            content = self._payloads.load_payload(payload)
        except BadData:
            return None
        # Not by `max_age=`, which refuses a value from the future: the clock of the
        # host that signed it may be ahead by seconds, and ours may have been set back.
        return content if time.time() - signed_at.timestamp() <= max_age else None
