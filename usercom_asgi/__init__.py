"""User.com for ASGI applications."""

from __future__ import annotations

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
from .widget import WidgetState

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
