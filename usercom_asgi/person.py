"""Who somebody is said to be: :class:`Person`."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .attributes import Json

# How a profile can be found without a key; the rest of what is known does not tell who somebody is.
_IDENTIFIERS = ("user_id", "email")


class Person:
    """What was told of a visitor."""

    _identity: Mapping[str, Json] = MappingProxyType({})

    @property
    def user_id(self) -> str | None:
        """The application's own id of this person, if it was told."""
        return cast("str | None", self._identity.get("user_id"))

    @property
    def email(self) -> str | None:
        """The person's e-mail address, if it was told."""
        return cast("str | None", self._identity.get("email"))

    @property
    def is_identified(self) -> bool:
        """True if it was said who this is, by ``user_id`` or ``email``."""
        return any(name in self._identity for name in _IDENTIFIERS)

    @property
    def attributes(self) -> Mapping[str, Json]:
        """What was told of this person, as User.com takes it."""
        return self._identity

    def introduce(self, person: Mapping[str, Json]) -> None:
        """Say who is logged in; what the application has said itself counts more."""
        self._identity = {**person, **self._identity}

    def names(self) -> dict[str, Json]:
        """Return what finds this person's profile at User.com."""
        return {name: self._identity[name] for name in _IDENTIFIERS if name in self._identity}
