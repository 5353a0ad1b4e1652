"""What can be said to User.com: frozen values, checked when they are made.

Their ``repr`` names attributes and hides values, since a ``repr`` ends in a log and the values are somebody's. With
``truncate=True`` a string that is too long for User.com is shortened instead of refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias, cast

from .exceptions import InvalidCommand
from .validation import Json, clean_attributes, clean_data, clean_id, clean_text

# One for all commands that say no more than their name: thousands of them may wait.
_NOTHING: Mapping[str, object] = MappingProxyType({})


class EventType(StrEnum):
    """What can happen to a product: the closed list of ``userengage('product_event', ...)``."""

    ADD_TO_CART = "add to cart"
    PURCHASE = "purchase"
    LIKING = "liking"
    ADD_TO_OBSERVATION = "add to observation"
    ORDER = "order"
    RESERVATION = "reservation"
    RETURN = "return"
    VIEW = "view"
    CLICK = "click"
    DETAIL = "detail"
    ADD = "add"
    REMOVE = "remove"
    CHECKOUT = "checkout"
    CHECKOUT_OPTION = "checkout option"
    REFUND = "refund"
    PROMO_CLICK = "promo click"


@dataclass(frozen=True, slots=True, repr=False)
class Event:
    """Something that happened: ``userengage('event.NAME', {...})``. User.com makes unknown events and attributes itself.

    Raises:
        InvalidCommand: The name is empty or a value cannot be sent.

    """

    name: str
    data: Mapping[str, object] = field(default_factory=dict[str, object])
    truncate: InitVar[bool] = field(default=False, kw_only=True)

    def __post_init__(self, truncate: bool) -> None:
        name = clean_text("event name", self.name, truncate=truncate)
        _set(self, "name", clean_text("event name", name.removeprefix("event.")))
        _set(self, "data", _frozen(clean_data(_mapping("data", self.data), truncate=truncate)))

    def __repr__(self) -> str:
        return f"Event({self.name!r}, data={_names(self.data)})"


@dataclass(frozen=True, slots=True, repr=False)
class ProductEvent:
    """Something that happened to a product: ``userengage('product_event', {...})``.

    ``attributes`` overwrite the product's profile, which keeps no history; ``custom_data`` (JSON) stays with this one event.

    Raises:
        InvalidCommand: The product is missing, the type is none of the sixteen, or a value cannot be sent.

    """

    product_id: str
    event_type: EventType | str
    name: str | None = None
    description: str | None = None
    attributes: Mapping[str, object] = field(default_factory=dict[str, object])
    custom_data: Mapping[str, object] = field(default_factory=dict[str, object])
    truncate: InitVar[bool] = field(default=False, kw_only=True)

    def __post_init__(self, truncate: bool) -> None:
        _set(self, "product_id", clean_id("product_id", self.product_id))
        _set(self, "event_type", _event_type(self.event_type))
        for each in ("name", "description"):
            if getattr(self, each) is not None:
                _set(self, each, clean_text(each, getattr(self, each), truncate=truncate))
        attributes = clean_data(
            _mapping("attributes", self.attributes), "attributes", truncate=truncate
        )
        taken = attributes.keys() & {
            "product_id",
            "event_type",
            "name",
            "description",
            "custom_data",
        }
        if taken:
            raise InvalidCommand(
                min(taken), "is a field of the product event, no attribute of the product"
            )
        _set(self, "attributes", _frozen(attributes))
        custom_data = clean_data(
            _mapping("custom_data", self.custom_data), "custom_data", truncate=truncate
        )
        _set(self, "custom_data", _frozen(custom_data))

    def payload(self) -> dict[str, object]:
        """Return what ``userengage('product_event', ...)`` is given."""
        said: dict[str, object] = {
            **self.attributes,
            "product_id": self.product_id,
            "event_type": str(self.event_type),
            "name": self.name,
            "description": self.description,
            "custom_data": dict(self.custom_data) or None,
        }
        return {name: value for name, value in said.items() if value is not None}

    def __repr__(self) -> str:
        return f"ProductEvent({self.product_id!r}, {str(self.event_type)!r}, attributes={_names(self.attributes)})"


@dataclass(frozen=True, slots=True, repr=False)
class _Attributes:
    """What says attributes of a visitor, and nothing else."""

    attributes: Mapping[str, object] = field(default_factory=dict[str, object])
    truncate: InitVar[bool] = field(default=False, kw_only=True)

    def __post_init__(self, truncate: bool) -> None:
        _set(
            self,
            "attributes",
            _frozen(clean_attributes(_mapping("attributes", self.attributes), truncate=truncate)),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_names(self.attributes)})"


@dataclass(frozen=True, slots=True, repr=False)
class Update(_Attributes):
    """Attributes of the visitor, without a page view: ``userengage('client.update', {...})``.

    Raises:
        InvalidCommand: A name is reserved or a value cannot be sent.

    """


@dataclass(frozen=True, slots=True, repr=False)
class PageHit:
    """A page view, and attributes with it: ``UE.pageHit({...})``. An ``event`` belongs to whoever the hit turns out to be.

    ``url`` is the page's address; by default the request's own.

    Raises:
        InvalidCommand: A name is reserved or a value cannot be sent.

    """

    url: str | None = None
    event: Event | None = None
    attributes: Mapping[str, object] = field(default_factory=dict[str, object])
    truncate: InitVar[bool] = field(default=False, kw_only=True)

    def __post_init__(self, truncate: bool) -> None:
        if self.url is not None and not (
            isinstance(self.url, str) and self.url.startswith(("http://", "https://"))
        ):
            raise InvalidCommand(
                "url", f"must be a whole http(s) address (got {type(self.url).__name__})"
            )
        if self.event is not None and not isinstance(self.event, Event):
            raise InvalidCommand("event", f"must be an Event (got {type(self.event).__name__})")
        _set(
            self,
            "attributes",
            _frozen(clean_attributes(_mapping("attributes", self.attributes), truncate=truncate)),
        )

    def payload(self) -> dict[str, object]:
        """Return what ``UE.pageHit(...)`` is given; the event's shape is that of the vendor's popup forms [C S9]."""
        event = {"event": {**self.event.data, "event_name": self.event.name}} if self.event else {}
        return {**self.attributes, **event}

    def __repr__(self) -> str:
        return f"PageHit(event={self.event!r}, attributes={_names(self.attributes)})"


@dataclass(frozen=True, slots=True, repr=False)
class ResetAuth(_Attributes):
    """The end of a visitor and the start of another, whose details ``attributes`` are: ``UE.resetAuth({...})``.

    Raises:
        InvalidCommand: A name is reserved or a value cannot be sent.

    """


Command: TypeAlias = PageHit | ResetAuth | Event | ProductEvent | Update


def _event_type(value: str) -> EventType:
    try:
        return EventType(value)
    except ValueError:
        known = ", ".join(each.value for each in EventType)
        raise InvalidCommand("event_type", f"must be one of: {known}") from None


def _mapping(field_name: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidCommand(field_name, f"must be a mapping (got {type(value).__name__})")
    return cast("Mapping[str, object]", value)


def _frozen(values: dict[str, Json]) -> Mapping[str, object]:
    return MappingProxyType(values) if values else _NOTHING


def _names(values: Mapping[str, object]) -> str:
    return "{" + ", ".join(sorted(values)) + "}"


def _set(command: object, name: str, value: object) -> None:
    # The way into a frozen dataclass from its own __post_init__.
    object.__setattr__(command, name, value)
