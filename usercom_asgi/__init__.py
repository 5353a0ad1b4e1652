"""User.com for ASGI applications."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .client import UserComClient
from .commands import Command, Event, EventType, PageHit, ProductEvent, ResetAuth, Update
from .config import UserComConfig
from .delivery.outbox import MemoryOutbox
from .errors import ConfigurationError, DeliveryError, InvalidCommand, OutboxError, Refused, Unavailable, UserComError
from .middleware import UserComMiddleware
from .outcomes import Outcome
from .receipts import Receipt, Status
from .state import get_delivery, get_visitor
from .visitor import Visitor
from .widget_checks import WidgetState

if TYPE_CHECKING:
    from .delivery.sqlite import SqliteOutbox
    from .taskiq import TaskiqOutbox as TaskiqOutbox

# Loaded when they are asked for: most applications need neither them nor what they bring along.
_LAZY = {"SqliteOutbox": "usercom_asgi.delivery.sqlite", "TaskiqOutbox": "usercom_asgi.taskiq"}


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
    "DeliveryError",
    "Event",
    "EventType",
    "InvalidCommand",
    "MemoryOutbox",
    "OutboxError",
    "Outcome",
    "PageHit",
    "ProductEvent",
    "Receipt",
    "Refused",
    "ResetAuth",
    "SqliteOutbox",
    "Status",
    "Unavailable",
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
