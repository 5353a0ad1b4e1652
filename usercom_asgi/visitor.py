"""The handle on ``request.state.usercom``: who the visitor is, and what is said of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from .attributes import Json, clean_attributes
from .commands import Event, EventType, PageHit, ProductEvent, ResetAuth, Update
from .connection import Connection
from .context import without_key
from .envelope import RESET_DEADLINE, Envelope, lane_of
from .identity import COOKIE, ResetMarker, digest, is_user_key
from .person import Person
from .receipts import Receipt, Status
from .widget import Appearance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope

    from .commands import Command
    from .envelope import Delivery
    from .identity import Reset
    from .login import Login

_NO_KEY = "the visitor has no user key yet, and nobody is known: the widget's first ping makes it"


class Visitor(Connection, Person, Appearance):
    """The person behind a request.

    The helpers are awaited and do not wait: they check what is said, accept it, and return a :class:`~usercom_asgi.Receipt`;
    the delivery to User.com goes on in the background. They raise
    :class:`~usercom_asgi.InvalidCommand` for what User.com could never take, and otherwise cannot fail.
    """

    # On the class, since most requests never touch them: a visitor is made for every one.
    _lane: str | None = None
    _reset: Reset | None = None
    _has_recalled = False
    #: This request has asked for a reset.
    has_reset = False
    _hits: tuple[Receipt, ...] = ()
    #: A visitor without a key is given one by the first page hit, instead of being skipped.
    creates = False
    _is_disowned = False

    def __init__(self, scope: Scope, delivery: Delivery, login: Login | None = None) -> None:
        super().__init__(scope)
        self._delivery = delivery
        self._login = login

    def __repr__(self) -> str:
        return f"<Visitor {'known' if self.is_identified else 'anonymous'}>"

    @property
    def key(self) -> str | None:
        """The visitor's user key; None if there is none, or none yet.

        Whoever holds it can open this visitor's chat: it is a secret, and never a proof of identity.
        """
        reset = self.reset
        if reset is not None:
            return reset[1].key
        return self.named_key or (None if self._is_disowned else self._cookie_key)

    @property
    def named_key(self) -> str | None:
        """The key that User.com has named in answer to a hit of this request, if it is another than the browser's."""
        named = next((hit.key for hit in reversed(self._hits) if hit.key is not None), None)
        return named if named != self._cookie_key else None

    @property
    def _cookie_key(self) -> str | None:
        key, marker = self.read_cookie(COOKIE), self.marker
        return key if is_user_key(key) and not (marker and marker.ended(key)) else None

    @property
    def was_asked(self) -> bool:
        """True if somebody wanted to know or to change who this is."""
        return self.has_reset or self._cookies is not None

    @property
    def has_hit(self) -> bool:
        """True if a page hit was said: its answer may name another key than the browser's."""
        return bool(self._hits)

    @property
    def reset(self) -> Reset | None:
        """The reset that this request asks for; or an earlier one's, whose key the browser has not been given yet."""
        if self._reset is None and not self._has_recalled:
            self._has_recalled = True
            marker, key = self.marker, self.read_cookie(COOKIE)
            if marker and (not is_user_key(key) or marker.ended(key)):
                self._reset = self._delivery.recall(marker.token)
                self._lane = marker.token if self._reset else None
        return self._reset

    def identify(self, /, **attributes: Any) -> None:
        """Say who this is: for this response's ``window.civchat``, and for the commands that follow.

        Takes the standard attributes (``user_id``, ``email``, ``first_name``, ``phone_number``, ...), ``company={...}`` and
        any custom ones; None is left out. Nothing is sent by this alone: the widget on the page sends it, or the next hit.

        Raises:
            InvalidCommand: A name is reserved or a value cannot be sent.

        """
        self._identity = {**self._identity, **clean_attributes(attributes)}

    async def page_hit(self, /, url: str | None = None, event: Event | None = None, **attributes: Any) -> Receipt:
        """Record a page view that the widget does not see, and attributes with it: ``UE.pageHit``.

        An ``event`` travels in the same hit: it belongs to whoever User.com takes the visitor for after it. The URL is the
        request's own unless given. Without a user key and a known user the hit is skipped: it would make a new user each time.

        Raises:
            InvalidCommand: A value cannot be sent.

        """
        await self.know()
        if self.is_prefetch:
            return Receipt(Status.SKIPPED, "a prefetch is no page view")
        command = PageHit(without_key(url) if isinstance(url, str) else url, event, {**self._identity, **attributes})
        if self.creates and self.key is None and not self.is_identified and self.reset is None:
            # A reset without anybody before it: the same care is due, or the widget makes the visitor a second time.
            receipt = self._become(self._begin_anew(command, digest(None)))
        else:
            receipt = self._say(command)
        self._hits += (receipt,)
        return receipt

    async def event(self, name: str, /, **data: Any) -> Receipt:
        """Record an event: ``userengage('event.NAME', {...})``.

        Raises:
            InvalidCommand: The name is empty or a value cannot be sent.

        """
        command = Event(name, data)
        await self.know()
        return self._say(command)

    async def product_event(
        self,
        product_id: str,
        event_type: EventType | str,
        *,
        name: str | None = None,
        description: str | None = None,
        custom_data: Mapping[str, object] | None = None,
        **attributes: Any,
    ) -> Receipt:
        """Record what happened to a product: ``userengage('product_event', {...})``.

        Raises:
            InvalidCommand: The product is missing, the type is none of the sixteen, or a value cannot be sent.

        """
        command = ProductEvent(product_id, event_type, name, description, attributes, custom_data or {})
        await self.know()
        return self._say(command)

    async def update(self, /, **attributes: Any) -> Receipt:
        """Change attributes without a page view: ``userengage('client.update', {...})``.

        Raises:
            InvalidCommand: A name is reserved or a value cannot be sent.

        """
        command = Update(attributes)
        await self.know()
        return self._say(command)

    async def reset_auth(self, /, **new_user: Any) -> Receipt:
        """End this visitor, and start the one whose details are given: ``UE.resetAuth``. To be called at logout.

        To switch from one person to the next, give the next one's details here: ``identify()`` after it says them on the
        page only. The call to User.com starts at once and is not waited for. The response gives the browser the new visitor's
        cookie, or none; commands said before this keep the old key, and those said after it wait for the new one.

        Raises:
            InvalidCommand: A name is reserved or a value cannot be sent.

        """
        command = ResetAuth(new_user)
        if self._login is not None:
            self._login.settle(cast("Mapping[str, Json]", command.attributes))
        return await self.start_anew(cast("Mapping[str, Json]", command.attributes))

    async def start_anew(self, new_user: Mapping[str, Json]) -> Receipt:
        """End this visitor, and start the next one; see :meth:`reset_auth`."""
        if self.is_websocket:
            return Receipt(Status.SKIPPED, "a websocket cannot change the browser's cookie: reset in a request")
        self._identity = new_user
        if self.has_reset and self._reset is not None:
            # One logout is one new visitor, however often it is said; but what is said of the new one counts.
            return self._say(PageHit(attributes=new_user)) if new_user else self._reset[1]
        # Who it is for belongs to it: two people must never be taken for one who has clicked twice.
        click = f"{self.fingerprint()} {sorted(new_user.items())}" if self.has_cookie else None
        reset = self._same_click(click) or self._begin_anew(ResetAuth(new_user), digest(self.key or self.old_key))
        if click is not None:
            self._delivery.remember(click, reset)
        return self._become(reset)

    async def know(self) -> None:
        """Find out who is logged in, if the application has told how."""
        if self._login is not None:
            await self._login.look(self)

    def disown(self, person: Mapping[str, Json]) -> None:
        """Let go of the browser's key: it is somebody else's, and a websocket has no way to change it."""
        self._identity = person
        self._is_disowned = True

    def _same_click(self, click: str | None) -> Reset | None:
        """Return the reset of a logout that was clicked twice: the same browser with the same cookies, seconds ago."""
        reset = self._delivery.recall(click) if click else None
        return reset if reset and time.time() - reset[0].at < RESET_DEADLINE else None

    def _begin_anew(self, command: ResetAuth | PageHit, old_key_digest: str) -> Reset:
        """Ask User.com for a new visitor, whose commands wait in a lane of their own until the key is there."""
        marker = ResetMarker.new(old_key_digest)
        self._lane = marker.token
        reset = (marker, self._submit(command, key=None, may_create=True))
        self._delivery.remember(marker.token, reset)
        return reset

    def _become(self, reset: Reset) -> Receipt:
        self._reset, self.has_reset = reset, True
        self._lane = reset[0].token
        return reset[1]

    def _say(self, command: Command) -> Receipt:
        key = self.key
        if self._reset is not None and not self._reset[1].is_final:  # `key` has looked for one
            return self._submit(command, key=None)  # waits in the new visitor's lane, behind the reset
        if key is None and not self.is_identified:
            return Receipt(Status.SKIPPED, _NO_KEY)
        return self._submit(command, key=key)

    def _submit(self, command: Command, *, key: str | None, may_create: bool = False) -> Receipt:
        who = self.names()
        lane = self._lane or lane_of(key, who)
        return self._delivery.submit(
            Envelope(command=command, lane=lane, key=key, identity=who, page=self.page(), may_create=may_create)
        )
