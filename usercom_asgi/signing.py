"""Signed values for cookies of ours. The last of the keys signs, all of them verify: so keys can be rotated."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from itsdangerous import BadData, URLSafeTimedSerializer

if TYPE_CHECKING:
    from collections.abc import Sequence


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

    def claimed(self, value: str | None) -> Any:
        """Return what a text says, whoever wrote it; None for what says nothing, or was long enough to be compressed."""
        try:
            return self._serializer.load_payload((value or "").partition(".")[0].encode())
        except BadData:
            return None

    def loads(self, value: str | None, max_age: int) -> Any:
        """Return what was signed at most ``max_age`` seconds ago; None for anything else."""
        if not value:
            return None
        try:
            return self._serializer.loads(value, max_age=max_age)
        except BadData:
            return None
