"""Definitions of custom attributes: ``rest.attributes``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from ..core.exceptions import BadRequestError, InvalidCommand
from .models import Attribute, Company, User
from .resource import Resource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .identifiers import Id
    from .paging import Listing

ValueType: TypeAlias = Literal[
    "boolean", "integer", "date", "string", "datetime", "fixed", "float", "json"
]
ContentType: TypeAlias = Literal["activity", "clientuser", "company", "deal", "product", "ticket"]


class Attributes(Resource[Attribute]):
    """Definitions of custom attributes, by their ``id``."""

    PATH: ClassVar[str] = "/attributes/"
    MODEL = Attribute

    async def get(self, attribute: int | Id | Attribute) -> Attribute:
        """Return a definition.

        Raises:
            NotFoundError: If there is none.

        """
        return await self._get(attribute)

    def list(self) -> Listing[Attribute]:
        """Return the definitions of the workspace."""
        return self._list()

    async def create(
        self,
        name: str,
        value_type: ValueType = "string",
        *,
        on: ContentType = "clientuser",
        choices: Sequence[str] | None = None,
        allow_multiple_choices: bool = False,
    ) -> Attribute:
        """Define an attribute. A lost answer is not retried.

        Args:
            name: 1 to 32 characters.
            value_type: The type of its values; ``fixed`` needs ``choices``.
            on: The kind of objects that have it.
            choices: The values of ``fixed``.
            allow_multiple_choices: Whether ``fixed`` takes several of them.

        """
        if not isinstance(name, str) or not 1 <= len(name) <= 32:
            raise InvalidCommand("name", "must have 1 to 32 characters")
        if (value_type == "fixed") != (choices is not None):
            raise InvalidCommand("choices", "must be given for value_type='fixed', and only there")
        body: dict[str, object] = {"name": name, "value_type": value_type, "content_type": on}
        if choices is not None:
            body |= {"choices": [*choices], "allow_multiple_choices": allow_multiple_choices}
        return await self._create(body)

    async def ensure(
        self,
        name: str,
        value_type: ValueType = "string",
        *,
        on: ContentType = "clientuser",
        choices: Sequence[str] | None = None,
    ) -> Attribute:
        """Return the definition of this name; create it if there is none.

        It reads all definitions, so call it once at start. Safe to call again.

        Raises:
            InvalidCommand: If the attribute exists with another type.

        """
        found = await self._find(name, on)
        if found is None:
            try:
                return await self.create(name, value_type, on=on, choices=choices)
            except BadRequestError:
                found = await self._find(name, on)  # created by another process meanwhile
                if found is None:
                    raise
        # value_type is a number in answers of v1, which cannot be compared.
        its_type = found.value_type or ""
        if its_type.isalpha() and its_type.lower() != value_type:
            raise InvalidCommand(
                "value_type", f"must be {its_type!r}, as the attribute exists with that type"
            )
        return found

    async def _find(self, name: str, on: ContentType) -> Attribute | None:
        kinds = {on, "user"} if on == "clientuser" else {on}  # answers have "user"
        wanted = _name_std(name)
        async for each in self.list():
            names = {_name_std(each.name or ""), _name_std(each.name_std or "")}
            if wanted in names and each.content_type in {*kinds, None}:
                return each
        return None

    async def delete(self, attribute: int | Id | Attribute) -> None:
        """Delete a definition, and with it the values of all objects.

        Raises:
            NotFoundError: If there is none.

        """
        await self._delete(attribute)

    def users(self, name_std: str) -> Listing[User]:
        """Return the users that have a value of this attribute."""
        return self._listing("/attribute-type/:name/users/", User, parts={"name": name_std})

    def companies(self, name_std: str) -> Listing[Company]:
        """Return the companies that have a value of this attribute."""
        return self._listing("/attribute-type/:name/companies/", Company, parts={"name": name_std})


def _name_std(name: str) -> str:
    """Return a name as ``name_std`` has it, as far as that is known: in lower case."""
    return re.sub(r"[\W_]+", "_", name.lower())
