"""A visitor's attributes in the spelling of the REST API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from .companies import CompanyFields
from .fields import UserFields

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
    values = {name: value for name, value in given.items() if name not in _NOT_SENT}
    company = values.pop("company", None)
    name = values.pop("name", None)
    if isinstance(name, str) and not values.keys() & {"first_name", "last_name"}:
        first, _, last = name.partition(" ")
        values |= {"first_name": first, **({"last_name": last} if last else {})}
    return SplitAttributes(
        standard={name: value for name, value in values.items() if name in _STANDARD},
        custom={name: value for name, value in values.items() if name not in _STANDARD},
        company=_company(cast("dict[str, object]", company)) if company else None,
    )


def _company(given: Mapping[str, object]) -> SplitCompany | None:
    # Without an id, each update would create another company.
    number = given.get("company_id")
    if number is None:
        return None
    values = {
        name: value for name, value in given.items() if name not in ("company_id", "custom_id")
    }
    return SplitCompany(
        custom_id=str(number),
        standard={name: value for name, value in values.items() if name in _STANDARD_OF_COMPANY},
        custom={name: value for name, value in values.items() if name not in _STANDARD_OF_COMPANY},
    )
