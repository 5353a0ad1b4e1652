"""Events and page views: ``rest.events`` and ``rest.site_views``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..core.exceptions import InvalidCommand
from .call import Route, mapping
from .failures import unexpected
from .fields import unix_seconds
from .identifiers import CustomId, Key, UserId
from .models import Event, User
from .resource import identifier_of
from .users import Users, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .session import Caller


class Events:
    """Events of users; they can be neither changed nor deleted."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._users = Users(caller)

    async def create(
        self,
        user: UserId,
        name: str,
        data: Mapping[str, object] | None = None,
        *,
        timestamp: datetime | int | None = None,
    ) -> Event:
        """Record an event; return its id, and whether it is the first of this name.

        A lost answer is not retried: the API has no idempotency key, so the event might
        be stored twice.

        Args:
            user: The user. ``Key``, ``Email`` and ``Phone`` are looked up first.
            name: The event's name.
            data: Its values, which may be nested.
            timestamp: When it was, in whole seconds. Defaults to the server's time.

        Raises:
            NotFoundError: If there is no such user.

        """
        if not isinstance(name, str) or not name.strip():
            raise InvalidCommand("name", "must be a string that is not empty")
        body: dict[str, Any] = {"name": name}
        if data is not None:
            body["data"] = mapping("data", data)
        if timestamp is not None:
            body["timestamp"] = unix_seconds(timestamp)
        given = await resolve(self._users, user)
        template, parts = "/events/", dict[str, str | int]()
        if isinstance(given, CustomId):
            template, parts = "/users-by-id/:custom_id/events/", {"custom_id": given.value}
        else:
            body["user_id"] = given.value
        route = Route("POST", template, is_repeatable=False, is_record=True)
        return Event.parse(await self._caller.json(route, parts=parts, body=body))


class SiteViews:
    """Page views that a server reports.

    Known from one client only: the vendor has no page on it. It takes the user key.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._users = Users(caller)

    async def create(self, user: UserId, url: str, *, timestamp: datetime | None = None) -> None:
        """Record a view of a page. A lost answer is not retried.

        Args:
            user: The visitor. Others than a ``Key`` are looked up for their key first.
            url: The full address of the page.
            timestamp: When it was. Defaults to now.

        Raises:
            NotFoundError: If there is no such user.
            UnexpectedResponseError: If the user has no key.

        """
        is_url = isinstance(url, str) and url.startswith(("https://", "http://"))
        if not is_url:
            raise InvalidCommand("url", "must be a full address, such as 'https://a.example/b'")
        given = identifier_of(user, User)
        if isinstance(given, Key):
            key: str | None = given.value
        else:
            key = (await self._users.get(given)).user_key
            if key is None:
                raise unexpected("GET", "/users/:id/", 200, "with a user without a user key")
        moment = datetime.now(UTC) if timestamp is None else timestamp
        body = {
            "client_user": key,
            "page_domain": url,  # the whole address, in spite of the name
            "page_path": urlsplit(url).path or "/",
            "timestamp": moment,
        }
        await self._caller.json(
            Route("POST", "/site-views/", is_repeatable=False, is_record=True), body=body
        )
