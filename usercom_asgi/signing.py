"""Signed values for cookies of ours. The last of the keys signs, all of them verify: so keys can be rotated."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any

from itsdangerous import BadData, URLSafeTimedSerializer

if TYPE_CHECKING:
    from collections.abc import Sequence


_to_json = json.JSONEncoder(separators=(",", ":")).encode  # as itsdangerous writes it


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

    def payload(self, content: object) -> str:
        """Return what a signed text begins with, up to its first dot; for content that is too short to be compressed."""
        return urlsafe_b64encode(_to_json(content).encode()).rstrip(b"=").decode()

    def loads(self, value: str | None, max_age: int) -> Any:
        """Return what was signed at most ``max_age`` seconds ago; None for anything else."""
        if not value:
            return None
        try:
            return self._serializer.loads(value, max_age=max_age)
        except BadData:
            return None
