"""Base class of the resources: paths, and the calls that most kinds have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, cast

from ..core.exceptions import InvalidCommand
from .call import Route
from .failures import not_found, unexpected
from .identifiers import CustomId, Email, Id, Key, Phone, normalize
from .paging import Listing
from .parsing import Model

if TYPE_CHECKING:
    from .session import Caller

M = TypeVar("M", bound=Model)
N = TypeVar("N", bound=Model)
Parts = dict[str, str | int]


def identifier_of(value: object, model: type[Model]) -> Id | CustomId | Key | Email | Phone:
    """Return the identifier of an object, which may be one that a call returned.

    Raises:
        InvalidCommand: If it is none, or an object without id.

    """
    if not isinstance(value, model):
        return normalize(value)
    number: int | None = getattr(value, "id", None)
    if number is None:
        raise InvalidCommand("identifier", "must have an id, as User.com's answers do")
    return Id(number)


class Resource(Generic[M]):
    """One kind of object, with the calls that most kinds have."""

    #: The path of the collection; objects are below it by their ``id``.
    PATH: ClassVar[str]
    #: The path of objects by ``custom_id``, if there is one.
    BY_CUSTOM_ID: ClassVar[str] = ""
    MODEL: type[M]

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def _place(self, who: object, suffix: str = "") -> tuple[str, Parts]:
        """Return the template of an object's path, and its parts.

        Raises:
            InvalidCommand: If the kind has no path for this type of identifier.

        """
        given = identifier_of(who, self.MODEL)
        if isinstance(given, Id):
            return f"{self.PATH}:id/{suffix}", {"id": given.value}
        if isinstance(given, CustomId) and self.BY_CUSTOM_ID:
            return f"{self.BY_CUSTOM_ID}:custom_id/{suffix}", {"custom_id": given.value}
        expected = "an int, Id or CustomId" if self.BY_CUSTOM_ID else "an int or Id"
        raise InvalidCommand("identifier", f"must be {expected}, got {type(given).__name__}")

    async def _get(self, who: object, suffix: str = "") -> M:
        template, parts = self._place(who, suffix)
        data = await self._caller.json(Route("GET", template), parts=parts)
        return self._object(data, template)

    def _object(self, data: object, template: str) -> M:
        """Build the object of a GET."""
        if not data:
            raise not_found("GET", template)
        if not isinstance(data, Mapping):
            raise unexpected("GET", template, 200, "with JSON that is not an object")
        return self.MODEL.parse(cast("object", data))

    async def _create(self, body: Mapping[str, object]) -> M:
        # A lost answer is not retried: the object may exist twice then.
        route = Route("POST", self.PATH, is_repeatable=False)
        return self.MODEL.parse(await self._caller.json(route, body=body))

    async def _update(self, who: object, body: Mapping[str, object]) -> M:
        template, parts = self._place(who)
        return self.MODEL.parse(
            await self._caller.json(Route("PUT", template), parts=parts, body=body)
        )

    async def _delete(self, who: object) -> None:
        template, parts = self._place(who)
        await self._caller.json(Route("DELETE", template), parts=parts)

    def _list(self, query: Mapping[str, object] | None = None) -> Listing[M]:
        return self._listing(self.PATH, self.MODEL, query=query)

    def _listing(
        self,
        template: str,
        model: type[N],
        *,
        parts: Mapping[str, str | int] | None = None,
        query: Mapping[str, object] | None = None,
    ) -> Listing[N]:
        route = Route("GET", template)
        return Listing(self._caller, route, model.parse, parts=parts, query=query)

    def _rows_of(self, who: object, suffix: str, model: type[N]) -> Listing[N]:
        template, parts = self._place(who, suffix)
        return self._listing(template, model, parts=parts)

    async def _act(
        self, who: object, action: str, body: Mapping[str, object], *, method: str = "POST"
    ) -> None:
        """Call an action of an object, such as ``add_tag``, which may be repeated."""
        template, parts = self._place(who, f"{action}/")
        await self._caller.json(Route(method, template), parts=parts, body=body)
