"""Per-request visitor state: user key, identity and resets."""

from __future__ import annotations

import logging
import time
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from ..core.commands import PageHit, ResetAuth
from ..core.envelope import RESET_DEADLINE, Envelope, PendingReset, ordering_key_for
from ..core.exceptions import InvalidCommand
from ..core.receipts import Receipt, Status
from ..core.user_key import COOKIE, ResetMarker, is_user_key, key_digest, new_ordering_key
from .browser import BrowserCommands, size
from .request import Connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope

    from ..core.commands import Command
    from ..core.config import UserComConfig
    from ..core.envelope import Delivery
    from ..core.validation import Json
    from .login import Login
    from .signed_cookies import FlashCookie, Said


class KeyHolder(Connection):
    """The visitor of a request, as far as the key goes."""

    # On the class, since most requests never touch them: a visitor is made for every one.
    # Set where what is said waits for the key that a reset brings.
    _ordering_key: str | None = None
    _reset: PendingReset | None = None
    _has_recalled = False
    # The receipts of this request whose answers name a key, each with the identity that it was sent for.
    _hits: tuple[tuple[Mapping[str, Json], Receipt], ...] = ()
    # The browser's key is somebody else's.
    _key_discarded = False

    _delivery: Delivery

    @property
    def key(self) -> str | None:
        """The visitor's user key; None if there is none, or none yet.

        Whoever holds it can open this visitor's chat: it is a secret, and never a proof of identity.
        """
        reset = self.reset
        if reset is not None:
            return reset.receipt.key
        return self.assigned_key or (None if self._key_discarded else self._cookie_key)

    @property
    def assigned_key(self) -> str | None:
        """The key that User.com has named in answer to a hit of this request, if it is another than the browser's."""
        named = next((hit.key for _, hit in reversed(self._hits) if hit.key is not None), None)
        return named if named != self._cookie_key else None

    def key_for(self, who: Mapping[str, Json]) -> str | None:
        """Return the key to send a command about ``who`` with: never one that an answer about another person has named."""
        if self.reset is not None:
            return self.reset.receipt.key
        named = next(
            (
                hit.key
                for names, hit in reversed(self._hits)
                if hit.key is not None and names == who
            ),
            None,
        )
        return named or (None if self._key_discarded else self._cookie_key)

    @property
    def _cookie_key(self) -> str | None:
        return next(
            (
                key
                for key in self.cookie_values(COOKIE)
                if is_user_key(key) and not self.has_ended(key)
            ),
            None,
        )

    @property
    def has_pending_hits(self) -> bool:
        """True if something was said whose answer may name another key than the browser's."""
        return bool(self._hits)

    @property
    def reset(self) -> PendingReset | None:
        """The reset that this request asks for; or an earlier one's, whose key the browser has not been given yet."""
        if self._reset is None and not self._has_recalled:
            self._has_recalled = True
            marker = self.marker
            if marker and self._cookie_key is None:
                self._reset = self._delivery.recall(marker.token)
                self._ordering_key = marker.token if self._reset else None
        return self._reset


# How a profile can be found without a key; the rest of what is known does not tell who somebody is.
_IDENTIFIERS = ("user_id", "email")


class Person:
    """What was told of a visitor."""

    _identity: Mapping[str, Json] = MappingProxyType({})

    @property
    def user_id(self) -> str | None:
        """The application's own id of this person, if it was told."""
        return cast("str | None", self._identity.get("user_id"))

    @property
    def email(self) -> str | None:
        """The person's e-mail address, if it was told."""
        return cast("str | None", self._identity.get("email"))

    @property
    def is_identified(self) -> bool:
        """True if it was said who this is, by ``user_id`` or ``email``."""
        return any(name in self._identity for name in _IDENTIFIERS)

    @property
    def attributes(self) -> Mapping[str, Json]:
        """What was told of this person, as User.com takes it."""
        return self._identity

    def set_default_identity(self, person: Mapping[str, Json]) -> None:
        """Say who is logged in; what the application has said itself counts more."""
        self._identity = {**person, **self._identity}

    def names(self) -> dict[str, Json]:
        """Return what finds this person's profile at User.com."""
        return {name: self._identity[name] for name in _IDENTIFIERS if name in self._identity}


logger = logging.getLogger("usercom_asgi")

