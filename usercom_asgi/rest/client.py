"""``UserComRest``, the client of the public REST API."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from ..api import check_transport
from ..core.config import UserComConfig, is_rest_token
from ..core.exceptions import ConfigurationError, InvalidCommand
from .arguments import (
    ApiAddress,
    described,
    invalid,
    origin_from,
    rate,
    seconds,
    whole,
)
from .call import UNSET, Answer, Call, Options, Route, Token, Unset
from .identifiers import hide_values, template_of
from .session import Caller, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from ..api.client import Transport
    from .attributes import Attributes
    from .companies import Companies
    from .deals import Deals
    from .events import Events, SiteViews
    from .labels import Lists, Segments, Tags
    from .products import ProductEvents, Products
    from .users import Users

#: The most calls at the same time.
MAX_CONCURRENCY = 1000
_METHOD = re.compile(r"[A-Z]{3,10}")
_IDEMPOTENT_METHODS = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")  # RFC 9110, 9.2.2


class UserComRest:
    """The public REST API of one workspace, on asyncio and trio.

    ::

        async with UserComRest(subdomain="acme", token=token) as rest:
            user = await rest.users.get(CustomId("cust-52"))
            await rest.users.update(user.id, attributes={"plan": "pro"})

    Nothing connects before the first call. The client may also be used without
    ``async with``, and be closed by :meth:`aclose`.

    Args:
        subdomain: The workspace's subdomain: ``"acme"`` for ``acme.user.com``.
        token: The secret key of the public REST API (Settings > App Settings >
            Advanced > Public REST API keys). It appears in no ``repr``, log or error.
        base_url: The address of the API instead of ``subdomain``: of the sandbox or a
            proxy. ``http`` only for a loopback host.
        timeout: Seconds that each phase of a call may take (connect, write, read). A
            call in all may take three times as long.
        retries: How often a call is repeated after a failure. A random pause comes
            first, of up to 0.5 s at the first time, and up to 8 s later. Calls that
            cannot be repeated safely are repeated only if User.com has not acted on
            them. With 0, a call during the pause after a 429 raises at once.
        concurrency: Calls that are made at the same time. User.com publishes no limit.
        requests_per_second: Calls that are made in a second. Unlimited by default.
        on_call: Called with a :class:`Call` after each attempt, for metrics.
        transport: An async transport of the installed httpx (``httpx2`` before
            ``httpx``), for tests and special networks. Its owner closes it.

    Raises:
        ConfigurationError: If an argument is missing or malformed.

    """

    def __init__(
        self,
        *,
        subdomain: str | None = None,
        token: str,
        base_url: str | None = None,
        timeout: float = 10.0,
        retries: int = 2,
        concurrency: int = 8,
        requests_per_second: float | None = None,
        on_call: Callable[[Call], object] | None = None,
        transport: Transport | None = None,
    ) -> None:
        secret, is_valid, given = Token(token), is_rest_token(token), described(token)
        del token  # a traceback shows the variables of its frames
        if not is_valid:
            raise invalid(
                "token",
                "must be the secret key of the public REST API, 8 to 256 printable ASCII "
                f"characters without spaces, got {given}",
            )
        if on_call is not None and not callable(on_call):
            raise invalid("on_call", f"must be a function, got {type(on_call).__name__}")
        options = Options(seconds("timeout", timeout), whole("retries", retries, 0, 10))
        address = ApiAddress(subdomain, origin_from(subdomain, base_url), options.timeout)
        session = Session(
            address,
            secret,
            transport=check_transport(transport),
            concurrency=whole("concurrency", concurrency, 1, MAX_CONCURRENCY),
            on_call=on_call,
            requests_per_second=rate("requests_per_second", requests_per_second),
        )
        self._caller = Caller(session, options)
        self._is_view = False

    @classmethod
    def from_config(cls, config: UserComConfig, **settings: Any) -> Self:
        """Create a client for the workspace of a configuration with ``rest_token``.

        Args:
            config: The configuration.
            settings: Other arguments of the class, such as ``retries``.

        Raises:
            ConfigurationError: If it has no ``rest_token``, or a setting is malformed.

        """
        if not config.rest_token:
            raise ConfigurationError(
                "rest_token", "must be given for the REST API; set USERCOM_REST_TOKEN"
            )
        given: dict[str, Any] = {
            "subdomain": config.app,
            "base_url": config.base_url,
            "timeout": config.timeout,
            **settings,
        }
        return cls(token=config.rest_token, **given)

    def with_options(
        self, *, timeout: float | Unset = UNSET, retries: int | Unset = UNSET
    ) -> UserComRest:
        """Return a view with other options on the same connections and limits.

        Only the original client closes them.

        Raises:
            ConfigurationError: If a value is malformed.

        """
        changes: dict[str, object] = {}
        if not isinstance(timeout, Unset):
            changes["timeout"] = seconds("timeout", timeout)
        if not isinstance(retries, Unset):
            changes["retries"] = whole("retries", retries, 0, 10)
        view = object.__new__(UserComRest)
        view._caller = self._caller.with_options(**changes)
        view._is_view = True
        return view

    async def request(
        self,
        method: str,
        path: str,
        *,
        parts: Mapping[str, str | int] | None = None,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        is_repeatable: bool | None = None,
        slash: bool = True,
    ) -> Answer:
        """Make a call that has no method here.

        ::

            answer = await rest.request("GET", "notes/:id/", parts={"id": 5})
            answer.status, answer.json, answer.content

        Args:
            method: The verb.
            path: The path below ``/api/public/``. Errors and ``on_call`` show it, so
                put ids and other values into ``parts``.
            parts: Values for the ``:names`` in the path, which are percent-encoded.
            query: The query.
            body: The body, sent as JSON.
            is_repeatable: Whether two calls have the effect of one, so that a lost
                answer may be retried. Defaults to True except for POST and PATCH.
            slash: End the path with a slash, as all known routes but one do
                (``email-campaign/:id``).

        Raises:
            DeliveryError: If the call does not succeed; see :mod:`.exceptions`.
            InvalidCommand: If an argument is malformed.

        """
        if not isinstance(method, str) or not _METHOD.fullmatch(method):
            raise InvalidCommand("method", "must be a verb in capitals, such as 'GET'")
        template = template_of(path, slash=slash)
        if is_repeatable is None:
            is_repeatable = method in _IDEMPOTENT_METHODS
        shown, hidden = hide_values(template)
        route = Route(method, shown, is_repeatable)
        return await self._caller.send(
            route, parts={**(parts or {}), **hidden}, query=query, body=body
        )

    async def aclose(self) -> None:
        """Close the connections; of a view, nothing."""
        if not self._is_view:
            await self._caller.session.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        # A traceback of the constructor shows the object before it has a caller.
        caller: Caller | None = vars(self).get("_caller")
        return f"UserComRest({caller.session.address.origin if caller else None!r})"

    # Each resource is imported at its first use, so that the import of the client
    # stays cheap.

    @cached_property
    def users(self) -> Users:
        """Users: known people and anonymous visitors."""
        from .users import Users

        return Users(self._caller)

    @cached_property
    def companies(self) -> Companies:
        """Companies and their members."""
        from .companies import Companies

        return Companies(self._caller)

    @cached_property
    def events(self) -> Events:
        """Events of users."""
        from .events import Events

        return Events(self._caller)

    @cached_property
    def site_views(self) -> SiteViews:
        """Page views that a server reports."""
        from .events import SiteViews

        return SiteViews(self._caller)

    @cached_property
    def products(self) -> Products:
        """Products."""
        from .products import Products

        return Products(self._caller)

    @cached_property
    def product_events(self) -> ProductEvents:
        """Events of users with products."""
        from .products import ProductEvents

        return ProductEvents(self._caller)

    @cached_property
    def deals(self) -> Deals:
        """Deals; an order is a deal with lines."""
        from .deals import Deals

        return Deals(self._caller)

    @cached_property
    def attributes(self) -> Attributes:
        """Definitions of custom attributes."""
        from .attributes import Attributes

        return Attributes(self._caller)

    @cached_property
    def tags(self) -> Tags:
        """Tags of users and companies."""
        from .labels import Tags

        return Tags(self._caller)

    @cached_property
    def lists(self) -> Lists:
        """Lists of users."""
        from .labels import Lists

        return Lists(self._caller)

    @cached_property
    def segments(self) -> Segments:
        """Segments of users."""
        from .labels import Segments

        return Segments(self._caller)
