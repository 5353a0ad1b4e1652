"""Lists of objects that User.com answers in pages.

A page is ``{"count", "next", "previous", "results"}``, or a bare array where the whole
list is one answer. ``next`` is an absolute address, and clients send the token with it:
so it is followed only within the own origin and the path of the API. The last ``next``
has been seen to answer 404, which ends the list like none.
"""

from __future__ import annotations

import logging
import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast
from urllib.parse import unquote, urljoin, urlsplit

from ..core.exceptions import DeliveryError
from .call import PREFIX, Route, encode_query
from .failures import unexpected
from .identifiers import expand
from .parsing import as_object

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from .session import Caller

logger = logging.getLogger("usercom_asgi")

T = TypeVar("T")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list.

    ``total`` is the number of items over all pages, or None if the answer has none.
    ``raw`` is the JSON as it came.
    """

    items: Sequence[T]
    total: int | None
    raw: Any = field(repr=False)
    _number: int = field(repr=False)
    #: The address of the next page, as it came.
    _next_address: str | None = field(repr=False)
    _listing: Listing[T] = field(repr=False, compare=False)

    @property
    def has_next(self) -> bool:
        """Whether the answer names a next page, which may turn out to be none."""
        return self._next_address is not None

    async def next(self) -> Page[T] | None:
        """Return the next page, or None after the last one.

        Raises:
            DeliveryError: If the call fails, as for any other call.

        """
        if self._next_address is None:
            return None
        return await self._listing.at(self._next_address, self._number + 1)

    def __repr__(self) -> str:
        return f"Page({len(self.items)} items, total={self.total})"


class Listing(Generic[T]):
    """A list, read when it is awaited or iterated.

    ::

        page = await rest.tags.users(5)                     # the first page
        async for user in rest.tags.users(5): ...           # the items of all pages
        async for page in rest.tags.users(5).pages(): ...

    Each ``async for`` begins anew. A failed call raises where it is made; what came
    before remains with the caller.
    """

    def __init__(
        self,
        caller: Caller,
        route: Route,
        build: Callable[[object], T],
        *,
        parts: Mapping[str, str | int] | None = None,
        query: Mapping[str, object] | None = None,
    ) -> None:
        self._caller = caller
        self._route = route
        self._build = build
        self._parts = parts or {}
        self._query = query or {}
        #: Addresses that were followed, with the number of their page.
        self._followed: dict[str, int] = {}

    def __await__(self) -> Generator[Any, None, Page[T]]:
        return self._first().__await__()

    def __aiter__(self) -> _Items[T]:
        return _Items(self.pages())

    def pages(self) -> _Pages[T]:
        """Return an async iterator over the pages."""
        fresh = Listing(
            self._caller, self._route, self._build, parts=self._parts, query=self._query
        )
        return _Pages(fresh)

    async def _first(self) -> Page[T]:
        target = PREFIX + expand(self._route.template, self._parts) + encode_query(self._query)
        self._followed.setdefault(target, 1)
        return self._page(await self._caller.json(self._route, target=target), 1)

    async def at(self, address: str, number: int) -> Page[T] | None:
        """Return the page at an address that an answer named; for :meth:`Page.next`."""
        target = self._target(address)
        if self._followed.setdefault(target, number) < number:
            logger.warning(
                "The list %s repeats a page, ending it after %d",
                self._route.template,
                number - 1,
                extra={"usercom_event": "list_repeated", "usercom_route": self._route.template},
            )
            return None
        try:
            data = await self._caller.json(self._route, target=target)
        except DeliveryError as error:
            if error.status != 404:
                raise
            logger.info(
                "The next page of %s answered 404, ending the list after page %d",
                self._route.template,
                number - 1,
                extra={"usercom_event": "list_ended_early", "usercom_route": self._route.template},
            )
            return None
        return self._page(data, number)

    def _page(self, data: Any, number: int) -> Page[T]:
        envelope = as_object(data) or {}
        rows: object = envelope.get("results") if envelope else data
        if not isinstance(rows, list):
            # As an empty list it would pass for "this person has none".
            raise unexpected("GET", self._route.template, 200, "with no list")
        items = tuple(
            self._build(row) for row in cast("list[object]", rows) if as_object(row) is not None
        )
        following, total = envelope.get("next"), envelope.get("count")
        return Page(
            items,
            total if type(total) is int else None,
            data,
            number,
            following if isinstance(following, str) and following else None,
            self,
        )

    def _target(self, address: str) -> str:
        """Return path and query of a next page, checked to be on the own server."""
        origin = self._caller.session.address.origin
        own, base = urlsplit(origin), f"{origin}{PREFIX}{self._route.template}"
        try:
            parts = urlsplit(urljoin(base, address))
            place = (parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme))
            is_own = place == (own.scheme, own.hostname, own.port or _PORTS[own.scheme])
            folders = posixpath.normpath(unquote(unquote(parts.path)).replace("\\", "/"))
        except ValueError:
            is_own, folders, parts = False, "", own
        is_plain = address.isascii() and address.isprintable() and " " not in address
        is_api = f"{folders}/".startswith(f"{PREFIX}/") and parts.path.startswith(f"{PREFIX}/")
        if not (is_own and is_plain and is_api and "@" not in parts.netloc):
            # Omit the address, which may hold personal data.
            problem = (
                "with a next page elsewhere, which is not followed: check subdomain and base_url"
            )
            raise unexpected("GET", self._route.template, 200, problem)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path


class _Pages(Generic[T]):
    """Async iterator over pages; no generator, which trio asks to be closed."""

    def __init__(self, listing: Listing[T]) -> None:
        self._listing = listing
        self._page: Page[T] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page[T]:
        page = await (self._listing if self._page is None else self._page.next())
        if page is None:
            raise StopAsyncIteration
        self._page = page
        return page


class _Items(Generic[T]):
    """Async iterator over the items of pages."""

    def __init__(self, pages: _Pages[T]) -> None:
        self._pages = pages
        self._items: list[T] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            page = await self._pages.__anext__()
            self._items = list(reversed(page.items))
        return self._items.pop()
