"""``ProbeSession``: calls of a probe, and the objects to remove after it."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import anyio

from ..api.client import Response
from ..api.widget_api import PING
from ..core.exceptions import DeliveryError, NotFoundError, UserComError
from ..core.user_key import is_user_key
from ..rest.identifiers import CustomId, Id, Key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ..api.client import ApiClient
    from ..rest.client import UserComRest

#: Begins the custom ids and names that the probe creates; the name of its events.
NAME = "usercom-asgi-probe"
PAUSE, TRIES = 1.0, 3  # until a write must show in a read, in seconds
CLEANUP_TIMEOUT = 120.0  # seconds
_TOLERANCE = timedelta(minutes=1)  # between the clocks
_PAGE = "https://usercom-asgi-probe.example.com/"
_LIMIT_HEADER = re.compile(r"rate-?limit|retry-after|throttl|quota", re.IGNORECASE)


class UnansweredError(Exception):
    """A question without an answer, with the reason."""


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """Answer of a call, whose text holds no values."""

    status: int | None
    data: Any = None
    detail: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether the status is 2xx."""
        return self.status is not None and 200 <= self.status < 300

    def field(self, name: str) -> Any:
        """Return a field of an object."""
        data: object = self.data
        return cast("dict[str, Any]", data).get(name) if isinstance(data, dict) else None

    def __str__(self) -> str:
        if self.is_ok:
            return f"`{self.status}` {shape(self.data)}"
        return f"`{self.status or 'no answer'}`" + (f" ({self.detail})" if self.detail else "")


def shape(data: object, depth: int = 0) -> str:
    """Return the types of an answer without its values."""
    if data is None:
        return "with an empty body" if depth == 0 else "null"
    if isinstance(data, dict):
        pairs = list(cast("dict[str, object]", data).items())
        if depth > 1 or len(pairs) > 12:
            return f"an object of {len(pairs)} fields"
        return (
            "`{"
            + ", ".join(f"{n}: {shape(v, depth + 1)}" for n, v in pairs).replace("`", "")
            + "}`"
        )
    if isinstance(data, list):
        return f"a list of {len(cast('list[object]', data))}"
    return "text" if isinstance(data, str) else type(data).__name__


def as_objects(data: object) -> list[dict[str, Any]]:
    """Return the objects of a list."""
    rows = cast("list[object]", data) if isinstance(data, list) else []
    return [cast("dict[str, Any]", each) for each in rows if isinstance(each, dict)]


@dataclass(frozen=True, slots=True, repr=False)
class Subject:
    """A user that the probe has created."""

    id: int
    custom_id: str
    key: str | None

    @property
    def known_key(self) -> str:
        """The user key."""
        if self.key is None:
            raise UnansweredError("a user created by REST has no user key in the answer")
        return self.key


