"""User.com for ASGI applications."""

from __future__ import annotations

from .accessors import get_delivery, get_visitor, prepare_snippet, usercom_snippet
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
from .delivery.sqlite.outbox import SqliteOutbox
from .middleware.usercom import UserComMiddleware
from .visitor.visitor import Visitor

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
