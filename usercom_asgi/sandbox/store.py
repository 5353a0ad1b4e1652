"""Users and records of the sandbox, in memory."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from usercom_asgi.sandbox import membership
from usercom_asgi.sandbox.activity import (
    Faulted,
    Hit,
    Ignored,
    RecordedEvent,
    RecordedProductEvent,
    RecordedUpdate,
    Rejected,
)
from usercom_asgi.sandbox.journal import Identified, Journal, Records, short
from usercom_asgi.sandbox.nicknames import nickname
from usercom_asgi.sandbox.objects import (
    Attribute,
    Collection,
    Company,
    ContactList,
    Deal,
    Product,
    Segment,
    Tag,
    standard_name,
)
from usercom_asgi.sandbox.vendor import NOT_ATTRIBUTES, STANDARD_USER_FIELDS, new_user_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


__all__ = [
    "Faulted",
    "Hit",
    "Ignored",
    "RecordedEvent",
    "RecordedProductEvent",
    "RecordedUpdate",
    "Rejected",
    "Store",
    "User",
]


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
    read_at: float = 0.0
    merged_into: str | None = None
    page_views: int = 0
    tags: list[int] = field(default_factory=list[int])
    lists: list[int] = field(default_factory=list[int])
    updated_at: float = field(default_factory=time.time)

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

    @property
    def is_known(self) -> bool:
        """Whether the user has an id or an email."""
        return self.user_id is not None or self.email is not None


class Store:
    """Users and records. The server's thread writes, tests read from another one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.journal = Journal()
        self.users: dict[str, User] = {}
        self.hits: list[Hit] = Records[Hit](self.journal)
        self.events: list[RecordedEvent] = Records[RecordedEvent](self.journal)
        self.product_events: list[RecordedProductEvent] = Records[RecordedProductEvent](
            self.journal
        )
        self.updates: list[RecordedUpdate] = Records[RecordedUpdate](self.journal)
        self.rejected: list[Rejected] = Records[Rejected](self.journal)
        self.faulted: list[Faulted] = Records[Faulted](self.journal)
        self.ignored: list[Ignored] = Records[Ignored](self.journal)
        self.products = Collection(Product)
        self.companies = Collection(Company)
        self.deals = Collection(Deal)
        self.tags = Collection(Tag)
        self.lists = Collection(ContactList)
        self.segments = Collection(Segment)
        self.attributes = Collection(Attribute)
        self._found: dict[str, User] = {}
        self._event_ids: dict[str, int] = {}
        self._last_id = 0

    def clear(self) -> None:
        """Remove all users and records."""
        with self.lock:
            self.users.clear()
            self._found.clear()
            self.rejected.clear()
            self.faulted.clear()
            self.ignored.clear()
            self._event_ids.clear()
            for records in self._records_of_users():
                records.clear()
            for collection in (
                self.products,
                self.companies,
                self.deals,
                self.tags,
                self.lists,
                self.segments,
                self.attributes,
            ):
                collection.clear()
            self.journal.clear()

    def find(self, key: str | None) -> User | None:
        """Return the user of a key, or the user that it was merged into."""
        user = self.users.get(key) if key else None
        while user is not None and user.merged_into is not None:
            user = self.users.get(user.merged_into)
        return user

    def by_user_id(self, user_id: str) -> User | None:
        """Return the user with this id of the site's own.

        The last result is checked and not trusted, because tests change attributes.
        """
        found = self._found.get(user_id)
        if found is None or not self._has(found, user_id):
            found = next(
                (
                    user
                    for user in self.users.values()
                    if "user_id" in user.attributes and self._has(user, user_id)
                ),
                None,
            )
            if found is not None:
                self._found[user_id] = found
        return found

    def _has(self, user: User, user_id: str) -> bool:
        is_active = user.merged_into is None and self.users.get(user.key) is user
        return is_active and user.user_id == user_id

    def by_id(self, user_id: int) -> User | None:
        """Return the user with this id of the workspace."""
        return next((user for user in self.active_users() if user.id == user_id), None)

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

    def create(self, key: str | None = None, why: str = "") -> User:
        """Create an anonymous user; the journal keeps the reason."""
        with self.lock:
            self._last_id += 1
            now = time.time()
            key = key or new_user_key()
            user = User(
                key=key, id=self._last_id, nickname=nickname(key), created_at=now, last_seen=now
            )
            self.users[key] = user
            self.journal.add(
                Identified(key=key, what="new visitor", why=why or self.journal.cause())
            )
            return user

    def update(self, user: User, values: Mapping[str, Any]) -> None:
        """Set the attributes and the company of a ping or an update."""
        with self.lock:
            company = values.get("company")
            if company:
                user.company.update(company)
                membership.join(self, user)
            attributes = {name: v for name, v in values.items() if name not in NOT_ATTRIBUTES}
            self.define("clientuser", attributes)
            self.set_attributes(user, attributes)
            user.last_seen = time.time()

    def set_attributes(self, user: User, attributes: Mapping[str, Any]) -> None:
        """Set attributes; keep the widget's one name and REST's two names in step."""
        if "name" in attributes:
            user.attributes.pop("first_name", None)
            user.attributes.pop("last_name", None)
        elif attributes.keys() & {"first_name", "last_name"} and "name" in user.attributes:
            first, _, last = str(user.attributes.pop("name") or "").partition(" ")
            user.attributes |= {"first_name": first, "last_name": last}
        user.attributes.update(attributes)
        if user.user_id is not None:
            self._found.setdefault(user.user_id, user)
        user.updated_at = time.time()

    def definitions(self, content_type: str) -> dict[str, Attribute]:
        """Return the definitions of custom attributes of one type, by `name_std`."""
        return {
            each.name_std: each
            for each in self.attributes.values()
            if each.content_type == content_type
        }

    def define(self, content_type: str, names: Iterable[str]) -> None:
        """Create the definitions of custom attributes that do not exist, as texts."""
        known = set(self.definitions(content_type))
        for name in names:
            std = standard_name(name)
            if (
                std
                and std not in known
                and not (content_type == "clientuser" and std in STANDARD_USER_FIELDS)
            ):
                known.add(std)
                self.attributes.add(name=name, content_type=content_type, is_automatic=True)

    def add_event(self, event: RecordedEvent) -> tuple[int, bool]:
        """Record an event; return its id, and whether it is the first of its name."""
        self.events.append(event)
        is_new = event.name not in self._event_ids
        self.event_id(event.name)
        return len(self.events), is_new

    def event_id(self, name: str) -> int:
        """Return the id of the definition of an event."""
        return self._event_ids.setdefault(name, len(self._event_ids) + 1)

    def ensure_product(self, custom_id: str) -> Product:
        """Return the product of a product event, which the widget creates [D]."""
        return self.products.first(custom_id=custom_id) or self.products.add(
            fields={"custom_id": custom_id}
        )

    def delete(self, user: User) -> None:
        """Remove a user with its records, memberships and merged keys."""
        with self.lock:
            keys = {key for key in self.users if self.find(key) is user}
            for key in keys:
                del self.users[key]
            for records in self._records_of_users():
                _remove(records, keys)
            for company in self.companies.values():
                company.members.pop(user.id, None)
            for deal in self.deals.values():
                deal.user_id = None if deal.user_id == user.id else deal.user_id

    def merge(self, loser: User, survivor: User, why: str = "") -> None:
        """Merge a user into another, which keeps its values and gains the records."""
        with self.lock:
            self.journal.add(
                Identified(
                    key=survivor.key,
                    other=loser.key,
                    what=f"{loser.name} ({short(loser.key)}) merged into {survivor.name}",
                    why=why or self.journal.cause(),
                )
            )
            kept = {name: v for name, v in survivor.attributes.items() if v is not None}
            survivor.attributes = {**survivor.attributes, **loser.attributes, **kept}
            survivor.company = {**loser.company, **survivor.company}
            survivor.conversation = sorted(
                survivor.conversation + loser.conversation, key=lambda line: line["at"]
            )
            survivor.created_at = min(survivor.created_at, loser.created_at)
            survivor.page_views += loser.page_views
            survivor.tags = list(dict.fromkeys(survivor.tags + loser.tags))
            survivor.lists = list(dict.fromkeys(survivor.lists + loser.lists))
            survivor.updated_at = time.time()
            loser.conversation = []
            loser.merged_into = survivor.key
            for records in self._records_of_users():
                for record in records:
                    if record.key == loser.key:
                        record.key = survivor.key
            for company in self.companies.values():
                if loser.id in company.members:
                    company.members.setdefault(survivor.id, company.members.pop(loser.id))
            for deal in self.deals.values():
                deal.user_id = survivor.id if deal.user_id == loser.id else deal.user_id

    def _records_of_users(
        self,
    ) -> tuple[list[Hit], list[RecordedEvent], list[RecordedProductEvent], list[RecordedUpdate]]:
        return self.hits, self.events, self.product_events, self.updates


def _remove(records: list[Any], keys: set[str]) -> None:
    records[:] = [record for record in records if record.key not in keys]
