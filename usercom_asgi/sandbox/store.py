"""Users and records of the sandbox, in memory."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from usercom_asgi.sandbox.nicknames import nickname
from usercom_asgi.sandbox.vendor import NOT_ATTRIBUTES, new_user_key

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(kw_only=True, eq=False)
class User:
    """Profile of an anonymous or known user."""

    key: str
    id: int
    nickname: str
    created_at: float
    last_seen: float
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])
    company: dict[str, Any] = field(default_factory=dict[str, Any])
    conversation: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    merged_into: str | None = None

    @property
    def name(self) -> str:
        """Display name: the name, else the email, else the nickname."""
        first_and_last = [self.attributes.get("first_name"), self.attributes.get("last_name")]
        full = " ".join(str(part) for part in first_and_last if part)
        return str(
            self.attributes.get("name") or full or self.attributes.get("email") or self.nickname
        )

    @property
    def user_id(self) -> str | None:
        """The site's own id of the user."""
        value = self.attributes.get("user_id")
        return None if value is None else str(value)

    @property
    def email(self) -> str | None:
        """Email of the user."""
        value = self.attributes.get("email")
        return str(value) if value else None


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


@dataclass(kw_only=True)
class RecordedEvent:
    """Event, `event.NAME`."""

    key: str
    name: str
    data: dict[str, Any]
    domain: str
    user_agent: str
    at: float = field(default_factory=time.time)


@dataclass(kw_only=True)
class RecordedProductEvent:
    """Event of a product; `data` is the rest of its body, with `custom_data`."""

    key: str
    product_id: str
    event_type: str
    data: dict[str, Any]
    at: float = field(default_factory=time.time)


@dataclass(kw_only=True)
class RecordedUpdate:
    """Update of attributes, `client.update`."""

    key: str
    data: dict[str, Any]
    at: float = field(default_factory=time.time)


@dataclass(kw_only=True)
class Rejected:
    """Request that User.com would refuse."""

    path: str
    status: int
    reason: str
    body: Any
    at: float = field(default_factory=time.time)


@dataclass(kw_only=True)
class Faulted:
    """Request that a fault was applied to, for the dashboard."""

    path: str
    fault: str
    sender: str
    at: float = field(default_factory=time.time)


class Store:
    """Users and records. The server's thread writes, tests read from another one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users: dict[str, User] = {}
        self.hits: list[Hit] = []
        self.events: list[RecordedEvent] = []
        self.product_events: list[RecordedProductEvent] = []
        self.updates: list[RecordedUpdate] = []
        self.rejected: list[Rejected] = []
        self.faulted: list[Faulted] = []
        self._last_id = 0

    def clear(self) -> None:
        """Remove all users and records."""
        with self.lock:
            self.users.clear()
            self.rejected.clear()
            self.faulted.clear()
            for records in self._records_of_users():
                records.clear()

    def find(self, key: str | None) -> User | None:
        """Return the user of a key, or the user that it was merged into."""
        user = self.users.get(key) if key else None
        while user is not None and user.merged_into is not None:
            user = self.users.get(user.merged_into)
        return user

    def by_user_id(self, user_id: str) -> User | None:
        """Return the user with this id of the site's own."""
        return next((user for user in self.active_users() if user.user_id == user_id), None)

    def by_email(self, email: str) -> list[User]:
        """Return the users with this email, which is not unique.

        Users with a user id come first, then those seen most recently.
        """
        wanted = email.strip().casefold()
        found = [
            user for user in self.active_users() if (user.email or "").strip().casefold() == wanted
        ]
        return sorted(found, key=lambda user: (user.user_id is None, -user.last_seen))

    def active_users(self) -> list[User]:
        """Return the users that were not merged into another."""
        return [user for user in self.users.values() if user.merged_into is None]

    def create(self, key: str | None = None) -> User:
        """Create an anonymous user."""
        with self.lock:
            self._last_id += 1
            now = time.time()
            key = key or new_user_key()
            user = User(
                key=key, id=self._last_id, nickname=nickname(key), created_at=now, last_seen=now
            )
            self.users[key] = user
            return user

    def update(self, user: User, values: Mapping[str, Any]) -> None:
        """Set the attributes and the company of a ping or an update."""
        with self.lock:
            company = values.get("company")
            if company:
                user.company.update(company)
            user.attributes.update(
                {name: value for name, value in values.items() if name not in NOT_ATTRIBUTES}
            )
            user.last_seen = time.time()

    def merge(self, loser: User, survivor: User) -> None:
        """Merge a user into another, which keeps its values and gains the records."""
        with self.lock:
            survivor.attributes = {**loser.attributes, **survivor.attributes}
            survivor.company = {**loser.company, **survivor.company}
            survivor.conversation = sorted(
                survivor.conversation + loser.conversation, key=lambda line: line["at"]
            )
            survivor.created_at = min(survivor.created_at, loser.created_at)
            loser.conversation = []
            loser.merged_into = survivor.key
            for records in self._records_of_users():
                for record in records:
                    if record.key == loser.key:
                        record.key = survivor.key

    def _records_of_users(
        self,
    ) -> tuple[list[Hit], list[RecordedEvent], list[RecordedProductEvent], list[RecordedUpdate]]:
        return self.hits, self.events, self.product_events, self.updates