_NO_KEY = "the visitor has no user key yet, and nobody is known: the widget's first ping makes it"
_LEFT = "the widget that runs in the page does it"
_FULL = (
    "too much waits for the page, and after a reset that the page makes nothing else can carry it"
)

# The requests of this process that have said something.
_REQUESTS = count(1)


class VisitorSession(KeyHolder, Person):
    """Who the visitor of a request is for User.com, from its first line to its last."""

    # On the class, since most requests never touch them: a visitor is made for every one.
    #: This request has asked for a reset.
    has_reset = False
    #: The response has begun.
    response_started = False
    #: This request has asked for a reset that is the widget's to make: it runs in the page that asks.
    reset_delegated = False
    #: The number of a request that has said something, and must tell the delivery when it has ended.
    request_number: int | None = None
    # A random name of this request, by which the delivery knows whose answer a user key came with.
    _source = ""
    _browser: BrowserCommands | None = None

    def __init__(
        self,
        scope: Scope,
        delivery: Delivery,
        config: UserComConfig,
        *,
        login: Login | None = None,
        flash: FlashCookie | None = None,
        has_consent: bool = True,
    ) -> None:
        super().__init__(scope)
        self._delivery = delivery
        self._config = config
        self._login = login
        self._flash = flash
        self._has_consent = has_consent

    @property
    def accessed(self) -> bool:
        """True if somebody wanted to know or to change who this is, or has said something to the page."""
        return self.has_reset or self._cookies is not None or self._browser is not None

    @property
    def browser(self) -> BrowserCommands:
        """What is said to the page, for its widget to do; see :class:`~usercom_asgi.visitor.browser.BrowserCommands`.

        Raises:
            InvalidCommand: On a websocket, which has no response for it to travel in.

        """
        if self._browser is None:
            if self.is_websocket:
                raise InvalidCommand(
                    "browser",
                    "a websocket has no response for it to travel in; use the visitor's own helpers",
                )
            self._browser = BrowserCommands(
                self._config, persistent=self._flash is not None, enabled=self._has_consent
            )
            self._browser.carried = size(self.carried)
            self._browser.response_started = self.response_started
        return self._browser

    @property
    def has_browser_commands(self) -> bool:
        """True if this request has said something to the page, or taken back what was."""
        return self._browser is not None or self.has_reset

    @property
    def carried(self) -> list[Said]:
        """What earlier responses have said to the page, if it is still the same visitor's."""
        if self._flash is None or self.has_reset or not self.has_flash_cookie():
            return []
        secure = self.is_secure
        return self._flash.load(
            self.read_cookie(self._flash.name(secure=secure)), self.key, secure=secure
        )

    @property
    def said(self) -> list[Said]:
        """What the response has to say to the page."""
        return [*self.carried, *self._browser.said] if self._browser is not None else self.carried

    def close(self) -> None:
        """Refuse browser commands from now on, because the response begins."""
        self.response_started = True
        if self._browser is not None:
            self._browser.response_started = True

    async def reset_visitor(
        self, new_user: Mapping[str, Json], *, was_noticed: bool = False
    ) -> Receipt:
        """End this visitor, and start the next one; see ``reset_auth``. ``was_noticed`` if nobody asked for it."""
        if self.is_websocket:
            return self._delivery.skip(
                ResetAuth(new_user),
                "a websocket cannot change the browser's cookie: reset in a request",
            )
        self._identity = new_user
        if self.has_reset and self._reset is not None:
            # One logout is one new visitor, however often it is said; but what is said of the new one counts.
            return (
                await self._enqueue_stored(PageHit(attributes=new_user))
                if new_user
                else self._reset.receipt
            )
        if self.response_started:
            logger.warning(
                "a reset comes too late: the response has begun, so the browser keeps its user key"
            )
            self.discard_cookie_key(new_user)
            return self._delivery.skip(
                ResetAuth(new_user), "the response has begun: reset before it"
            )
        # Who it is for belongs to it: two people must never be taken for one who has clicked twice.
        browser = self.fingerprint() if self.has_cookie else None
        click = f"{browser} {sorted(new_user.items())}" if browser else None
        earlier = self._same_click(click)
        # What was said to the page before a login is noticed is meant for whoever has logged in.
        kept = was_noticed and bool(new_user)
        if self.has_running_widget and self._has_consent:
            reset = self._delegate_reset(new_user, earlier, kept=kept)
        else:
            if self._browser is not None:
                self._browser.carried = 0
                self._browser.said = self._browser.said if kept else []
            reset = earlier or self._create_visitor(
                ResetAuth(new_user), key_digest(self.key or self.stale_key)
            )
        if click is not None:
            self._delivery.remember(click, reset)
        return self._set_reset(reset)

    def discard_cookie_key(self, person: Mapping[str, Json]) -> None:
        """Ignore the browser's key: it is of another person, and the cookie cannot be changed now."""
        self._identity = person
        self._key_discarded = True

    def _same_click(self, click: str | None) -> PendingReset | None:
        """Return the reset that this browser asked for seconds ago, with the same cookies."""
        reset = self._delivery.recall(click) if click else None
        return reset if reset and time.time() - reset.marker.at < RESET_DEADLINE else None

    def _create_visitor(self, command: ResetAuth | PageHit, old_key_digest: str) -> PendingReset:
        """Ask User.com for a new visitor, whose commands wait in their own queue for the key."""
        marker = ResetMarker.new(old_key_digest)
        self._ordering_key = marker.token
        reset = PendingReset(marker, self._submit(command, key=None, may_create=True))
        self._delivery.remember(marker.token, reset)
        return reset

    def _delegate_reset(
        self, new_user: Mapping[str, Json], earlier: PendingReset | None, *, kept: bool
    ) -> PendingReset:
        """Let the running widget create the new visitor: only it can end the chat that it shows."""
        reset = earlier
        if reset is None or reset.receipt.status is not Status.SKIPPED:
            reset = PendingReset(
                ResetMarker.new(key_digest(self.key or self.stale_key)),
                Receipt(Status.SKIPPED, _LEFT),
            )
        elif not kept:
            self.browser.said = []  # the other answer's reset may be over before these would be said
        if not self.browser.reset(
            new_user, self.names(), key_digest(reset.marker.token), keep=kept
        ):
            logger.warning(
                "a reset's details (%d) do not all fit into a header: some are left out",
                len(new_user),
            )
        self.reset_delegated = True
        return reset

    def _set_reset(self, reset: PendingReset) -> Receipt:
        self._reset, self.has_reset = reset, True
        self._ordering_key = reset.marker.token
        return reset.receipt

    async def _enqueue_stored(self, command: Command) -> Receipt:
        """Enqueue a command, and wait until it is on disk if the outbox has one."""
        receipt = self._enqueue(command)
        await receipt.stored()
        return receipt

    def _enqueue(self, command: Command) -> Receipt:
        if self.reset_delegated:
            return (
                Receipt(Status.SKIPPED, _LEFT)
                if self.browser.put(command)
                else Receipt(Status.DROPPED, _FULL)
            )
        who = self.names()
        key = self.key_for(who)
        if (
            self._reset is not None and not self._reset.receipt.is_final
        ):  # `key_for` has looked for one
            return self._submit(
                command, key=None
            )  # waits in the new visitor's lane, behind the reset
        if key is None and not who and self._has_consent:
            return self._delivery.skip(command, _NO_KEY)
        receipt = self._submit(command, key=key)
        if key is None or isinstance(command, PageHit):
            self._hits += ((who, receipt),)  # its answer names a key
        return receipt

    def _lane_of_reset(self, key: str | None) -> str | None:
        """Return the lane of the reset that created this browser's key: commands from before that answer may wait in it."""
        marker = self.marker if key is not None and self.has_reset_cookie() else None
        reset = self._delivery.recall(marker.token) if marker else None
        return marker.token if marker and reset and reset.receipt.key == key else None

    def _submit(self, command: Command, *, key: str | None, may_create: bool = False) -> Receipt:
        who = self.names()
        self._source = self._source or new_ordering_key()
        if self._ordering_key is None:
            # One lane for all of a request, whatever keys its answers name: that keeps the order.
            cookie_key = None if self._key_discarded else self._cookie_key
            self._ordering_key = (
                self._lane_of_reset(cookie_key) or cookie_key or ordering_key_for(who, self._source)
            )
        if self.request_number is None and not self.is_websocket:  # which may stay open for hours
            self.request_number = next(_REQUESTS)
        return self._delivery.submit(
            Envelope(
                command=command, ordering_key=self._ordering_key, key=key, source=self._source, identity=who, page=self.page(),
                may_create=may_create, request=self.request_number,
            )
        )  # fmt: skip