@dataclass(slots=True, repr=False)
class ProbeSession:
    """A probe's calls and the objects that it has created."""

    rest: UserComRest
    client: ApiClient
    app_key: str
    #: A part of each name, so that only objects of this probe are deleted.
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    calls: int = 0
    too_many: int = 0
    limits: dict[str, str] = field(default_factory=dict[str, str])
    has_events: bool = False
    removed: int = 0
    #: Page hits whose answer was lost.
    lost: int = 0
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    custom_ids: list[str] = field(default_factory=list[str])
    keys: list[str] = field(default_factory=list[str])
    tags: list[str] = field(default_factory=list[str])
    attributes: list[str] = field(default_factory=list[str])
    _subject: Subject | None = None

    async def call(
        self,
        method: str,
        path: str,
        *,
        parts: Mapping[str, str | int] | None = None,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Reply:
        """Make a call of the REST API; return its answer, also if it is an error."""
        try:
            answer = await self.rest.request(method, path, parts=parts, query=query, body=body)
        except DeliveryError as error:
            self._note_limits(error.headers)
            return Reply(error.status, detail=error.detail or error.reason)
        self._note_limits(answer.headers)
        return Reply(answer.status, answer.json)

    def _note_limits(self, headers: Mapping[str, str]) -> None:
        for name, value in headers.items():
            if _LIMIT_HEADER.search(name):
                self.limits[name] = value.replace("`", "")

    async def ping(self, key: str | None) -> tuple[int, str | None]:
        """Send a page hit as the widget does; return status and key of the answer."""
        body = {"apiKey": self.app_key, "url": _PAGE, "domain": "usercom-asgi-probe.example.com"}
        if key is not None:
            body["userKey"] = key
        headers = {"Accept": "*/*", "Content-Type": "application/json"}
        answer = Response()
        self.lost += 1
        # Without its answer, the visitor that it creates could not be found again.
        with anyio.CancelScope(shield=True):
            answer = await self.client.request(
                "POST", PING, headers, json.dumps(body).encode(), name=PING, is_new=True
            )
        self.lost -= 1
        try:
            found: object = json.loads(answer.body)["user"]["key"]
        except (ValueError, KeyError, TypeError, RecursionError):
            found = None
        named = found if is_user_key(found) else None
        if named is not None and named not in self.keys:
            self.keys.append(named)
        return answer.status, named

    def new_key(self) -> str:
        """Return a user key that does not exist; a user that gets it is removed."""
        key = f"probe{secrets.token_hex(4)}"[:12]
        self.keys.append(key)
        return key

    def new_attribute(self, suffix: str) -> str:
        """Return the name of an attribute that does not exist, and that is removed."""
        name = f"usercom_probe_{self.run}_{suffix}"
        self.attributes.append(name)
        return name

    async def new_tag(self) -> str:
        """Create a tag; return its name."""
        name = f"{NAME}-{self.run}"
        self.tags.append(name)
        await self.rest.tags.create(name)
        return name

    async def new_user(self, suffix: str) -> Subject:
        """Create a user without personal data."""
        custom_id = f"{NAME}-{self.run}-{suffix}"
        if custom_id not in self.custom_ids:
            self.custom_ids.append(custom_id)  # before the call, whose answer may be lost
        user = await self.rest.users.create(custom_id=custom_id, first_name=NAME)
        if user.id is None:
            raise UnansweredError("a created user has no id in the answer")
        return Subject(user.id, custom_id, user.user_key)

    async def subject(self) -> Subject:
        """Return the user that most questions are about."""
        if self._subject is None:
            self._subject = await self.new_user("a")
        return self._subject

    async def read(self, subject: Subject) -> Reply:
        """Return a user as it is now."""
        return await self.call("GET", "users/:id/", parts={"id": subject.id})

    async def eventually(self, check: Callable[[], Awaitable[bool]]) -> bool:
        """Return whether a condition becomes true, because reads may lag behind."""
        for attempt in range(TRIES):
            if attempt:
                await anyio.sleep(PAUSE)
            if await check():
                return True
        return False

    async def clean_up(self) -> None:
        """Remove what was created, also after a cancellation.

        The lists keep what could not be removed.
        """
        with anyio.move_on_after(CLEANUP_TIMEOUT, shield=True):
            await self._remove_all(self.keys, self._remove_visitor)
            await self._remove_all(self.custom_ids, self._remove_user)
            await self._remove_all(self.tags, self._remove_tag)
            await self._remove_all(self.attributes, self._remove_attribute)

    async def _remove_all(self, names: list[str], remove: Callable[[str], Awaitable[bool]]) -> None:
        for name in [*names]:
            try:
                self.removed += await remove(name)
            except NotFoundError:
                pass
            except UserComError:
                continue
            names.remove(name)

    async def _remove_user(self, custom_id: str) -> bool:
        await self.rest.users.delete(CustomId(custom_id))
        return True

    async def _remove_visitor(self, key: str) -> bool:
        user = await self.rest.users.get(Key(key))
        is_old = user.created_at is not None and user.created_at < self.began - _TOLERANCE
        is_named = user.email or not (user.custom_id or NAME).startswith(NAME)
        # A server that ignores the key would answer with another user.
        if user.id is None or user.user_key not in self.keys or is_old or is_named:
            raise UserComError("the key leads to a user that the probe has not created")
        await self.rest.users.delete(Id(user.id))
        return True

    async def _remove_tag(self, name: str) -> bool:
        async for each in self.rest.tags.list():
            if each.name == name and each.id is not None:
                await self.rest.tags.delete(each.id)
                return True
        return False

    async def _remove_attribute(self, name: str) -> bool:
        async for each in self.rest.attributes.list():
            if name in (each.name, each.name_std) and each.id is not None:
                await self.rest.attributes.delete(each.id)
                return True
        return False

    def leftovers(self) -> list[str]:
        """Return what stays in the workspace, without user keys."""
        kept = [
            *(f"user with the custom id `{each}`" for each in self.custom_ids),
            *(f"tag `{each}`" for each in self.tags),
            *(f"attribute `{each}`" for each in self.attributes),
        ]
        if visitors := len(self.keys) + self.lost:
            kept.append(f"visitors: {visitors}, found by their page `{_PAGE}`")
        return kept
