"""A stand-in for User.com on a real socket, and configurations that reach it."""

from __future__ import annotations

from typing import Any

from usercom_asgi import UserComConfig
from usercom_asgi.sandbox import Sandbox
from usercom_asgi.sandbox.vendor import REST_TOKEN

#: Settings of each channel of the delivery.
CHANNELS: dict[str, dict[str, Any]] = {"widget": {}, "rest": {"rest_token": REST_TOKEN}}
#: A configuration for tests that send nothing.
CONFIG = UserComConfig(app="acme", api_key="ABC123")


class FakeUserCom:
    """A sandbox that is served at ``url``."""

    def __init__(self, sandbox: Sandbox, url: str) -> None:
        self.sandbox = sandbox
        self.store = sandbox.store
        self.faults = sandbox.faults
        self.url = url

    def config(self, **settings: Any) -> UserComConfig:
        """Return a configuration that delivers to the sandbox.

        The deadlines are long, because a machine that runs tests may be slow.
        """
        patience = {"shutdown_timeout": 30, "inline_deadline": 30}
        return UserComConfig(**{"base_url": self.url, "api_key": "ABC123", **patience, **settings})

    def environ(self, channel: str) -> dict[str, str]:
        """Return the environment of a server that delivers by a channel."""
        return {f"USERCOM_{name.upper()}": value for name, value in CHANNELS[channel].items()}

    def new_user(self) -> str:
        """Create a visitor, without a call; return the user key."""
        return self.store.create().key
