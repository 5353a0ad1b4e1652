"""Records of what visitors do, and of what User.com refuses or ignores.

Each has the parts that the journal lists: its kind, key, summary and content. What REST
reads and writes beside users and events is in `objects.py`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, cast


@dataclass(kw_only=True)
class Hit:
    """Ping of the widget or of a server: a page view, or a reset (`created_new_gu`)."""

    key: str
    url: str
    domain: str
    referrer: str
    payload: dict[str, Any]
    created_new_gu: bool
    from_widget: bool
    user_agent: str
    at: float = field(default_factory=time.time)

    @property
    def kind(self) -> str:
        """View or reset."""
        return "reset" if self.created_new_gu else "view"

    def summary(self) -> str:
        """Return the address."""
        return self.url or self.domain or "(no address)"

    def content(self) -> dict[str, Any]:
        """Return the payload."""
        return self.payload


@dataclass(kw_only=True)
class RecordedEvent:
    """Event, `event.NAME`."""

    kind = "event"

    key: str
    name: str
    data: dict[str, Any]
    domain: str
    user_agent: str
    at: float = field(default_factory=time.time)

    def summary(self) -> str:
        """Return the name."""
        return self.name

    def content(self) -> dict[str, Any]:
        """Return the data."""
        return self.data


@dataclass(kw_only=True)
class RecordedProductEvent:
    """Event of a product; `data` is the rest of its body, with `custom_data`."""

    kind = "product"

    key: str
    product_id: str
    event_type: str
    data: dict[str, Any]
    at: float = field(default_factory=time.time)

    def summary(self) -> str:
        """Return type and product."""
        return f"{self.event_type}: {self.product_id}"

    def content(self) -> dict[str, Any]:
        """Return the data."""
        return self.data


@dataclass(kw_only=True)
class RecordedUpdate:
    """Update of attributes, `client.update`."""

    kind = "update"

    key: str
    data: dict[str, Any]
    at: float = field(default_factory=time.time)

    def summary(self) -> str:
        """Return the names of the attributes."""
        return ", ".join(self.data) or "(nothing)"

    def content(self) -> dict[str, Any]:
        """Return the attributes."""
        return self.data


@dataclass(kw_only=True)
class Rejected:
    """Request that User.com would refuse."""

    kind = "refused"

    path: str
    status: int
    reason: str
    body: Any
    at: float = field(default_factory=time.time)

    @property
    def key(self) -> str:
        """Key of the visitor that the request names, or empty."""
        given: object = self.body
        if not isinstance(given, dict):
            return ""
        body = cast("dict[str, Any]", given)
        key = body.get("userKey") or body.get("user_key")
        return key if isinstance(key, str) else ""

    @property
    def is_orphan(self) -> bool:
        """Whether the request is for a key that no visitor has."""
        return self.status == 404 and self.key != ""

    def summary(self) -> str:
        """Return status and reason."""
        return f"{self.status} {self.reason}"

    def content(self) -> Any:
        """Return the body."""
        return self.body


@dataclass(kw_only=True)
class Faulted:
    """Request that a fault was applied to."""

    kind = "fault"
    key = ""  # of no visitor

    path: str
    fault: str
    sender: str
    at: float = field(default_factory=time.time)

    def summary(self) -> str:
        """Return the fault."""
        return self.fault

    def content(self) -> dict[str, str]:
        """Return the request."""
        return {"path": self.path, "sender": self.sender}


@dataclass(kw_only=True)
class Ignored:
    """Custom attributes of a REST write that User.com silently ignores."""

    kind = "ignored"
    key = ""  # of no visitor

    path: str
    names: list[str]
    reason: str
    at: float = field(default_factory=time.time)

    def summary(self) -> str:
        """Return names and reason."""
        return f"{', '.join(self.names)}: {self.reason}"

    def content(self) -> dict[str, Any]:
        """Return the path."""
        return {"path": self.path}
