"""Visitor of one request: user key, identity, resets, and the commands that depend on them."""

from __future__ import annotations

import logging
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..core.commands import PageHit, ResetAuth, Update
from ..core.envelope import RESET_DEADLINE, Envelope, PendingReset, ordering_key_for
from ..core.exceptions import InvalidCommand
from ..core.receipts import Receipt, Status
from ..core.user_key import ResetMarker, key_digest, new_ordering_key
from .browser import BrowserQueue
from .login import LoginChange
from .named_keys import NamedKeys
from .request import RequestInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope

    from ..core.commands import Command
    from ..core.config import UserComConfig
    from ..core.envelope import Delivery
    from ..core.validation import Json
    from .addresses import PublicSite
    from .browser import BrowserCall
    from .login import LoginCheck, LoginTracker
    from .placement import Placement
    from .signed_cookies import FlashCookie

logger = logging.getLogger("usercom_asgi")
# Attributes by which User.com finds a profile without a user key.
_IDENTIFIERS = ("user_id", "email")
_NO_IDENTITY: Mapping[str, Json] = MappingProxyType({})

NO_KEY = "the visitor has no user key and no identity yet: the widget's first ping creates both"
_DELEGATED = "it is left to the widget in the page"
_LEFT_TO_WIDGET = "the widget of the next page creates the new visitor"
_NO_ROOM = "too many commands wait for the page, and after its reset only the page can send it"

# Numbers the requests of this process that have submitted a command.
_request_numbers = count(1)


