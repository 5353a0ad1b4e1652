"""The visitor of a request, as handlers see it on ``request.state.usercom``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..core.commands import PageHit, ResetAuth, Update
from ..core.exceptions import InvalidCommand
from ..core.log import warn_once
from ..core.problems import Problems, report
from ..core.validation import Json, clean_attributes
from ..core.widget import check_state
from .addresses import without_key
from .browser import BrowserCommands
from .verbs import VisitorVerbs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..core.commands import Command, Event
    from ..core.receipts import Receipt
    from .session import VisitorSession


class Visitor(VisitorVerbs):
    """The person behind a request.

    Each awaited method checks a command, enqueues it and returns a
    :class:`~usercom_asgi.Receipt`. The command is delivered to User.com in the
    background. :attr:`sync` has the same methods for plain ``def`` handlers.

    A mistake of the code raises :class:`~usercom_asgi.InvalidCommand`: a wrong type,
    an unknown event type, a reserved name, a datetime without a time zone. A value
    that may come from a visitor does not raise: it is truncated or left out, with one
    line in the log. With ``UserComConfig(strict=True)`` it raises as well. The methods
    raise nothing else.
    """

    __slots__ = ("_session",)

    def __init__(self, session: VisitorSession) -> None:
        self._session = session

    def __repr__(self) -> str:
        return f"<Visitor {'known' if self.is_identified else 'anonymous'}>"

    @property
    def key(self) -> str | None:
        """The visitor's user key; None if there is none yet.

        It is a secret: it opens this visitor's chat. It never proves who
        the visitor is.
        """
        return self._session.key

    @property
    def user_id(self) -> str | None:
        """The application's own id of this person, if it is known."""
        return cast("str | None", self._session.identity.get("user_id"))

    @property
    def email(self) -> str | None:
        """The person's e-mail address, if it is known."""
        return cast("str | None", self._session.identity.get("email"))

    @property
    def is_identified(self) -> bool:
        """True if the ``user_id`` or the ``email`` is known.

        The user of the hook ``identify`` is known from the first helper on.
        """
        return self._session.is_identified

    @property
    def browser(self) -> BrowserCommands:
        """Commands for the widget in the page.

        Raises:
            InvalidCommand: On a websocket, which has no response to carry them.

        """
        return BrowserCommands(self._session.browser, strict=self._strict)

    @property
    def widget_state(self) -> str | None:
        """How the widget appears in this response; None as configured.

        One of ``simple``, ``standard``, ``hidden`` and ``expanded``.

        Raises:
            InvalidCommand: When set to anything else.

        """
        return self._session.widget_state

    @widget_state.setter
    def widget_state(self, state: str | None) -> None:
        try:
            self._session.widget_state = None if state is None else check_state(state)
        except ValueError as error:
            raise InvalidCommand("widget_state", str(error)) from None

    def suppress(self) -> None:
        """Leave the snippet out of this response."""
        self._session.is_suppressed = True

    def identify(self, /, **attributes: Any) -> None:
        """Set who this visitor is, for the page's widget and for the commands that follow.

        Accepts the standard attributes (``user_id``, ``email``, ``first_name``,
        ``phone_number``, ...), ``company={...}`` and custom ones. None is left out.
        Nothing is sent at once: the widget on the page sends it, or the next page
        hit. With a hook ``identify=`` that names another user, a new visitor begins,
        as at a login.

        Raises:
            InvalidCommand: A name is reserved or a value has a wrong type.

        """
        problems: Problems = []
        cleaned = clean_attributes(attributes, problems)
        report("identify()", problems, strict=self._strict)
        session = self._session
        is_unusable = any(each.field in ("user_id", "email") for each in problems)
        if is_unusable and (session.login is not None or session.is_identified):
            # The rest may be of another person than the one that is known.
            warn_once(
                "identify_ignored",
                "identify() without a usable user_id or email is ignored as a whole",
            )
        elif any(cleaned.get(name, known) != known for name, known in session.reset_for.items()):
            # The key of a reset belongs to the user that it was made for.
            warn_once(
                "identify_ignored",
                "identify() of a second user in one request is ignored: reset_auth() first",
            )
        else:
            session.identity = {**session.identity, **cleaned}

    async def page_hit(
        self, /, url: str | None = None, event: Event | None = None, **attributes: Any
    ) -> Receipt:
        """Record a page view that the widget does not see: ``UE.pageHit``.

        The hit carries the attributes and the ``event``. The event belongs to the user
        that User.com finds by the hit. The URL defaults to that of the request. Without
        a user key and an identity the hit is skipped: each one would create a new user.

        Raises:
            InvalidCommand: A value has a wrong type.

        """
        await self._session.resolve_identity()
        url = without_key(url) if isinstance(url, str) else url
        return await super().page_hit(url, event, **{**self._session.identity, **attributes})

    async def reset_auth(self, /, **new_user: Any) -> Receipt:
        """End this visitor and start a new one, at logout: ``UE.resetAuth``.

        To switch users, pass the next user's attributes here: a later ``identify()``
        sets them on the page only. The call to User.com starts at once, in the
        background. The response sets the new visitor's cookie, or expires the old one.
        Earlier commands keep the old key; later ones wait for the new key. After the
        response has started, the reset is skipped with a warning, because the browser
        cannot be changed.

        Raises:
            InvalidCommand: A name is reserved or a value has a wrong type.

        """
        return await super().reset_auth(**new_user)

    async def _send(self, command: Command) -> Receipt:
        session = self._session
        report(type(command).__name__, command.problems, strict=self._strict)
        if isinstance(command, ResetAuth):
            new_user = cast("Mapping[str, Json]", command.attributes)
            if session.login is not None:
                session.login.override(new_user)
            receipt = await session.reset_visitor(new_user)
            if session.config.uses_rest:  # then the details are a command as any other
                await receipt.stored()
            return receipt
        if isinstance(command, Update) and not command.attributes:
            why = (
                "no given value can be sent" if command.problems else "a value of None is left out"
            )
            return session.skip(command, f"there is nothing to change: {why}")
        await session.resolve_identity()
        if isinstance(command, PageHit):
            if session.request.is_prefetch:
                return session.skip(command, "a prefetch is no page view")
            is_unknown = session.key is None and not session.is_identified and session.reset is None
            if self._may_create_visitor and is_unknown:
                return session.create_visitor(command)
        return await session.enqueue(command)

    @property
    def _strict(self) -> bool:
        return self._session.config.strict

    @property
    def _loop(self) -> object | None:
        return self._session.delivery.loop

    @property
    def _may_create_visitor(self) -> bool:
        session = self._session
        return session.config.anonymous == "create" and not session.request.is_websocket


def session_of(visitor: Visitor) -> VisitorSession:
    """Return the state behind a visitor."""
    return visitor._session  # pyright: ignore[reportPrivateUsage]
