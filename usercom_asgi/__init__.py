"""User.com for ASGI applications."""

from __future__ import annotations

from .commands import Command, Event, EventType, PageHit, ProductEvent, ResetAuth, Update
from .config import UserComConfig
from .errors import ConfigurationError, DeliveryError, InvalidCommand, Refused, Unavailable, UserComError
from .middleware import UserComMiddleware
from .receipts import Receipt, Status
from .visitor import Visitor, get_visitor

__all__ = [
    "Command",
    "ConfigurationError",
    "DeliveryError",
    "Event",
    "EventType",
    "InvalidCommand",
    "PageHit",
    "ProductEvent",
    "Receipt",
    "Refused",
    "ResetAuth",
    "Status",
    "Unavailable",
    "Update",
    "UserComConfig",
    "UserComError",
    "UserComMiddleware",
    "Visitor",
    "get_visitor",
]
