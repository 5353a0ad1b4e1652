"""User.com for ASGI applications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .client import UserComClient
from .core.commands import (
    Command,
    Event,
    EventType,
    PageHit,
    ProductEvent,
    ResetAuth,
    Update,
)
from .core.config import UserComConfig
from .core.exceptions import (
    ConfigurationError,
    InvalidCommand,
    OutboxError,
    UserComError,
)
from .core.hooks import UNKNOWN
from .core.receipts import Outcome, Receipt, Status
from .core.widget import WidgetState
from .delivery.queue import MemoryOutbox
from .dependencies import get_delivery, get_visitor, prepare_snippet, usercom_snippet
from .middleware.usercom import UserComMiddleware
from .visitor.visitor import Visitor

if TYPE_CHECKING:
    from .delivery.sqlite.outbox import SqliteOutbox

__version__ = "0.1.0"

__all__ = [
    "UNKNOWN",
    "Command",
    "ConfigurationError",
    "Event",
    "EventType",
    "InvalidCommand",
    "MemoryOutbox",
    "OutboxError",
    "Outcome",
    "PageHit",
    "ProductEvent",
    "Receipt",
    "ResetAuth",
    "SqliteOutbox",
    "Status",
    "Update",
    "UserComClient",
    "UserComConfig",
    "UserComError",
    "UserComMiddleware",
    "Visitor",
    "WidgetState",
    "get_delivery",
    "get_visitor",
    "prepare_snippet",
    "usercom_snippet",
]


def __getattr__(name: str) -> Any:
    """Load the outbox of SQLite at its first use: most applications need none."""
    if name != "SqliteOutbox":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .delivery.sqlite.outbox import SqliteOutbox

    globals()[name] = SqliteOutbox
    return SqliteOutbox


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
