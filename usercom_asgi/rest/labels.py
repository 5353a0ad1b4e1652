"""Tags, lists and segments: ``rest.tags``, ``rest.lists`` and ``rest.segments``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .call import UNSET, Unset
from .models import Company, Segment, Tag, User, UserList
from .resource import Resource

if TYPE_CHECKING:
    from .identifiers import Id
    from .paging import Listing


class Tags(Resource[Tag]):
    """Tags of users and companies, by their ``id``."""

    PATH: ClassVar[str] = "/tags/"
    MODEL = Tag

    def list(self) -> Listing[Tag]:
        """Return the tags of the workspace."""
        return self._list()

    async def create(self, name: str) -> Tag:
        """Create a tag. A lost answer is not retried."""
        return await self._create({"name": name})

    async def rename(self, tag: int | Id | Tag, name: str) -> Tag:
        """Give a tag another name."""
        return await self._update(tag, {"name": name})

    async def delete(self, tag: int | Id | Tag) -> None:
        """Delete a tag.

        Raises:
            NotFoundError: If there is none.

        """
        await self._delete(tag)

    def users(self, tag: int | Id | Tag) -> Listing[User]:
        """Return the users with a tag."""
        return self._rows_of(tag, "users/", User)

    def companies(self, tag: int | Id | Tag) -> Listing[Company]:
        """Return the companies with a tag."""
        return self._rows_of(tag, "companies/", Company)


class Lists(Resource[UserList]):
    """Lists of users, by their ``id``.

    Users are added by ``rest.users.add_to_list``.
    """

    PATH: ClassVar[str] = "/lists/"
    MODEL = UserList

    def list(self) -> Listing[UserList]:
        """Return the lists of the workspace."""
        return self._list()

    async def create(self, name: str, description: str | Unset | None = UNSET) -> UserList:
        """Create a list. A lost answer is not retried."""
        return await self._create({"name": name, "description": description})

    async def update(
        self,
        list_id: int | Id | UserList,
        *,
        name: str | Unset = UNSET,
        description: str | Unset | None = UNSET,
    ) -> UserList:
        """Change the name or the description of a list."""
        return await self._update(list_id, {"name": name, "description": description})

    async def delete(self, list_id: int | Id | UserList) -> None:
        """Delete a list, and none of its users.

        Raises:
            NotFoundError: If there is none.

        """
        await self._delete(list_id)


class Segments(Resource[Segment]):
    """Segments of users, by their ``id``; they are defined in the application."""

    PATH: ClassVar[str] = "/segments/"
    MODEL = Segment

    def list(self) -> Listing[Segment]:
        """Return the segments of the workspace."""
        return self._list()

    def users(self, segment: int | Id | Segment) -> Listing[User]:
        """Return the users in a segment."""
        return self._rows_of(segment, "users/", User)
