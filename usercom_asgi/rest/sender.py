"""``RestSender``: the delivery's commands by the documented REST API.

Each command is one call that must not be repeated needlessly, after others that may be:
so a retry of the whole command does no harm. Nothing here merges users, and only a
visitor that this channel creates gets a key: REST cannot switch a browser to another
user.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar, cast

import anyio

from ..core.commands import Event, PageHit, ProductEvent, ResetAuth, Update
from ..core.envelope import JOB, SendResult
from ..core.exceptions import (
    DeliveryError,
    ForbiddenError,
    InvalidCommand,
    NotFoundError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedResponseError,
)
from ..core.log import warn_once
from ..core.user_key import is_user_key
from .call import UNSET
from .client import MAX_CONCURRENCY, UserComRest
from .failures import may_be_taken, unexpected
from .identifiers import CustomId, Email, Id, Key
from .sender_attributes import split_attributes
from .sender_user_ids import UserIds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from ..api.client import Transport
    from ..core.config import UserComConfig
    from ..core.envelope import Envelope
    from .sender_attributes import SplitAttributes, SplitCompany

T = TypeVar("T")

_NO_ONE = "the REST API needs the visitor's user_id or user key: an email alone proves nothing"


@asynccontextmanager
async def open_rest_sender(
    config: UserComConfig, *, transport: Transport | None = None
) -> AsyncGenerator[RestSender]:
    """Open a :class:`RestSender` with a client of its own.

    The client does not retry, because the delivery does. A command is several calls,
    and each of them counts for ``requests_per_second``.
    """
    if transport is None:  # now, because the first call comes while requests are served
        from ..api.client import load_certificates

        await load_certificates()
    rest = UserComRest.from_config(
        config,
        retries=0,
        concurrency=min(config.max_concurrency, MAX_CONCURRENCY),
        requests_per_second=config.requests_per_second,
        transport=transport,
    )
    async with rest:
        yield RestSender(rest, config.command_timeout)


class RestSender:
    """Sender of commands by the REST API; see :class:`.Sender`."""

    def __init__(self, rest: UserComRest, command_timeout: float) -> None:
        self._command_timeout = command_timeout
        self._rest = rest
        self._ids = UserIds(rest.users)

    async def send(self, envelope: Envelope, key: str | None) -> SendResult:
        """Send one command as the visitor with ``key``; see :class:`.Sender`."""
        try:
            # A broker takes a command over that takes longer than one call may.
            with anyio.move_on_after(self._command_timeout):
                return await self._send(envelope, _Person.of(envelope, key))
        except InvalidCommand as error:
            raise RejectedError(f"the REST API cannot take this command: {error}") from None
        except UnexpectedResponseError as error:
            if not error.is_page:
                raise
            # The page of a maintenance or of a proxy: the API itself answers JSON.
            raise UnavailableError(error.reason, status=error.status) from None
        raise UnavailableError(f"no response to all calls in {self._command_timeout:g} s")

    async def _send(self, envelope: Envelope, person: _Person) -> SendResult:
        command, at = envelope.command, int(envelope.created_at)
        if isinstance(command, PageHit):
            return await self._page_hit(envelope, command, person)
        if isinstance(command, ResetAuth):
            # The widget makes the browser's next visitor. Only the details of a known
            # person have a profile to go to.
            if "user_id" in person.known:
                await self._update(person, split_attributes(person.known))
            return SendResult()
        if isinstance(command, Update):
            await self._update(person, split_attributes(person.known))
        elif isinstance(command, Event):
            await self._with_user(
                person,
                lambda who: self._rest.events.create(who, command.name, command.data, timestamp=at),
            )
        else:
            await self._product_event(person, command, at)
        return SendResult()

    # Commands.

    async def _page_hit(self, envelope: Envelope, command: PageHit, person: _Person) -> SendResult:
        attributes = split_attributes(person.known)
        created: str | None = None
        if person.is_nobody and envelope.may_create:
            fields = dict(attributes.standard)
            # Added afterwards, because the owner of this email may be another person,
            # whose key the answer must not name.
            email = fields.pop("email", None)
            user = await self._rest.users.create(attributes=attributes.custom, **fields)
            # Checked, because it becomes a cookie.
            created = user.user_key if is_user_key(user.user_key) else None
            if email is not None and user.id is not None:
                with suppress(DeliveryError):  # the key must not be lost for it
                    await self._rest.users.update(Id(user.id), email=email)
            company = attributes.company
            if company is not None and user.id is not None:
                with suppress(DeliveryError, InvalidCommand):  # the key must not be lost for it
                    await self._join_company(Id(user.id), company)
        elif attributes:
            await self._update(person, attributes)
        url = command.url or envelope.page.url
        if url.startswith(("http://", "https://")) and (created or not envelope.may_create):
            viewed_at = datetime.fromtimestamp(envelope.created_at, UTC)
            if created is None:
                await self._view(person, url, viewed_at, has_event=command.event is not None)
            else:  # the key must not be lost for a view
                with suppress(DeliveryError):
                    await self._rest.site_views.create(Key(created), url, timestamp=viewed_at)
        return SendResult(created, next_command=command.event)

    async def _view(self, person: _Person, url: str, at: datetime, *, has_event: bool) -> None:
        """Record a view; a rejected one does not cost the event of the same command.

        The vendor does not document the route, and a user that the API has created
        may have no key yet.
        """
        who = person.custom_id or person.key
        if who is None:
            raise RejectedError(_NO_ONE)
        try:
            if isinstance(who, Key):
                await self._rest.site_views.create(who, url, timestamp=at)
            else:
                await self._with_user(person, lambda given: self._view_by_id(given, url, at))
        except RejectedError as error:
            is_about_token = isinstance(error, (UnauthorizedError, ForbiddenError))
            is_page = isinstance(error, UnexpectedResponseError) and error.is_page
            if is_about_token or is_page or not has_event:
                raise
            warn_once(
                "page_view_rejected",
                f"User.com rejected a page view ({type(error).__name__}), sending events of "
                "page hits without their view",
            )

    async def _view_by_id(self, who: Id | CustomId, url: str, at: datetime) -> None:
        user = await self._rest.users.get(who)
        if isinstance(who, CustomId) and user.custom_id not in (who.value, None):
            # A duplicate response on a kept connection would be another user's.
            raise unexpected("GET", "/users-by-id/:custom_id/", 200, "with another user")
        if user.user_key is None:
            raise unexpected("GET", "/users-by-id/:custom_id/", 200, "with a user without a key")
        await self._rest.site_views.create(Key(user.user_key), url, timestamp=at)

    async def _product_event(self, person: _Person, command: ProductEvent, at: int) -> None:
        product = CustomId(command.product_id)
        data = command.payload()
        del data["product_id"], data["event_type"]

        def record(who: Id | CustomId) -> Awaitable[object]:
            return self._rest.product_events.create(
                who, product, command.event_type, data, timestamp=at
            )

        async def record_or_create_product(who: Id | CustomId) -> None:
            try:
                await record(who)
            except NotFoundError:  # of the product or of the user, it does not reveal which
                name = command.name or command.product_id  # which the API requires
                await self._rest.products.ensure(product, name=name)
                await record(who)

        await self._with_user(person, record_or_create_product)

    async def _update(self, person: _Person, attributes: SplitAttributes) -> None:
        if attributes.standard:
            await self._with_user(
                person, lambda who: self._rest.users.update(who, **attributes.standard)
            )
        if attributes.custom:
            await self._with_user(
                person, lambda who: self._rest.users.set_attributes(who, attributes.custom)
            )
        company = attributes.company
        if company is not None:
            await self._with_user(person, lambda who: self._join_company(who, company))

    async def _join_company(self, who: Id | CustomId, company: SplitCompany) -> None:
        found = await self._rest.companies.upsert(
            company.custom_id, attributes=company.custom, **company.standard
        )
        if not (isinstance(who, Id) and who.value in found.employees):
            await self._rest.companies.add_member(CustomId(company.custom_id), who)

    # Users.

    async def _with_user(self, person: _Person, call: Callable[[Id | CustomId], Awaitable[T]]) -> T:
        """Make a call about a user; once more, if User.com did not know them.

        If the visitor became this user, another process may have given the same visitor
        to another user at that moment, in a browser that two people share.
        """
        custom_id, has_become = person.custom_id, False
        try:
            return await call(await self._who(person))
        except NotFoundError:
            if custom_id is None:
                if person.looked_up is not None:
                    self._ids.forget(person.looked_up)
            elif "/" in custom_id.value:
                self._ids.forget(custom_id)
            else:
                has_become = await self._create_user(custom_id, person)
        try:
            return await call(await self._who(person))
        except NotFoundError:
            if custom_id is None or not has_become:
                raise
            number = await self._id_of(custom_id, person)
            if number is None:
                raise
            return await call(Id(number))

    async def _who(self, person: _Person) -> Id | CustomId:
        custom_id = person.custom_id
        if custom_id is not None and "/" in custom_id.value:
            # Servers decode %2F before they look for the route, and find none.
            return Id(await self._ids.get(custom_id, lambda: self._id_of(custom_id, person)))
        if custom_id is not None:
            return custom_id
        name = person.looked_up
        if name is None:
            raise RejectedError(_NO_ONE)
        try:
            return Id(await self._ids.get(name))
        except NotFoundError:
            if not isinstance(name, Email):
                raise
        email = name
        return Id(await self._ids.get(email, lambda: self._create_by_email(email)))

    async def _create_by_email(self, email: Email) -> int | None:
        """Create a user; return the id of the answer.

        A look-up might not find them yet, and the command would create another one.
        """
        created = await self._rest.users.create(email=email.value)
        return (await self._rest.users.get(email)).id if created.id is None else created.id

    async def _id_of(self, custom_id: CustomId, person: _Person) -> int | None:
        """Return the id of the user with a custom id, who is created if necessary."""
        number = await self._upsert(custom_id, person)
        if number is None:
            return None
        user = await self._rest.users.get(number)
        if user.custom_id not in (custom_id.value, None):
            # The answer to another call: an upsert may go over a kept connection.
            raise UnavailableError("an upsert was answered with another user", not_sent=True)
        return number

    async def _create_user(self, custom_id: CustomId, person: _Person) -> bool:
        """Create the user with this custom id; return True if a visitor became them.

        A visitor that has been anonymous so far becomes that user, as by the widget's
        own page hit. If another person had this browser, nothing is merged.
        """
        try:
            if person.key is not None and await self._become(custom_id, person.key, person):
                return True
        except NotFoundError:
            pass
        except RejectedError as error:
            if not may_be_taken(error):
                raise
        await self._upsert(custom_id, person)
        return False

    async def _become(self, custom_id: CustomId, key: Key, person: _Person) -> bool:
        """Give the visitor with this key the custom id, unless it is another person."""
        visitor = await self._rest.users.get(key)
        is_other = (
            visitor.user_key != key.value  # merged, or the answer to another call
            or visitor.custom_id is not None
            or visitor.email not in (None, "", person.email)
        )
        if visitor.id is None or is_other:
            return False
        email = UNSET if person.email is None else person.email
        await self._rest.users.update(visitor.id, custom_id=custom_id.value, email=email)
        return True

    async def _upsert(self, custom_id: CustomId, person: _Person) -> int | None:
        email = UNSET if person.email is None else person.email
        return (await self._rest.users.upsert(custom_id, email=email)).id


class _Person:
    """Who a command is about."""

    __slots__ = ("custom_id", "key", "known", "looked_up")

    def __init__(
        self, known: Mapping[str, object], key: str | None, *, is_email_trusted: bool
    ) -> None:
        #: What the command and its request know of them.
        self.known = known
        self.key = Key(key) if key is not None else None
        user_id, email = known.get("user_id"), known.get("email")
        self.custom_id = CustomId(str(user_id)) if user_id is not None else None
        #: What their id is looked up by.
        self.looked_up: Key | Email | None = self.key
        if self.looked_up is None and is_email_trusted and isinstance(email, str):
            self.looked_up = Email(email)

    @classmethod
    def of(cls, envelope: Envelope, key: str | None) -> _Person:
        attributes = getattr(envelope.command, "attributes", {})
        is_product = isinstance(envelope.command, ProductEvent)
        known = {**envelope.identity, **({} if is_product else attributes)}
        return cls(known, key, is_email_trusted=envelope.source == JOB)

    @property
    def email(self) -> str | None:
        return cast("str | None", self.known.get("email"))

    @property
    def is_nobody(self) -> bool:
        return self.custom_id is None and self.looked_up is None
