"""Objects that REST reads: products, companies, deals, and definitions like tags."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, TypeVar


@dataclass(kw_only=True, eq=False)
class RestObject:
    """Object with an id of the workspace."""

    id: int


@dataclass(kw_only=True, eq=False)
class Resource(RestObject):
    """Product, company or deal: its standard fields, and its custom attributes."""

    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])
    tags: list[int] = field(default_factory=list[int])
    created_at: float = field(default_factory=time.time)
    updated_at: float = field(default_factory=time.time)

    @property
    def custom_id(self) -> str | None:
        """The site's own id of the object."""
        value = self.fields.get("custom_id")
        return None if value is None else str(value)

    def touch(self) -> float:
        """Set the time of the last change; return it."""
        self.updated_at = time.time()
        return self.updated_at


@dataclass(kw_only=True, eq=False)
class Product(Resource):
    """Product of the site's catalogue."""


@dataclass(kw_only=True, eq=False)
class Company(Resource):
    """Company; `members` maps ids of users to the time since when."""

    members: dict[int, float] = field(default_factory=dict[int, float])


@dataclass(kw_only=True, eq=False)
class Deal(Resource):
    """Deal, or an order: a deal with `order_products`."""

    user_id: int | None = None
    company_id: int | None = None
    product_ids: list[int] = field(default_factory=list[int])


@dataclass(kw_only=True, eq=False)
class Tag(RestObject):
    """Tag of users and companies."""

    name: str


@dataclass(kw_only=True, eq=False)
class ContactList(RestObject):
    """List of users."""

    name: str
    description: str = ""


@dataclass(kw_only=True, eq=False)
class Segment(RestObject):
    """Segment of users.

    The sandbox computes none. A test adds one with its members.
    """

    name: str
    description: str = ""
    user_ids: list[int] = field(default_factory=list[int])


@dataclass(kw_only=True, eq=False)
class Attribute(RestObject):
    """Definition of a custom attribute; `name_std` is its name in REST's answers.

    `is_automatic` is set if a page hit or an update created it, not a call of REST.
    """

    name: str
    content_type: str
    value_type: str = "string"
    choices: list[str] = field(default_factory=list[str])
    allow_multiple_choices: bool = False
    checks_values: bool = False
    is_automatic: bool = False

    @property
    def name_std(self) -> str:
        """Name in lower case, without spaces."""
        return standard_name(self.name)


T = TypeVar("T", bound=RestObject)


class Collection(dict[int, T]):
    """Objects of one kind by id. Ids are not used again."""

    def __init__(self, kind: type[T]) -> None:
        super().__init__()
        self.kind = kind
        self.last_id = 0

    def add(self, **values: Any) -> T:
        """Create an object with the next id."""
        self.last_id += 1
        made = self[self.last_id] = self.kind(id=self.last_id, **values)
        return made

    def first(self, **values: Any) -> T | None:
        """Return the first object that has these values, such as a `custom_id`."""
        return next(
            (
                each
                for each in self.values()
                if all(getattr(each, name) == value for name, value in values.items())
            ),
            None,
        )


def standard_name(name: str) -> str:
    """Return `name_std` of an attribute: lower case [C], spaces as underscores [I]."""
    return "_".join(name.lower().split())
