"""Users: ``rest.users``."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Literal, Unpack, cast

from ..core.exceptions import AmbiguousError, InvalidCommand, NotFoundError
from .call import Route
from .failures import not_found, unexpected
from .fields import UserFields, as_custom_id, body_of, list_of, unix_seconds, user_body
from .identifiers import CustomId, Email, Id, Key, Phone, UserId, UserPathId, number_of
from .models import (
    Event,
    PageView,
    ProductEvent,
    Segment,
    SentEmail,
    TimelineEntry,
    Upserted,
    User,
    UserList,
)
from .parsing import as_list, as_object
from .resource import Resource, identifier_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from .paging import Listing

#: The path of look-ups and searches.
SEARCH = "/users/search/"


class Users(Resource[User]):
    """Users, by their ``id`` (an int), or another identifier.

    ``Key``, ``Email`` and ``Phone`` are no part of a path. A method that takes a
    ``UserId`` looks the user up first, with one more call.
    """

    PATH: ClassVar[str] = "/users/"
    BY_CUSTOM_ID: ClassVar[str] = "/users-by-id/"
    MODEL = User

    async def get(self, who: UserId) -> User:
        """Return a user.

        Raises:
            NotFoundError: If there is none.
            AmbiguousError: If several have this email or phone number.

        """
        given = identifier_of(who, User)
        if isinstance(given, (Id, CustomId)):
            user = await self._get(given)
            if isinstance(given, Id) and user.id not in (given.value, None):
                # A duplicate response on a kept connection would be another user's.
                raise unexpected("GET", "/users/:id/", 200, "with another user")
            return user
        users = await self._find(given)
        if not users:
            raise not_found("GET", SEARCH)
        if len(users) > 1:
            error = AmbiguousError(f"GET {SEARCH} found {len(users)} users", status=200)
            error.method, error.path = "GET", SEARCH
            error.ids = tuple(each.id for each in users if each.id is not None)
            raise error
        return users[0]

    async def by_email(self, email: str | Email) -> list[User]:
        """Return all users with an email; several may have the same."""
        return await self._find_or_empty(Email(email) if isinstance(email, str) else email)

    async def by_phone(self, number: str | Phone) -> list[User]:
        """Return all users with a phone number, in the form that User.com has it."""
        return await self._find_or_empty(Phone(number) if isinstance(number, str) else number)

    async def _find_or_empty(self, given: Email | Phone) -> list[User]:
        try:
            return await self._find(given)
        except NotFoundError:
            return []

    async def _find(self, given: Key | Email | Phone) -> list[User]:
        query: dict[str, object] = {"key": given.value}
        if isinstance(given, Email):
            query = {"email": given.value, "many": True}
        elif isinstance(given, Phone):
            query = {"phone_number": given.value}
        data = await self._caller.json(Route("GET", SEARCH), query=query)
        # v2 answers an object for a key, a bare array for many emails, and an envelope
        # for a phone number; v1 has an object for the last one.
        envelope = as_object(data)
        rows = data if envelope is None else envelope.get("results", [data] if data else [])
        return [User.parse(row) for row in as_list(rows) if as_object(row) is not None]

    def list(self, **filters: object) -> Listing[User]:
        """Return users, filtered by standard fields.

        ``email__contains="@acme.example"``, ``score__gte=10``, ``with_email=True``: the
        look-ups are ``contains``, ``lt``, ``lte``, ``gt`` and ``gte``.
        """
        return self._list(filters)

    def search(self, **filters: object) -> Listing[User]:
        """Return users, filtered by custom attributes: ``plan__icontains="pro"``.

        Further look-ups are ``startswith``, ``endswith`` and ``contains``, each also
        with ``i`` before it to ignore case.

        Raises:
            InvalidCommand: If a filter is an identifier, which ``get`` takes.

        """
        for name in filters.keys() & {"email", "key", "phone_number"}:
            raise InvalidCommand(name, "must be given to get(), such as users.get(Email(...))")
        return self._listing(SEARCH, User, query=filters)

    def by_date(
        self,
        field: Literal["first_seen", "last_seen", "last_contacted", "updated_at"],
        *,
        since: datetime | int | None = None,
        until: datetime | int | None = None,
    ) -> Listing[User]:
        """Return the users whose date lies between two moments."""
        query = {"search": field, "min": unix_seconds(since), "max": unix_seconds(until)}
        return self._listing(SEARCH, User, query=query)

    async def create(
        self, *, attributes: Mapping[str, object] | None = None, **fields: Unpack[UserFields]
    ) -> User:
        """Create a user. A lost answer is not retried, as the user might exist twice.

        ``user_key`` claims a visitor's key for the new user.
        """
        return await self._create(user_body(fields, attributes))

    async def update(
        self,
        who: UserId,
        *,
        attributes: Mapping[str, object] | None = None,
        **fields: Unpack[UserFields],
    ) -> User:
        """Change fields and custom attributes; others stay. Tags are added."""
        return await self._update(await resolve(self, who), user_body(fields, attributes))

    async def upsert(
        self,
        custom_id_: str | CustomId,
        /,
        *,
        attributes: Mapping[str, object] | None = None,
        **fields: Unpack[UserFields],
    ) -> Upserted:
        """Update the user with this custom id, or create one. Safe to repeat."""
        body = {**user_body(fields, attributes), "custom_id": as_custom_id(custom_id_).value}
        route = Route("POST", "/users/update_or_create/")
        return Upserted.parse(await self._caller.json(route, body=body))

    async def delete(self, who: UserId) -> None:
        """Delete a user.

        Raises:
            NotFoundError: If there is none.

        """
        await self._delete(await resolve(self, who))

    async def forget(self, who: UserId) -> None:
        """Delete a user; one that does not exist is no error."""
        with suppress(NotFoundError):
            await self.delete(who)

    async def merge(
        self,
        *,
        keep: UserPathId | Email | Phone,
        others: Sequence[UserPathId | Email | Phone],
    ) -> None:
        """Merge users into the one to keep. This cannot be undone, and is not retried.

        Where both have a value, that of ``keep`` stays. Timelines, page views, deals
        and lists are joined. A ``Key`` is refused, because a browser may present any
        key: look the user up, and check that the key is theirs.

        Raises:
            InvalidCommand: If an identifier is a ``Key``, or one user is named twice.

        """
        parent = await self._number(keep)
        merged = [await self._number(each) for each in others]
        if not merged or len({parent, *merged}) <= len(merged):
            raise InvalidCommand("others", "must be one or more users, each other than keep")
        route = Route("POST", "/users/merge/", is_repeatable=False)
        await self._caller.json(route, body={"parent": parent, "users_list": merged})

    async def _number(self, who: UserId) -> int:
        given = identifier_of(who, User)
        if isinstance(given, Key):
            raise InvalidCommand("identifier", "must not be a Key, which proves nothing")
        return given.value if isinstance(given, Id) else _id_of(await self.get(given))

    async def set_attributes(self, who: UserId, attributes: Mapping[str, object]) -> None:
        """Set custom attributes, which must exist in the workspace.

        None is sent as null.
        """
        body = body_of({}, {}, attributes)
        await self._act(await resolve(self, who), "set_multiple_attributes", body)

    async def remove_attribute(self, who: UserId, name: str) -> None:
        """Remove the value of a custom attribute."""
        await self._remove(who, "remove_attribute", {"attribute": name})

    async def add_tag(self, who: UserId, name: str) -> None:
        """Add a tag by its name; a missing one is created."""
        await self._act(await resolve(self, who), "add_tag", {"name": name})

    async def add_tags(self, who: UserId, names: Sequence[str]) -> None:
        """Add several tags by their names."""
        await self._act(await resolve(self, who), "add_many_tags", {"tag_names": list_of(names)})

    async def remove_tag(self, who: UserId, name: str) -> None:
        """Remove a tag by its name."""
        await self._remove(who, "remove_tag", {"name": name})

    async def add_to_list(self, who: UserId, list_id: int | Id | UserList) -> None:
        """Put a user on a list."""
        await self._act(await resolve(self, who), "add_to_list", _list_body(list_id))

    async def remove_from_list(self, who: UserId, list_id: int | Id | UserList) -> None:
        """Take a user off a list."""
        await self._remove(who, "remove_from_list", _list_body(list_id))

    async def _remove(self, who: UserId, name: str, body: Mapping[str, object]) -> None:
        # The verb depends on the path: DELETE with a body by id, POST by custom id.
        given = await resolve(self, who)
        method = "POST" if isinstance(given, CustomId) else "DELETE"
        await self._act(given, name, body, method=method)

    async def update_many(
        self,
        users: Sequence[int | Id] | Sequence[CustomId],
        attribute: str,
        value: object,
        *,
        is_standard: bool = False,
    ) -> None:
        """Set one attribute of many users, which are all by id or all by custom id.

        Args:
            users: The users.
            attribute: The attribute's name.
            value: Its value.
            is_standard: Set a standard field instead of a custom attribute.

        """
        given = [identifier_of(each, User) for each in users]
        kinds = {type(each) for each in given}
        if kinds not in ({Id}, {CustomId}):
            raise InvalidCommand("users", "must be one or more ids, or one or more CustomIds")
        path = self.BY_CUSTOM_ID if kinds == {CustomId} else self.PATH
        kind = "standard" if is_standard else "custom"
        body = {"ids": [each.value for each in given], "attribute": attribute, "value": value}
        route = Route("PUT", f"{path}mass_update_{kind}_attributes/")
        await self._caller.json(route, body=body)

    def events(self, who: UserPathId) -> Listing[Event]:
        """Return a user's events."""
        return self._rows_of(who, "events/", Event)

    def product_events(self, who: UserPathId) -> Listing[ProductEvent]:
        """Return a user's product events."""
        return self._rows_of(who, "product_events/", ProductEvent)

    def page_views(self, who: UserPathId) -> Listing[PageView]:
        """Return the pages that a user viewed."""
        return self._rows_of(who, "ping_hits/", PageView)

    def emails(self, who: UserPathId) -> Listing[SentEmail]:
        """Return the emails that a user was sent."""
        return self._rows_of(who, "emails/", SentEmail)

    def timeline(self, who: UserPathId) -> Listing[TimelineEntry]:
        """Return a user's timeline."""
        return self._rows_of(who, "timeline/", TimelineEntry)

    def segments(self, who: UserPathId) -> Listing[Segment]:
        """Return the segments that a user is in."""
        return self._rows_of(who, "segments/", Segment)


async def resolve(users: Users, who: UserId) -> Id | CustomId:
    """Return a user's identifier for a path; a key, email or phone is looked up.

    Raises:
        NotFoundError: If there is none.
        AmbiguousError: If several have this email or phone number.

    """
    given = identifier_of(who, User)
    if isinstance(given, (Id, CustomId)):
        return given
    return Id(_id_of(await users.get(given)))


def _id_of(user: User) -> int:
    if user.id is None:
        raise unexpected("GET", SEARCH, 200, "with a user without id")
    return user.id


def _list_body(given: int | Id | UserList) -> dict[str, object]:
    number = identifier_of(given, UserList) if isinstance(given, UserList) else given
    return {"list": number_of("list", cast("int | Id", number))}
