"""Objects that the REST API answers with.

Field names are those of version 2; the shapes of version 1 are read as well. Sources
are the vendor's reference, and recorded answers of 2018 and 2022:
see docs/guides/rest.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from .fields import reference
from .parsing import (
    Model,
    as_object,
    choice,
    day,
    decimal,
    flag,
    integer,
    many,
    moment,
    nested,
    read,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime
    from decimal import Decimal

    from .identifiers import CustomId, Id


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Tag(Model):
    """A tag of users or companies."""

    id: int | None = read(by=integer, is_shown=True)
    name: str | None = read(by=text, is_shown=True)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class UserList(Tag):
    """A list of users, filled by hand or by automations."""

    description: str | None = read(by=text)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Segment(UserList):
    """A segment: users that meet conditions. ``update_interval`` is in minutes."""

    object_count: int | None = read(by=integer)
    too_heavy: bool | None = read(by=flag)
    update_interval: int | None = read(by=integer)
    last_counted: datetime | None = read(by=moment)
    updated_at: datetime | None = read(by=moment)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Attribute(Tag):
    """The definition of a custom attribute.

    ``name_std`` is the key under which objects have it. ``content_type`` of users reads
    ``user`` in answers, and is ``clientuser`` in writes.
    """

    name_std: str | None = read(by=text, is_shown=True)
    value_type: str | None = read(by=text, is_shown=True)
    content_type: str | None = read(by=text, is_shown=True)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Employer(Tag):
    """A company that a user is a member of."""

    member_since: datetime | None = read(by=moment)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class User(Model):
    """A user: a known person or an anonymous visitor.

    Answers have one ``name``; ``first_name`` and ``last_name`` exist only in writes.
    Without names it equals the email.
    """

    STANDARD: ClassVar[frozenset[str]] = frozenset(
        {"first_name", "last_name", "chat_id", "company_id", "avatar", "web_push_subscription"}
    )

    id: int | None = read(by=integer, is_shown=True)
    custom_id: str | None = read("custom_id", "user_id", by=text)
    user_key: str | None = read("user_key", "key", by=text)
    name: str | None = read(by=text)
    email: str | None = read(by=text)
    phone_number: str | None = read(by=text)
    gender: Literal["unknown", "male", "female"] | str | None = read(  # noqa: PYI051  for editors
        by=choice("unknown", "male", "female")
    )
    status: Literal["visitor", "user"] | str | None = read(  # noqa: PYI051  for editors
        by=choice("visitor", "user"), is_shown=True
    )
    score: int | None = read(by=integer)
    page_views: int | None = read(by=integer)
    unsubscribed: bool | None = read(by=flag)
    notifications: bool | None = read(by=flag)
    assigned_to: int | None = read(by=integer)
    country: str | None = read(by=text)
    region: str | None = read(by=text)
    city: str | None = read(by=text)
    timezone: str | None = read(by=text)
    browser_language: str | None = read(by=text)
    browser: str | None = read(by=text)
    os_type: str | None = read(by=text)
    resolution: str | None = read(by=text)
    last_ip: str | None = read(by=text)
    gravatar_url: str | None = read(by=text)
    google_url: str | None = read(by=text)
    facebook_url: str | None = read(by=text)
    linkedin_url: str | None = read(by=text)
    twitter_url: str | None = read(by=text)
    first_seen: datetime | None = read(by=moment)
    last_seen: datetime | None = read(by=moment)
    last_contacted: datetime | None = read(by=moment)
    most_active_time: str | None = read(by=text)
    created_at: datetime | None = read(by=moment, is_shown=True)
    updated_at: datetime | None = read(by=moment)
    companies: tuple[Employer, ...] = read(by=many(nested(Employer)), empty=())
    lists: tuple[UserList, ...] = read(by=many(nested(UserList)), empty=())
    tags: tuple[Tag, ...] = read(by=many(nested(Tag)), empty=())


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Company(Model):
    """A company. ``employees`` are the ids of its users."""

    id: int | None = read(by=integer, is_shown=True)
    custom_id: str | None = read("custom_id", "company_id", by=text)
    name: str | None = read(by=text)
    email: str | None = read(by=text)
    phone_numbers: tuple[str, ...] = read(by=many(text), empty=())
    address: str | None = read(by=text)
    city: str | None = read(by=text)
    region: str | None = read(by=text)
    country: str | None = read(by=text)
    postal_code: str | None = read(by=text)
    category: str | None = read(by=text)
    description: str | None = read(by=text)
    size: int | None = read("size", "approx_employees", by=integer)
    assigned_to: int | None = read(by=integer)
    employees: tuple[int, ...] = read(by=many(integer), empty=())
    tags: tuple[Tag, ...] = read(by=many(nested(Tag)), empty=())
    created_at: datetime | None = read(by=moment, is_shown=True)
    updated_at: datetime | None = read(by=moment)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Deal(Model):
    """A deal. An order is a deal with lines.

    ``status`` is 0 abandoned, 1 in progress, 2 won, 3 lost, 4 archived.
    """

    STANDARD: ClassVar[frozenset[str]] = frozenset(
        {"scope", "agent", "restricted_to", "order_products", "loss_reason_description"}
    )

    id: int | None = read(by=integer, is_shown=True)
    custom_id: str | None = read("custom_id", "deal_id", by=text, is_shown=True)
    name: str | None = read(by=text)
    value: Decimal | None = read(by=decimal)
    currency: str | None = read(by=text)
    status: int | None = read(by=integer, is_shown=True)
    stage: int | None = read(by=integer, is_shown=True)
    pipeline: int | None = read(by=integer)
    user_id: int | None = read("user_id", "person", by=integer)
    user_custom_id: str | None = read(by=text)
    company_id: int | None = read("company_id", "company", by=integer)
    company_custom_id: str | None = read("company_custom_id", "company_deal_id", by=text)
    assigned_to: int | None = read(by=integer)
    activities_status: str | None = read(by=text)
    products: tuple[int, ...] = read(by=many(integer), empty=())
    products_custom_id: tuple[str, ...] = read(
        "products_custom_id", "products_deal_id", by=many(text), empty=()
    )
    participants: tuple[int, ...] = read(by=many(integer), empty=())
    tags: tuple[Tag, ...] = read(by=many(nested(Tag)), empty=())
    loss_reason: int | None = read(by=integer)
    expected_close_date: date | None = read(by=day)
    won_at: datetime | None = read(by=moment)
    lost_at: datetime | None = read(by=moment)
    created_by: int | None = read(by=integer)
    created_at: datetime | None = read(by=moment, is_shown=True)
    updated_at: datetime | None = read(by=moment)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Product(Model):
    """A product. Further fields are in ``attributes``."""

    id: int | None = read(by=integer, is_shown=True)
    custom_id: str | None = read("custom_id", "product_id", by=text, is_shown=True)
    name: str | None = read(by=text)
    price: Decimal | None = read(by=decimal)
    product_url: str | None = read(by=text)
    image_url: str | None = read(by=text)
    category_name: str | None = read(by=text)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Event(Model):
    """An event of a user. ``attributes`` holds its data as far as the row has it."""

    id: int | None = read(by=integer, is_shown=True)
    name: str | None = read("name", "event", by=text, is_shown=True)
    event_id: int | None = read(by=integer)
    user_id: int | None = read("user_id", "client", by=integer)
    timestamp: datetime | None = read(by=moment, is_shown=True)
    data: Mapping[str, Any] | None = read(by=as_object)
    #: Whether this was the first event of its name. Only in the answer to ``create``.
    created: bool | None = read(by=flag)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ProductEvent(Model):
    """An event of a user and a product."""

    id: int | None = read(by=integer, is_shown=True)
    event_type: str | None = read(by=text, is_shown=True)
    user_id: int | None = read("user_id", "client", by=integer)
    timestamp: datetime | None = read(by=moment, is_shown=True)
    custom_data: Mapping[str, Any] | None = read(by=as_object)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PageView(Model):
    """A page that a user viewed (``ping_hits``)."""

    id: int | None = read(by=integer, is_shown=True)
    user_id: int | None = read("user_id", "client", by=integer)
    url: str | None = read(by=text)
    referer: str | None = read(by=text)
    ip_address: str | None = read(by=text)
    user_agent: str | None = read(by=text)
    timestamp: datetime | None = read(by=moment, is_shown=True)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SentEmail(Model):
    """An email that a user was sent."""

    id: int | None = read(by=integer, is_shown=True)
    status: str | None = read(by=text, is_shown=True)
    subject: str | None = read(by=text)
    created_at: datetime | None = read(by=moment)
    sent_at: datetime | None = read(by=moment, is_shown=True)
    opened_at: datetime | None = read(by=moment)
    clicked_at: datetime | None = read(by=moment)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TimelineEntry(Model):
    """An entry of a user's timeline. ``content`` has ``url`` and ``title``."""

    id: int | None = read(by=integer, is_shown=True)
    name: str | None = read(by=text)
    datetime: datetime | None = read(by=moment, is_shown=True)
    content: Mapping[str, Any] | None = read(by=as_object)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Upserted(Model):
    """The result of an upsert: the object's id, and whether it is new."""

    id: int | None = read(by=integer, is_shown=True)
    created: bool | None = read(by=flag, is_shown=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One product of an order. ``value`` is the price of one piece.

    User.com's page has no word on whether ``value`` is that of one or of all pieces.
    """

    product: int | Id | CustomId | Product
    quantity: int = 1
    value: Decimal | float | None = None
    currency: str | None = None
    attributes: Mapping[str, object] = field(default_factory=dict[str, object])

    def body(self) -> dict[str, object]:
        """Return the line as the API takes it."""
        found = self.product
        product = reference("product", found.id if isinstance(found, Product) else found)
        optional = {"value": self.value, "currency": self.currency}
        given = {key: value for key, value in optional.items() if value is not None}
        return {**self.attributes, **product, "quantity": self.quantity, **given}
