"""Deals and orders: ``rest.deals``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypedDict, Unpack

from ..core.exceptions import InvalidCommand
from .call import Route
from .fields import as_custom_id, body_of, reference
from .identifiers import Key, PathId, UserPathId
from .models import Deal, Line, User
from .resource import Resource, identifier_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime
    from decimal import Decimal

    from .call import Unset
    from .identifiers import CustomId
    from .paging import Listing


class DealFields(TypedDict, total=False):
    """Standard fields of a deal in writes; None sends null.

    ``status`` is 0 abandoned, 1 in progress, 2 won, 3 lost, 4 archived.
    """

    custom_id: str | Unset | None
    name: str | Unset
    value: Decimal | float | Unset | None
    currency: str | Unset | None
    status: int | Unset | None
    stage: int | Unset | None
    pipeline: int | Unset | None
    activities_status: str | Unset | None
    assigned_to: int | Unset | None
    user_id: int | Unset | None
    user_custom_id: str | Unset | None
    company_id: int | Unset | None
    company_custom_id: str | Unset | None
    expected_close_date: date | Unset | None
    won_at: datetime | Unset | None
    lost_at: datetime | Unset | None
    loss_reason: int | Unset | None
    participants: Sequence[int] | Unset | None
    products: Sequence[int] | Unset | None
    products_custom_id: Sequence[str] | Unset | None


class Deals(Resource[Deal]):
    """Deals, by their ``id`` (an int) or :class:`CustomId`.

    Custom attributes of a deal are created where they are missing.
    """

    PATH: ClassVar[str] = "/deals/"
    BY_CUSTOM_ID: ClassVar[str] = "/deals-by-id/"
    MODEL = Deal

    async def get(self, deal: PathId | Deal) -> Deal:
        """Return a deal.

        Raises:
            NotFoundError: If there is none.

        """
        return await self._get(deal)

    def list(
        self, *, user: UserPathId | Key | None = None, stage: int | None = None
    ) -> Listing[Deal]:
        """Return deals, those of one user or in one stage."""
        query: dict[str, object] = {"stage": stage}
        if user is not None:
            given = identifier_of(user, User)
            # The API has this one without an underscore.
            of_user = (
                {"userkey": given.value} if isinstance(given, Key) else reference("user", given)
            )
            query.update(of_user)
        return self._list(query)

    async def create(
        self,
        *,
        lines: Sequence[Line] | None = None,
        attributes: Mapping[str, object] | None = None,
        **fields: Unpack[DealFields],
    ) -> Deal:
        """Create a deal. A lost answer is not retried: see :meth:`upsert`."""
        return await self._create(_body(fields, lines, attributes))

    async def update(
        self,
        deal: PathId | Deal,
        *,
        lines: Sequence[Line] | None = None,
        attributes: Mapping[str, object] | None = None,
        **fields: Unpack[DealFields],
    ) -> Deal:
        """Change fields and custom attributes; what is left out stays."""
        return await self._update(deal, _body(fields, lines, attributes))

    async def upsert(
        self,
        custom_id_: str | CustomId,
        /,
        *,
        lines: Sequence[Line] | None = None,
        attributes: Mapping[str, object] | None = None,
        **fields: Unpack[DealFields],
    ) -> Deal:
        """Update the deal with this custom id, or create one. Safe to repeat.

        An order is a deal with lines, whose values are kept for each line.

        Raises:
            NotFoundError: If the user or the company does not exist.

        """
        body = {**_body(fields, lines, attributes), "custom_id": as_custom_id(custom_id_).value}
        route = Route("POST", "/deals/update_or_create/")
        return Deal.parse(await self._caller.json(route, body=body))

    async def delete(self, deal: PathId | Deal) -> None:
        """Delete a deal.

        Raises:
            NotFoundError: If there is none.

        """
        await self._delete(deal)


def _body(
    fields: DealFields,
    lines: Sequence[Line] | None,
    attributes: Mapping[str, object] | None,
) -> dict[str, object]:
    known = {**DealFields.__annotations__, "order_products": None}
    body = body_of(fields, known, attributes)
    if lines is not None:
        if not all(isinstance(each, Line) for each in lines):
            raise InvalidCommand("lines", "must be a list of Line")
        body["order_products"] = [each.body() for each in lines]
    return body
