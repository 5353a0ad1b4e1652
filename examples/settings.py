"""Settings from the environment, with which each example runs alone."""

from __future__ import annotations

import logging
import os
import secrets

from usercom_asgi import UserComConfig

# Defaults of `python -m usercom_asgi.sandbox`.
SANDBOX_URL = "http://127.0.0.1:8900"
SANDBOX_API_KEY = "ABC123"

logger = logging.getLogger("examples")


def config_from_env() -> UserComConfig:
    """Read the ``USERCOM_*`` variables; without any, use the local sandbox."""
    if any(name.startswith("USERCOM_") for name in os.environ):
        return UserComConfig.from_env()
    logger.warning(
        "No USERCOM_* settings, using the sandbox at %s. Start it: python -m usercom_asgi.sandbox",
        SANDBOX_URL,
    )
    return UserComConfig(base_url=SANDBOX_URL, api_key=SANDBOX_API_KEY, strict=True)


def session_secret() -> str:
    """Read the key of sessions. A random one logs all users out at a restart."""
    return os.environ.get("SESSION_SECRET") or secrets.token_urlsafe(32)
