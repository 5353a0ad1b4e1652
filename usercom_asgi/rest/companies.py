"""Companies: ``rest.companies``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypedDict, Unpack

from ..core.exceptions import NotFoundError, RejectedError
from .failures import may_be_taken, unexpected
from .fields import as_custom_id, body_of, reference
from .models import Company, User
from .resource import Resource, identifier_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .call import Unset
    from .identifiers import CustomId, PathId, UserPathId
    from .paging import Listing


class CompanyFields(TypedDict, total=False):
    """Standard fields of a company in writes; None sends null."""

    custom_id: str | Unset | None
    name: str | Unset | None
    email: str | Unset | None
    phone_numbers: Sequence[str] | Unset | None
    address: str | Unset | None
    city: str | Unset | None
    region: str | Unset | None
    country: str | Unset | None
    postal_code: str | Unset | None
    description: str | Unset | None
    size: int | Unset | None
    tags: Sequence[str] | Unset
    assigned_to: int | Unset | None


class Companies(Resource[Company]):
    """Companies, by their ``id`` (an int) or :class:`CustomId`."""

    PATH: ClassVar[str] = "/companies/"
    BY_CUSTOM_ID: ClassVar[str] = "/companies-by-id/"
    MODEL = Company

    async def get(self, company: PathId | Company) -> Company:
        """Return a company.

        Raises:
            NotFoundError: If there is none.

        """
        return await self._get(company)

    def list(self) -> Listing[Company]:
        """Return all companies; User.com documents no filter."""
        return self._list()

    async def create(
        self, *, attributes: Mapping[str, object] | None = None, **fields: Unpack[CompanyFields]
    ) -> Company:
        """Create a company. A lost answer is not retried."""
        return await self._create(_body(fields, attributes))

    async def update(
        self,
        company: PathId | Company,
        *,
        attributes: Mapping[str, object] | None = None,
        **fields: Unpack[CompanyFields],
    ) -> Company:
        """Change fields and custom attributes; what is left out stays."""
        return await self._update(company, _body(fields, attributes))

    async def upsert(
        self,
        custom_id_: str | CustomId,
        /,
        *,
        attributes: Mapping[str, object] | None = None,
        **fields: Unpack[CompanyFields],
    ) -> Company:
        """Update the company with this custom id, or create one. Safe to call again.

        The API has no such call, so this is two: GET, then PUT or POST.
        """
        given = as_custom_id(custom_id_)
        body = {**_body(fields, attributes), "custom_id": given.value}
        found = await self._find(given)
        if found is None:
            try:
                return await self._create(body)
            except RejectedError as error:
                if not may_be_taken(error):
                    raise
                found = await self._find(given)  # created by another process meanwhile
                if found is None:
                    raise
        return await self._update(given if found.id is None else found.id, body)

    async def _find(self, given: CustomId) -> Company | None:
        try:
            found = await self._get(given)
        except NotFoundError:
            return None
        if found.custom_id not in (given.value, None):
            # A duplicate response on a kept connection would be another company's.
            template = f"{self.BY_CUSTOM_ID}:custom_id/"
            raise unexpected("GET", template, 200, "with another company")
        return found

    async def delete(self, company: PathId | Company) -> None:
        """Delete a company.

        Raises:
            NotFoundError: If there is none.

        """
        await self._delete(company)

    async def add_member(self, company: PathId | Company, user: UserPathId) -> None:
        """Make a user a member of a company."""
        await self._act(company, "add_member", reference("user", identifier_of(user, User)))

    async def remove_member(self, company: PathId | Company, user: UserPathId) -> None:
        """End a user's membership of a company."""
        await self._act(company, "remove_member", reference("user", identifier_of(user, User)))

    async def set_attributes(
        self, company: PathId | Company, attributes: Mapping[str, object]
    ) -> None:
        """Set custom attributes."""
        await self._act(company, "set_multiple_attributes", body_of({}, {}, attributes))

    async def add_tag(self, company: PathId | Company, name: str) -> None:
        """Add a tag by its name."""
        await self._act(company, "add_tag", {"name": name})

    async def remove_tag(self, company: PathId | Company, name: str) -> None:
        """Remove a tag by its name."""
        # DELETE under both paths, unlike that of users.
        await self._act(company, "remove_tag", {"name": name}, method="DELETE")


def _body(fields: CompanyFields, attributes: Mapping[str, object] | None) -> dict[str, object]:
    return body_of(fields, CompanyFields.__annotations__, attributes)
