"""Commands for User.com: frozen values that are validated when they are made.

A mistake of the code raises :class:`InvalidCommand`: a wrong type, a
reserved name. A value that may come from a visitor is repaired or left out,
and noted in ``problems``. The helper that sends the command logs these, or
raises with ``UserComConfig(strict=True)``.

Their ``repr`` shows the names of attributes and hides the values, because a ``repr``
may be logged and the values are personal data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, TypeAlias, cast

from .exceptions import InvalidCommand, InvalidValue
from .problems import Problems, did_you_mean, repair
from .text import shown_name
from .validation import Json, clean_attributes, clean_data, clean_id, clean_text

_URL = "must be a string that begins with http:// or https://, such as str(request.url)"

# Shared by all commands without data, because thousands of commands may be queued.
_EMPTY: Mapping[str, object] = MappingProxyType({})


class EventType(StrEnum):
    """Types of product events, a closed list of User.com."""

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


#: The values of :class:`EventType`, for type checkers.
EventTypeName: TypeAlias = Literal[
    "add to cart",
    "purchase",
    "liking",
    "add to observation",
    "order",
    "reservation",
    "return",
    "view",
    "click",
    "detail",
    "add",
    "remove",
    "checkout",
    "checkout option",
    "refund",
    "promo click",
]


def _no_problems() -> tuple[InvalidValue, ...]:
    return ()


# An event that the caller makes has no configuration yet, so it cannot log or raise.
_problems = field(default_factory=_no_problems, init=False, compare=False, repr=False)


@dataclass(frozen=True, slots=True, repr=False, init=False)
class Event:
    """An event: ``userengage('event.NAME', {...})``.

    ``Event("renewed", {"plan": "gold"})`` and ``Event("renewed", plan="gold")`` are the
    same. User.com creates unknown events and attributes by itself. The name must not
    contain a dot, because the widget would send only the part before it.

    Raises:
        InvalidCommand: If the name is empty or has a dot, or a value has a wrong type.

    """

    name: str
    data: Mapping[str, object]
    problems: tuple[InvalidValue, ...] = field(compare=False)

    def __init__(
        self, name: str, data: Mapping[str, object] | None = None, /, **more: object
    ) -> None:
        problems: Problems = []
        text = clean_text("event name", name, problems)
        _set(self, "name", _without_dots(clean_text("event name", text.removeprefix("event."))))
        given = {**_mapping("data", data), **more} if data is not None else more
        _set(self, "data", _frozen(clean_data(given, problems=problems)))
        _set(self, "problems", tuple(problems))

    def __repr__(self) -> str:
        return f"Event({shown_name(self.name)!r}, data={_names(self.data)})"


@dataclass(frozen=True, slots=True, repr=False)
class ProductEvent:
    """An event of a product: ``userengage('product_event', {...})``.

    ``attributes`` overwrite the product's profile, which keeps no history.
    ``custom_data`` (JSON) belongs to this event alone.

    Raises:
        InvalidCommand: If the product is missing, the type is unknown, or a value
            cannot be sent.

    """

    product_id: str
    event_type: EventType | EventTypeName
    name: str | None = None
    description: str | None = None
    attributes: Mapping[str, object] = field(default_factory=dict[str, object])
    custom_data: Mapping[str, object] = field(default_factory=dict[str, object])
    problems: tuple[InvalidValue, ...] = _problems

    def __post_init__(self) -> None:
        problems: Problems = []
        _set(self, "event_type", _event_type(self.event_type))
        _set(self, "product_id", clean_id("product_id", self.product_id))
        for each in ("name", "description"):
            _set(self, each, _optional_text(each, getattr(self, each), problems))
        attributes = clean_data(_mapping("attributes", self.attributes), "attributes", problems)
        taken = attributes.keys() & {
            "product_id",
            "event_type",
            "name",
            "description",
            "custom_data",
        }
        if taken:
            raise InvalidCommand(
                min(taken), "must not be an attribute, it is a field of the product event"
            )
        _set(self, "attributes", _frozen(attributes))
        custom_data = clean_data(_mapping("custom_data", self.custom_data), "custom_data", problems)
        _set(self, "custom_data", _frozen(custom_data))
        _set(self, "problems", tuple(problems))

    def payload(self) -> dict[str, object]:
        """Return the arguments of ``userengage('product_event', ...)``."""
        values: dict[str, object] = {
            **self.attributes,
            "product_id": self.product_id,
            "event_type": str(self.event_type),
            "name": self.name,
            "description": self.description,
            "custom_data": dict(self.custom_data) or None,
        }
        return {name: value for name, value in values.items() if value is not None}

    def __repr__(self) -> str:
        return (
            f"ProductEvent({self.product_id!r}, {str(self.event_type)!r},"
            f" attributes={_names(self.attributes)})"
        )


@dataclass(frozen=True, slots=True, repr=False)
class _Attributes:
    """Base class of commands that carry only attributes of a visitor."""

    attributes: Mapping[str, object] = field(default_factory=dict[str, object])
    problems: tuple[InvalidValue, ...] = _problems

    def __post_init__(self) -> None:
        problems: Problems = []
        cleaned = clean_attributes(_mapping("attributes", self.attributes), problems)
        _set(self, "attributes", _frozen(cleaned))
        _set(self, "problems", tuple(problems))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_names(self.attributes)})"


class Update(_Attributes):
    """Attributes without a page view: ``userengage('client.update', {...})``.

    Raises:
        InvalidCommand: If a name is reserved or a value cannot be sent.

    """

    __slots__ = ()


@dataclass(frozen=True, slots=True, repr=False)
class PageHit:
    """A page view and attributes of the visitor: ``UE.pageHit({...})``.

    ``url`` is the page's address, by default that of the request. ``event`` is recorded
    for the visitor that User.com finds for the page view.

    Raises:
        InvalidCommand: If a name is reserved or a value cannot be sent.

    """

    url: str | None = None
    event: Event | None = None
    attributes: Mapping[str, object] = field(default_factory=dict[str, object])
    problems: tuple[InvalidValue, ...] = _problems

    def __post_init__(self) -> None:
        problems: Problems = []
        if self.url is not None and not isinstance(self.url, str):
            raise InvalidCommand("url", f"{_URL}, got {type(self.url).__name__}")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            problems.append(InvalidValue("url", _URL))
            _set(self, "url", None)
        if self.event is not None and not isinstance(self.event, Event):
            raise InvalidCommand("event", f"must be an Event, got {type(self.event).__name__}")
        problems += self.event.problems if self.event is not None else ()
        cleaned = clean_attributes(_mapping("attributes", self.attributes), problems)
        _set(self, "attributes", _frozen(cleaned))
        _set(self, "problems", tuple(problems))

    def payload(self) -> dict[str, object]:
        """Return the arguments of ``UE.pageHit(...)``.

        The event has the shape that the vendor's popup forms send [C S9].
        """
        event = {"event": {**self.event.data, "event_name": self.event.name}} if self.event else {}
        return {**self.attributes, **event}

    def __repr__(self) -> str:
        return f"PageHit(event={self.event!r}, attributes={_names(self.attributes)})"


class ResetAuth(_Attributes):
    """A reset to a new visitor with these ``attributes``: ``UE.resetAuth({...})``.

    Raises:
        InvalidCommand: If a name is reserved or a value cannot be sent.

    """

    __slots__ = ()


Command: TypeAlias = PageHit | ResetAuth | Event | ProductEvent | Update


#: The classes of commands, for a check at run time.
COMMANDS = (PageHit, ResetAuth, Event, ProductEvent, Update)


def _without_dots(name: str) -> str:
    # For both channels, because the widget cuts the name there and the server does not.
    if "." in name:
        raise InvalidCommand(
            "event name",
            f"must not contain a dot, got {name!r}: use {name.replace('.', '_')!r}, because the "
            "widget would send only the part before the dot",
        )
    return name


def _event_type(value: str) -> EventType:
    try:
        return EventType(value)
    except ValueError:
        known = [each.value for each in EventType]
        hint = did_you_mean(value, known)
        raise InvalidCommand("event_type", f"must be one of: {', '.join(known)}{hint}") from None


def _optional_text(field_name: str, value: object, problems: Problems) -> str | None:
    if value is None:
        return None
    try:
        return clean_text(field_name, value, problems)
    except InvalidValue as error:
        repair(problems, error)
        return None


def _mapping(field_name: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidCommand(
            field_name, f"must be a mapping such as {{'plan': 'gold'}}, got {type(value).__name__}"
        )
    return cast("Mapping[str, object]", value)


def _frozen(values: dict[str, Json]) -> Mapping[str, object]:
    return MappingProxyType(values) if values else _EMPTY


def _names(values: Mapping[str, object]) -> str:
    return "{" + ", ".join(shown_name(name) for name in sorted(values)) + "}"


def _set(command: object, name: str, value: object) -> None:
    # __post_init__ of a frozen dataclass cannot assign to its fields.
    object.__setattr__(command, name, value)
