"""The visitor of a request, as handlers see it on ``request.state.usercom``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..core.commands import Event, EventType, PageHit, ProductEvent, ResetAuth, Update
from ..core.exceptions import InvalidCommand
from ..core.user_key import key_digest
from ..core.validation import Json, check_state, clean_attributes
from .request import without_key
from .session import VisitorSession

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..core.receipts import Receipt


class Appearance:
    """Appearance of the widget in one response."""

    _widget_state: str | None = None
    #: No snippet will go into this response.
    is_suppressed = False

    @property
    def widget_state(self) -> str | None:
        """How the widget appears in this response; None as configured.

        One of ``simple``, ``standard``, ``hidden`` and ``expanded``.
        """
        return self._widget_state

    @widget_state.setter
    def widget_state(self, state: str | None) -> None:
        try:
            self._widget_state = None if state is None else check_state(state)
        except ValueError as error:
            raise InvalidCommand("widget_state", str(error)) from None

    def suppress(self) -> None:
        """Leave the snippet out of this response."""
        self.is_suppressed = True


class Visitor(VisitorSession, Appearance):
    """The person behind a request.

    Each helper checks a command, enqueues it and returns a :class:`~usercom_asgi.Receipt`.
    The command is delivered to User.com in the background. A command that User.com could
    never accept raises :class:`~usercom_asgi.InvalidCommand`; the helpers raise nothing else.
    """

    def __repr__(self) -> str:
        return f"<Visitor {'known' if self.is_identified else 'anonymous'}>"

    def identify(self, /, **attributes: Any) -> None:
        """Set who this visitor is, for the page's widget and for the commands that follow.

        Accepts the standard attributes (``user_id``, ``email``, ``first_name``,
        ``phone_number``, ...), ``company={...}`` and custom ones. None is left out. Nothing
        is sent at once: the widget on the page sends it, or the next page hit.

        Raises:
            InvalidCommand: A name is reserved or a value cannot be sent.

        """
        self._identity = {**self._identity, **clean_attributes(attributes, truncate=self._truncate)}

    async def page_hit(
        self, /, url: str | None = None, event: Event | None = None, **attributes: Any
    ) -> Receipt:
        """Record a page view that the widget does not see: ``UE.pageHit``.

        The hit carries the attributes and the ``event``. The event belongs to the user that
        User.com finds by the hit. The URL defaults to that of the request. Without a user
        key and an identity the hit is skipped: each one would create a new user.

        Raises:
            InvalidCommand: A value cannot be sent.

        """
        await self.resolve_identity()
        command = PageHit(
            without_key(url) if isinstance(url, str) else url,
            event,
            {**self._identity, **attributes},
            truncate=self._truncate,
        )
        if self.is_prefetch:
            return self._delivery.skip(command, "a prefetch is no page view")
        if self._creates and self.key is None and not self.is_identified and self.reset is None:
            # Handled as a reset, because the widget would create the visitor a second time.
            return self._set_reset(self._create_visitor(command, key_digest(None)))
        return await self._enqueue_stored(command)

    async def event(self, name: str, /, **data: Any) -> Receipt:
        """Record an event: ``userengage('event.NAME', {...})``.

        Raises:
            InvalidCommand: The name is empty or a value cannot be sent.

        """
        command = Event(name, data, truncate=self._truncate)
        await self.resolve_identity()
        return await self._enqueue_stored(command)

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
        command = ProductEvent(
            product_id,
            event_type,
            name,
            description,
            attributes,
            custom_data or {},
            truncate=self._truncate,
        )
        await self.resolve_identity()
        return await self._enqueue_stored(command)

    async def update(self, /, **attributes: Any) -> Receipt:
        """Change attributes without a page view: ``userengage('client.update', {...})``.

        None is left out, and clears nothing.

        Raises:
            InvalidCommand: A name is reserved or a value cannot be sent.

        """
        command = Update(attributes, truncate=self._truncate)
        if not command.attributes:
            return self._delivery.skip(
                command, "there is nothing to change: an attribute that is None is left out"
            )
        await self.resolve_identity()
        return await self._enqueue_stored(command)

    async def reset_auth(self, /, **new_user: Any) -> Receipt:
        """End this visitor and start a new one, at logout: ``UE.resetAuth``.

        To switch users, pass the next user's attributes here: a later ``identify()`` sets
        them on the page only. The call to User.com starts at once, in the background. The
        response sets the new visitor's cookie, or expires the old one. Earlier commands keep
        the old key; later ones wait for the new key. After the response has started, the
        reset is skipped with a warning, because the browser cannot be changed.

        Raises:
            InvalidCommand: A name is reserved or a value cannot be sent.

        """
        command = ResetAuth(new_user, truncate=self._truncate)
        if self._login is not None:
            self._login.settle(cast("Mapping[str, Json]", command.attributes))
        return await self.reset_visitor(cast("Mapping[str, Json]", command.attributes))

    async def resolve_identity(self) -> None:
        """Call the ``identify`` hook, at most once a request."""
        if self._login is not None:
            await self._login.check(self)

    @property
    def _truncate(self) -> bool:
        return self._config.truncate_strings

    @property
    def _creates(self) -> bool:
        """True if the first page hit creates a visitor without a key."""
        return self._config.anonymous == "create" and not self.is_websocket
