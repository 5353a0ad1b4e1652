"""HTTP calls to User.com; only ``client`` imports httpx."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.exceptions import ConfigurationError

if TYPE_CHECKING:
    from .client import Transport


def check_transport(transport: object) -> Transport | None:
    """Return a transport that was passed as an argument; None does not load httpx.

    Raises:
        ConfigurationError: It is not an async transport of the installed httpx.

    """
    if transport is None:
        return None
    from .client import Transport

    if not isinstance(transport, Transport):
        needed = f"{Transport.__module__.partition('.')[0]}.{Transport.__name__}"
        raise ConfigurationError(
            "transport", f"must be an {needed}, got {type(transport).__name__}"
        )
    return transport
