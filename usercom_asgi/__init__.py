"""User.com for ASGI applications."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .client import UserComClient
from .core.commands import Command, Event, EventType, PageHit, ProductEvent, ResetAuth, Update
from .core.config import UserComConfig
from .core.exceptions import (
    ConfigurationError,
    InvalidCommand,
    OutboxError,
    UserComError,
)
from .core.receipts import Outcome, Receipt, Status
from .core.validation import WidgetState
from .delivery.outbox import MemoryOutbox
from .dependencies import get_delivery, get_visitor
from .middleware.usercom import UserComMiddleware
from .visitor.visitor import Visitor

if TYPE_CHECKING:
    from .delivery.sqlite.outbox import SqliteOutbox
    from .integrations.taskiq.outbox import TaskiqOutbox as TaskiqOutbox

# Loaded when they are asked for: most applications need neither them nor what they bring along.
_LAZY = {
    "SqliteOutbox": "usercom_asgi.delivery.sqlite.outbox",
    "TaskiqOutbox": "usercom_asgi.integrations.taskiq.outbox",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_LAZY, *(name for name in globals() if name.startswith("__"))})


# TaskiqOutbox is public and not in here: it needs an extra, and `import *` must work without.
__all__ = [
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
]
