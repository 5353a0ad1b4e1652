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

from ..core.commands import Event, PageHit, ProductEvent, ResetAuth, Update
from ..core.envelope import JOB, SendResult
from ..core.exceptions import (
    BadRequestError,
    DeliveryError,
    InvalidCommand,
    NotFoundError,
    RejectedError,
)
from .call import UNSET
from .client import UserComRest
from .identifiers import CustomId, Email, Id, Key
from .spelling import split_attributes
from .user_ids import UserIds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from ..api.client import Transport
    from ..core.config import UserComConfig
    from ..core.envelope import Envelope
    from .spelling import SplitAttributes, SplitCompany

T = TypeVar("T")

_NO_ONE = "the REST API needs the visitor's user_id or user key: an email alone proves nothing"


@asynccontextmanager
async def open_rest_sender(
    config: UserComConfig, *, transport: Transport | None = None
) -> AsyncGenerator[RestSender]:
    """Open a :class:`RestSender` with a client of its own.

    The client does not retry, because the delivery does.
    """
    rest = UserComRest.from_config(
        config, retries=0, concurrency=config.max_concurrency, transport=transport
    )
    async with rest:
        yield RestSender(rest)


class RestSender:
    """Sender of commands by the REST API; see :class:`.Sender`."""

    def __init__(self, rest: UserComRest) -> None:
        self._rest = rest
        self._ids = UserIds(rest.users)

    async def send(self, envelope: Envelope, key: str | None) -> SendResult:
        """Send one command as the visitor with ``key``; see :class:`.Sender`."""
        try:
            return await self._send(envelope, _Person.of(envelope, key))
        except InvalidCommand as error:
            raise RejectedError(f"the REST API cannot take it: {error}") from None

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
            user = await self._rest.users.create(
                attributes=attributes.custom, **attributes.standard
            )
            created = user.user_key
        elif attributes:
            await self._update(person, attributes)
        url = command.url or envelope.page.url
        if url.startswith(("http://", "https://")) and (created or not envelope.may_create):
            viewed_at = datetime.fromtimestamp(envelope.created_at, UTC)
            if created is None:
                await self._view(person, url, viewed_at)
            else:  # the key must not be lost for a view
                with suppress(DeliveryError):
                    await self._rest.site_views.create(Key(created), url, timestamp=viewed_at)
        return SendResult(created, next_command=command.event)

    async def _view(self, person: _Person, url: str, at: datetime) -> None:
        who = person.custom_id or person.key
        if who is None:
            raise RejectedError(_NO_ONE)
        if isinstance(who, Key):
            await self._rest.site_views.create(who, url, timestamp=at)
        else:
            await self._with_user(
                person, lambda who: self._rest.site_views.create(who, url, timestamp=at)
            )

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
        """Make a call about a user; once more, if User.com did not know them."""
        try:
            return await call(await self._who(person))
        except NotFoundError:
            if person.custom_id is not None:
                await self._create_user(person)
            elif person.name is not None:
                self._ids.forget(person.name)
            return await call(await self._who(person))

    async def _who(self, person: _Person) -> Id | CustomId:
        if person.custom_id is not None:
            return person.custom_id
        if person.name is None:
            raise RejectedError(_NO_ONE)
        try:
            return Id(await self._ids.get(person.name))
        except NotFoundError:
            if not isinstance(person.name, Email):
                raise
        # The next look-up finds them, so a repeated call does not create another.
        await self._rest.users.create(email=person.name.value)
        return Id(await self._ids.get(person.name))

    async def _create_user(self, person: _Person) -> None:
        """Create the user with this custom id.

        A visitor that has been anonymous so far becomes that user, as by the widget's
        own page hit. If another person had this browser, nothing is merged.
        """
        if person.custom_id is None:
            raise RejectedError(_NO_ONE)
        email = cast("str | None", person.known.get("email"))
        field = email if email is not None else UNSET
        if person.key is not None:
            with suppress(NotFoundError, BadRequestError):  # 400: the custom id is taken now
                visitor = await self._rest.users.get(person.key)
                is_other = visitor.custom_id is not None or visitor.email not in (None, "", email)
                if visitor.id is not None and not is_other:
                    await self._rest.users.update(
                        visitor.id, custom_id=person.custom_id.value, email=field
                    )
                    return
        await self._rest.users.update_or_create(person.custom_id, email=field)


class _Person:
    """Who a command is about."""

    __slots__ = ("custom_id", "key", "known", "name")

    def __init__(
        self, known: Mapping[str, object], key: str | None, *, is_email_trusted: bool
    ) -> None:
        #: What the command and its request know of them.
        self.known = known
        self.key = Key(key) if key is not None else None
        user_id, email = known.get("user_id"), known.get("email")
        self.custom_id = CustomId(str(user_id)) if user_id is not None else None
        #: By which their id is looked up.
        self.name: Key | Email | None = self.key
        if self.name is None and is_email_trusted and isinstance(email, str):
            self.name = Email(email)

    @classmethod
    def of(cls, envelope: Envelope, key: str | None) -> _Person:
        attributes = getattr(envelope.command, "attributes", {})
        is_product = isinstance(envelope.command, ProductEvent)
        known = {**envelope.identity, **({} if is_product else attributes)}
        return cls(known, key, is_email_trusted=envelope.source == JOB)

    @property
    def is_nobody(self) -> bool:
        return self.custom_id is None and self.name is None
