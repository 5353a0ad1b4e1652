"""Products and their events: ``rest.products`` and ``rest.product_events``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, TypedDict, Unpack

from ..core.exceptions import NotFoundError, RejectedError
from .call import Route, mapping
from .failures import may_be_taken
from .fields import as_custom_id, body_of, reference, unix_seconds
from .models import Product, ProductEvent
from .resource import Resource
from .users import Users, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

    from ..core.commands import EventType, EventTypeName
    from .call import Unset
    from .identifiers import CustomId, PathId, UserId
    from .paging import Listing
    from .session import Caller


class ProductFields(TypedDict, total=False):
    """Standard fields of a product in writes; None sends null."""

    custom_id: str | Unset | None
    name: str | Unset | None
    price: Decimal | float | Unset | None
    product_url: str | Unset | None
    image_url: str | Unset | None
    category_name: str | Unset | None


class Products(Resource[Product]):
    """Products, by their ``id`` (an int) or :class:`CustomId`."""

    PATH: ClassVar[str] = "/products/"
    BY_CUSTOM_ID: ClassVar[str] = "/products-by-id/"
    MODEL = Product

    async def get(self, product: PathId | Product) -> Product:
        """Return a product.

        Raises:
            NotFoundError: If there is none.

        """
        return await self._get(product, "details/")

    def list(self) -> Listing[Product]:
        """Return all products; User.com documents no filter."""
        return self._list()

    async def create(
        self, *, attributes: Mapping[str, object] | None = None, **fields: Unpack[ProductFields]
    ) -> Product:
        """Create a product. A lost answer is not retried."""
        return await self._create(_body(fields, attributes))

    async def update(
        self,
        product: PathId | Product,
        *,
        attributes: Mapping[str, object] | None = None,
        **fields: Unpack[ProductFields],
    ) -> Product:
        """Change fields and attributes; what is left out stays."""
        return await self._update(product, _body(fields, attributes))

    async def ensure(
        self,
        custom_id_: str | CustomId,
        /,
        *,
        attributes: Mapping[str, object] | None = None,
        **fields: Unpack[ProductFields],
    ) -> Product:
        """Return the product with this custom id; create it if there is none.

        An existing product is not changed. Safe to call again.
        """
        given = as_custom_id(custom_id_)
        body = {**_body(fields, attributes), "custom_id": given.value}
        try:
            return await self.get(given)
        except NotFoundError:
            pass
        try:
            return await self._create(body)
        except RejectedError as error:
            if not may_be_taken(error):
                raise
            try:
                return await self.get(given)  # created by another process meanwhile
            except NotFoundError:
                raise error from None


class ProductEvents(Resource[Product]):
    """Events of users with products; each is recorded below the path of its product."""

    PATH: ClassVar[str] = Products.PATH
    BY_CUSTOM_ID: ClassVar[str] = Products.BY_CUSTOM_ID
    MODEL = Product

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller)
        self._users = Users(caller)

    async def create(
        self,
        user: UserId,
        product: PathId | Product,
        event_type: EventType | EventTypeName,
        data: Mapping[str, object] | None = None,
        *,
        timestamp: datetime | int | None = None,
    ) -> ProductEvent:
        """Record an event of a user with a product. A lost answer is not retried.

        Args:
            user: The user. ``Key``, ``Email`` and ``Phone`` are looked up first.
            product: The product, which must exist: see :meth:`Products.ensure`.
            event_type: The type, such as ``"purchase"``.
            data: Its values. They become attributes of the product, except those in
                ``custom_data``.
            timestamp: When it was, in whole seconds. Defaults to now.

        Raises:
            NotFoundError: If there is no such product, or no such user.

        """
        template, parts = self._place(product, "product_event/")
        who = reference("user", await resolve(self._users, user))
        # Both are optional by id and required by custom id, so both are sent always.
        moment = int(time.time()) if timestamp is None else unix_seconds(timestamp)
        body = {
            **who,
            "event_type": event_type,
            "data": mapping("data", data),
            "timestamp": moment,
        }
        route = Route("POST", template, is_repeatable=False, is_record=True)
        return ProductEvent.parse(await self._caller.json(route, parts=parts, body=body))


def _body(fields: ProductFields, attributes: Mapping[str, object] | None) -> dict[str, object]:
    return body_of(fields, ProductFields.__annotations__, attributes)
