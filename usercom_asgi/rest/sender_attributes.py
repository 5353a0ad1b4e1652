"""The sender's attributes of a visitor, sorted by the calls that set them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from ..core.log import warn_once
from .companies import CompanyFields
from .fields import MOMENTS, UserFields
from .parsing import moment

if TYPE_CHECKING:
    from collections.abc import Mapping

# Identifiers are no attributes here, and the source of a visit is the browser's own.
_NOT_SENT = frozenset(
    {"user_id", "custom_id", "user_key", "company_id", "company_custom_id", "source_context"}
)
_STANDARD = frozenset(UserFields.__annotations__) - _NOT_SENT
_STANDARD_OF_COMPANY = frozenset(CompanyFields.__annotations__) - {"custom_id"}


@dataclass(frozen=True, slots=True, repr=False)
class SplitAttributes:
    """Attributes as the SDK has them, by the call that sets them."""

    #: Fields of the user.
    standard: dict[str, Any] = field(default_factory=dict[str, Any])
    #: Custom attributes of the user.
    custom: dict[str, object] = field(default_factory=dict[str, object])
    company: SplitCompany | None = None

    def __bool__(self) -> bool:
        return bool(self.standard or self.custom or self.company)


@dataclass(frozen=True, slots=True, repr=False)
class SplitCompany:
    """A company that a visitor belongs to."""

    custom_id: str
    standard: dict[str, Any]
    custom: dict[str, object]


def split_attributes(given: Mapping[str, object]) -> SplitAttributes:
    """Sort attributes by the call that sets them.

    ``name`` is split at its first space, because the API reads one name and writes
    two (WP Fusion does the same, docs/usercom.md).
    """
    values = {name: value for name, value in given.items() if _spelt(name) not in _NOT_SENT}
    company = values.pop("company", None)
    name = values.pop("name", None)
    if isinstance(name, str) and not values.keys() & {"first_name", "last_name"}:
        first, _, last = name.partition(" ")
        values |= {"first_name": first, **({"last_name": last} if last else {})}
    return SplitAttributes(
        standard={
            name: _converted(name, value) for name, value in values.items() if name in _STANDARD
        },
        custom={name: value for name, value in values.items() if name not in _STANDARD},
        company=_company(cast("Mapping[str, object]", company)) if company else None,
    )


def _spelt(name: str) -> str:
    """Return the field that the API takes a name for: it reads "User Id" as well."""
    return "_".join(name.lower().split())


def _converted(name: str, value: object) -> object:
    """Return a value as the API has it, where a command has it in another form."""
    if name == "tags":
        listed = cast("list[object]", value) if isinstance(value, list) else [value]
        return [str(each) for each in listed]
    if name in MOMENTS and isinstance(value, str):  # a datetime, which commands have as text
        found = moment(value)
        return value if found is None else int(found.timestamp())
    return value


def _company(given: Mapping[str, object]) -> SplitCompany | None:
    # Without an id, each update would create another company.
    number = given.get("company_id")
    is_id = isinstance(number, (str, int)) and not isinstance(number, bool)
    if not is_id or not str(number).strip():
        warn_once(
            "company_left_out",
            "A company without company_id is not sent by the REST API, leaving it out",
        )
        return None
    values = {
        name: value
        for name, value in given.items()
        if _spelt(name) not in ("company_id", "custom_id")
    }
    return SplitCompany(
        custom_id=str(number),
        standard={name: value for name, value in values.items() if name in _STANDARD_OF_COMPANY},
        custom={name: value for name, value in values.items() if name not in _STANDARD_OF_COMPANY},
    )
