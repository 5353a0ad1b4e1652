"""Settings from the environment, so that every example runs alone: ``uvicorn examples.starlette_shop:app``."""

from __future__ import annotations

import logging
import os
import secrets

from usercom_asgi import UserComConfig

# What `python -m usercom_asgi.sandbox` listens on and accepts, unless told otherwise.
SANDBOX_URL = "http://127.0.0.1:8900"
SANDBOX_API_KEY = "ABC123"

logger = logging.getLogger("examples")


def config_from_env() -> UserComConfig:
    """Read the ``USERCOM_*`` variables; where there is none at all, the sandbox on this machine is meant."""
    if any(name.startswith("USERCOM_") for name in os.environ):
        return UserComConfig.from_env()
    logger.warning(
        "No USERCOM_* settings: talking to the sandbox at %s. Start it: python -m usercom_asgi.sandbox",
        SANDBOX_URL,
    )
    return UserComConfig(base_url=SANDBOX_URL, api_key=SANDBOX_API_KEY)


def session_secret() -> str:
    """Read what sessions are signed with. Made up where none is set: everybody is then logged out by a restart."""
    return os.environ.get("SESSION_SECRET") or secrets.token_urlsafe(32)