class VisitorSession:
    """The state behind a :class:`~usercom_asgi.Visitor`, for one request or websocket.

    A key that User.com names in an answer serves later commands about the same person only;
    see ``delivery/key_ring.py``.
    """

    # Defaults on the class make a session cheap: every request has one, and few use it.
    identity: Mapping[str, Json] = _NO_IDENTITY  #: what the application has given, checked
    widget_state: str | None = None  #: how the widget appears in this response; None as configured
    is_suppressed = False  #: True if this response goes out without the snippet
    has_reset = False  #: True once this request has reset the visitor
    reset_delegated = False  #: True if the widget in the page makes that reset
    placement: Placement | None = None  #: the snippet that the application places by hand

    _ordering_key: str | None = None
    _reset: PendingReset | None = None
    reset_for: Mapping[str, Json] = _NO_IDENTITY  #: identifiers of the reset's new user
    _has_recalled = False
    _named_keys: NamedKeys | None = None  # keys that User.com names, once a command asks for one
    _key_discarded = False  # True if the browser's key belongs to another person
    _source = ""  # random name of this request, to which the delivery binds its keys

    def __init__(
        self,
        scope: Scope,
        delivery: Delivery,
        config: UserComConfig,
        site: PublicSite | None = None,
        flash: FlashCookie | None = None,
        *,
        has_consent: bool = True,
    ) -> None:
        # A copy, because routers and our own `Conditions` change theirs. Without the state: it holds
        # the visitor, and the garbage collector would have to break that cycle at every request.
        self._scope = dict(scope)
        self._scope["state"] = None
        self._site = site
        self.config = config
        self.delivery = delivery
        self.has_consent = has_consent
        self.is_closed = False  #: True once a reset or a browser command comes too late
        self.request_number: int | None = None  #: once it has submitted a command
        self.login: LoginTracker | None = None  #: of a site with a hook ``identify``
        self._flash = flash
        self._request: RequestInfo | None = None
        self._browser: BrowserQueue | None = None

    # Every response asks, and CPython 3.11 calls a method at a lower price than a property.
    def may_change_response(self) -> bool:
        """Return whether a response of any type may need a cookie or a command for the browser."""
        return (
            self.login is not None
            or self._browser is not None
            or (self._request is not None and self._request.are_cookies_parsed)
            or (self._flash is not None and self.has_flash())
        )

    @property
    def request(self) -> RequestInfo:
        """Data of the request, made at its first use: many responses need none."""
        if self._request is None:
            self._request = RequestInfo(self._scope, self._site)
        return self._request

    def has_flash(self) -> bool:
        """Return whether the browser sent commands of an earlier response."""
        return self._flash is not None and self.request.has_flash_cookie()

    # The user key.

    @property
    def key(self) -> str | None:
        """User key of the visitor; None if there is none yet."""
        if self.reset is not None:
            return self.reset.receipt.key
        return self.assigned_key or self._usable_cookie_key

    @property
    def assigned_key(self) -> str | None:
        """Key that User.com has named in this request, if it is not the browser's."""
        named = self._named_keys.newest() if self._named_keys is not None else None
        return named if named != self.request.cookie_key else None

    @property
    def awaits_key(self) -> bool:
        """True once a command of this request has asked User.com for a key."""
        return self._named_keys is not None

    @property
    def reset(self) -> PendingReset | None:
        """The reset of this request, or an earlier one whose key the browser does not have yet."""
        if self._reset is None and not self._has_recalled:
            self._has_recalled = True
            marker = self.request.reset_marker
            if marker and self.request.cookie_key is None:
                self._reset = self.delivery.recall(marker.token)
                self._ordering_key = marker.token if self._reset else None
        return self._reset

    @property
    def _usable_cookie_key(self) -> str | None:
        return None if self._key_discarded else self.request.cookie_key

    def _key_for(self, identifiers: Mapping[str, Json]) -> str | None:
        """Return the key for a command about this person: never one that is named for another."""
        if self.reset is not None:
            return self.reset.receipt.key
        named = self._named_keys.newest_for(identifiers) if self._named_keys is not None else None
        return named or self._usable_cookie_key

    # The identity.

    @property
    def is_identified(self) -> bool:
        """True if the ``user_id`` or the ``email`` is known."""
        return bool(self.identifiers())

    def identifiers(self) -> dict[str, Json]:
        """Return the attributes by which User.com finds this person."""
        return {name: self.identity[name] for name in _IDENTIFIERS if name in self.identity}

    async def resolve_identity(self) -> None:
        """Call the ``identify`` hook, at most once a request, and act on a login or logout."""
        if self.login is None:
            return
        is_new = self.has_reset or self._key_discarded  # later attributes are of the new visitor
        found = await self.login.check(_NO_IDENTITY if is_new else self.identity)
        if found is not None:
            self._apply_login(found)

    def _apply_login(self, found: LoginCheck) -> None:
        is_other_visitor = found.change is LoginChange.SWITCHED or (
            # Anonymous history stays with the person who logs in, unless configured otherwise.
            found.change is LoginChange.LOGGED_IN
            and self.config.rotate_on_login
            and self.key is not None
        )
        if not is_other_visitor:
            # The application's own `identify()` takes precedence over the hook.
            self.identity = {**found.user, **self.identity}
        elif self.request.is_websocket or self.is_closed:
            self._discard_cookie_key(found.user)
        else:
            is_login = found.change is LoginChange.LOGGED_IN
            self.identity = {**found.user, **self.identity} if is_login else found.user
            # Browser commands before a login is detected are for the person who logs in.
            self._start_reset(self.identity, keep_calls=bool(found.user))

    def _discard_cookie_key(self, user: Mapping[str, Json]) -> None:
        """Ignore the browser's key: it is of another person, and the cookie cannot change now."""
        self.identity = user
        self._key_discarded = True

    # Commands to the page.

    @property
    def browser(self) -> BrowserQueue:
        """Commands that this response brings to the page.

        Raises:
            InvalidCommand: On a websocket, which has no response to carry them.

        """
        if self._browser is None:
            if self.request.is_websocket:
                raise InvalidCommand(
                    "browser",
                    "must be used in a request: a websocket has no response that could carry it, "
                    "so use the visitor's own methods",
                )
            self._browser = BrowserQueue(
                self.config,
                persistent=self._flash is not None,
                enabled=self.has_consent,
                is_closed=self.is_closed,
            )
        return self._browser

    @property
    def has_browser_commands(self) -> bool:
        """True if this request has changed the commands that wait for the page."""
        return self._browser is not None or self.has_reset

    def browser_calls(self) -> list[BrowserCall]:
        """Return the calls for the page: those of earlier responses, then our own."""
        own = self._browser.calls if self._browser is not None else []
        if self._flash is None or self.has_reset or not self.has_flash():
            return [*own]
        secure = self.request.is_secure
        value = self.request.read_cookie(self._flash.name(secure=secure))
        return [*self._flash.load(value, self.key, secure=secure), *own]

    def close(self) -> None:
        """Accept no more browser commands, because the response starts."""
        self.is_closed = True
        if self._browser is not None:
            self._browser.close()

    # Resets.

    async def reset_visitor(self, new_user: Mapping[str, Json]) -> Receipt:
        """End this visitor and start a new one; see ``reset_auth``."""
        if self.request.is_websocket:
            return self.skip(
                ResetAuth(new_user),
                "a websocket cannot change the browser's cookie: reset in a request",
            )
        self.identity = new_user
        if self.has_reset and self._reset is not None:
            # One logout is one new visitor. Later details still reach User.com.
            details = PageHit(attributes=new_user) if new_user else None
            return await self.enqueue(details) if details else self._reset.receipt
        if self.is_closed:
            text = "The visitor cannot be reset: the response has started, so it keeps its key"
            logger.warning(text, extra={"usercom_event": "reset_too_late"})
            self._discard_cookie_key(new_user)
            return self.skip(ResetAuth(new_user), "the response has started: reset before it")
        return self._start_reset(new_user, keep_calls=False)

    def create_visitor(self, command: PageHit) -> Receipt:
        """Let a page hit create the visitor, as by a reset: the widget would create another."""
        return self._set_reset(self._submit_reset(command, key_digest(None)))

    def _start_reset(self, new_user: Mapping[str, Json], *, keep_calls: bool) -> Receipt:
        # The new user is part of the name, so that two people are never taken for a double click.
        browser = self.request.browser_fingerprint() if self.request.has_cookie else None
        click = f"{browser} {sorted(new_user.items())}" if browser else None
        earlier = self.delivery.recall(click) if click else None
        if earlier is not None and not earlier.marker.is_recent(RESET_DEADLINE):
            earlier = None  # another logout, not a second click
        if self.request.has_running_widget and self.has_consent:
            reset = self._delegate_reset(new_user, earlier, keep_calls=keep_calls)
        else:
            if self._browser is not None:
                self._browser.restart(keep_calls=keep_calls)
            # By REST, the widget makes the visitor, and nothing is waited for.
            reset = earlier or (
                self._skip_reset(_LEFT_TO_WIDGET)
                if self.config.uses_rest
                else self._submit_reset(ResetAuth(new_user), self._old_key_digest())
            )
        if click is not None:
            self.delivery.remember(click, reset)
        receipt = self._set_reset(reset)
        if receipt.reason == _LEFT_TO_WIDGET and "user_id" in new_user and reset is not earlier:
            return self._enqueue(Update(new_user))
        return receipt

    def _old_key_digest(self) -> str:
        return key_digest(self.key or self.request.stale_key)

    def _submit_reset(self, command: ResetAuth | PageHit, old_key_digest: str) -> PendingReset:
        """Ask User.com for a new visitor, whose commands wait in their own queue for the key."""
        marker = ResetMarker.new(old_key_digest)
        self._ordering_key = marker.token
        reset = PendingReset(marker, self._submit(command, key=None, may_create=True))
        self.delivery.remember(marker.token, reset)
        return reset

    def _skip_reset(self, reason: str) -> PendingReset:
        receipt = Receipt(Status.SKIPPED, reason)
        return PendingReset(ResetMarker.new(self._old_key_digest()), receipt)

    def _delegate_reset(
        self, new_user: Mapping[str, Json], earlier: PendingReset | None, *, keep_calls: bool
    ) -> PendingReset:
        """Let the running widget create the new visitor: only it can end the chat that it shows."""
        reset = earlier
        if reset is None or reset.receipt.status is not Status.SKIPPED:
            reset = self._skip_reset(_DELEGATED)
        elif not keep_calls:
            # The reset of the first click's response may be over before these would run.
            self.browser.restart(keep_calls=False)
        reset_id = key_digest(reset.marker.token)
        if not self.browser.enqueue_reset(
            new_user, self.identifiers(), reset_id, keep_calls=keep_calls
        ):
            text = "The %d details of a reset do not fit into a header, leaving some out"
            logger.warning(text, len(new_user), extra={"usercom_event": "reset_details_left_out"})
        self.reset_delegated = True
        return reset

    def _set_reset(self, reset: PendingReset) -> Receipt:
        self._reset, self.has_reset = reset, True
        self.reset_for = self.identifiers()
        self._ordering_key = reset.marker.token
        return reset.receipt

    # Commands to User.com.

    def skip(self, command: Command, reason: str) -> Receipt:
        """Return the receipt of a command that is not sent."""
        return self.delivery.skip(command, reason, self.request.path)

    async def enqueue(self, command: Command) -> Receipt:
        """Enqueue a command, and wait until it is on disk if the outbox has one."""
        receipt = self._enqueue(command)
        await receipt.stored()
        return receipt

    def _enqueue(self, command: Command) -> Receipt:
        if self.reset_delegated:
            if self.browser.try_enqueue(command):
                return Receipt(Status.SKIPPED, _DELEGATED)
            return Receipt(Status.DROPPED, _NO_ROOM)
        identifiers = self.identifiers()
        key = self._key_for(identifiers)
        if self._reset is not None and not self._reset.receipt.is_final:
            return self._submit(command, key=None)  # waits for the key in the reset's queue
        if key is None and not identifiers and self.has_consent:
            return self.skip(command, NO_KEY)
        receipt = self._submit(command, key=key)
        if key is None or isinstance(command, PageHit):  # then the answer names a key
            self._named_keys = self._named_keys or NamedKeys()
            self._named_keys.add(identifiers, receipt)
        return receipt

    def _submit(self, command: Command, *, key: str | None, may_create: bool = False) -> Receipt:
        identifiers = self.identifiers()
        self._source = self._source or new_ordering_key()
        if self._ordering_key is None:
            # One queue for the whole request, whatever keys its answers name, keeps the order.
            cookie_key = self._usable_cookie_key
            self._ordering_key = (
                self._queue_of_reset(cookie_key)
                or cookie_key
                or ordering_key_for(identifiers, self._source)
            )
        # A websocket has no number, because it may stay open for hours.
        if self.request_number is None and not self.request.is_websocket:
            self.request_number = next(_request_numbers)
        return self.delivery.submit(
            Envelope(
                command=command,
                ordering_key=self._ordering_key,
                key=key,
                source=self._source,
                identity=identifiers,
                page=self.request.page(),
                may_create=may_create,
                request=self.request_number,
            )
        )

    def _queue_of_reset(self, key: str | None) -> str | None:
        """Return the queue of the reset that created this key, where commands may still wait."""
        if key is None or not self.request.has_reset_cookie():
            return None
        marker = self.request.reset_marker
        reset = self.delivery.recall(marker.token) if marker else None
        return marker.token if marker and reset and reset.receipt.key == key else None
