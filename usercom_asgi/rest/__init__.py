"""Client of User.com's public REST API; see docs/guides/rest.md.

It is loaded only by its own import, and imports its models at the first use of a
resource. Their classes are in :mod:`usercom_asgi.rest.models`.
"""

from __future__ import annotations

from ..core.exceptions import (
    AmbiguousError,
    BadRequestError,
    DeliveryError,
    ForbiddenError,
    NoResponseError,
    NotFoundError,
    RateLimitError,
    RedirectError,
    RejectedError,
    ServerError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedResponseError,
    UserComError,
)
from .call import UNSET, Answer, Call
from .client import UserComRest
from .identifiers import CustomId, Email, Id, Key, Phone
from .paging import Listing, Page

__all__ = [
    "UNSET",
    "AmbiguousError",
    "Answer",
    "BadRequestError",
    "Call",
    "CustomId",
    "DeliveryError",
    "Email",
    "ForbiddenError",
    "Id",
    "Key",
    "Listing",
    "NoResponseError",
    "NotFoundError",
    "Page",
    "Phone",
    "RateLimitError",
    "RedirectError",
    "RejectedError",
    "ServerError",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedResponseError",
    "UserComError",
    "UserComRest",
]
