"""How one visitor ends and the next begins, and what is said of either: :class:`Succession` (design.md, "Reset, precisely")."""

from __future__ import annotations

import logging
import time
from itertools import count
from typing import TYPE_CHECKING

from .browser import BrowserChannel, size
from .commands import PageHit, ResetAuth
from .envelope import RESET_DEADLINE, Envelope, lane_of
from .errors import InvalidCommand
from .identity import ResetMarker, digest, new_lane
from .keys import KeyHolder
from .person import Person
from .receipts import Receipt, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope

    from .attributes import Json
    from .commands import Command
    from .config import UserComConfig
    from .envelope import Delivery
    from .flash import Flash, Said
    from .identity import Reset
    from .login import Login

logger = logging.getLogger("usercom_asgi")

_NO_KEY = "the visitor has no user key yet, and nobody is known: the widget's first ping makes it"
_LEFT = "the widget that runs in the page does it"
_FULL = "too much waits for the page, and after a reset that the page makes nothing else can carry it"

# The requests of this process that have said something.
_REQUESTS = count(1)


class Succession(KeyHolder, Person):
    """Who the visitor of a request is for User.com, from its first line to its last."""

    # On the class, since most requests never touch them: a visitor is made for every one.
    #: This request has asked for a reset.
    has_reset = False
    #: The response has begun.
    is_sealed = False
    #: This request has asked for a reset that is the widget's to make: it runs in the page that asks.
    is_left_to_page = False
    #: The number of a request that has said something, and must tell the delivery when it has ended.
    request_number: int | None = None
    # A random name of this request, by which the delivery knows whose answer a user key came with.
    _source = ""
    _browser: BrowserChannel | None = None

    def __init__(
        self,
        scope: Scope,
        delivery: Delivery,
        config: UserComConfig,
        *,
        login: Login | None = None,
        flash: Flash | None = None,
        has_consent: bool = True,
    ) -> None:
        super().__init__(scope)
        self._delivery = delivery
        self._config = config
        self._login = login
        self._flash = flash
        self._has_consent = has_consent

    @property
    def was_asked(self) -> bool:
        """True if somebody wanted to know or to change who this is, or has said something to the page."""
        return self.has_reset or self._cookies is not None or self._browser is not None

    @property
    def browser(self) -> BrowserChannel:
        """What is said to the page, for its widget to do; see :class:`~usercom_asgi.browser.BrowserChannel`.

        Raises:
            InvalidCommand: On a websocket, which has no response for it to travel in.

        """
        if self._browser is None:
            if self.is_websocket:
                raise InvalidCommand(
                    "browser", "a websocket has no response for it to travel in; use the visitor's own helpers"
                )
            self._browser = BrowserChannel(self._config, can_travel=self._flash is not None, is_heard=self._has_consent)
            self._browser.carried = size(self.carried)
            self._browser.is_sealed = self.is_sealed
        return self._browser

    @property
    def has_said(self) -> bool:
        """True if this request has said something to the page, or taken back what was."""
        return self._browser is not None or self.has_reset

    @property
    def carried(self) -> list[Said]:
        """What earlier responses have said to the page, if it is still the same visitor's."""
        if self._flash is None or self.has_reset or not self.bears_flash():
            return []
        secure = self.is_secure
        return self._flash.load(self.read_cookie(self._flash.name(secure=secure)), self.key, secure=secure)

    @property
    def said(self) -> list[Said]:
        """What the response has to say to the page."""
        return [*self.carried, *self._browser.said] if self._browser is not None else self.carried

    def seal(self) -> None:
        """The response begins: nothing is said to its page any more."""
        self.is_sealed = True
        if self._browser is not None:
            self._browser.is_sealed = True

    async def start_anew(self, new_user: Mapping[str, Json], *, was_noticed: bool = False) -> Receipt:
        """End this visitor, and start the next one; see ``reset_auth``. ``was_noticed`` if nobody asked for it."""
        if self.is_websocket:
            return self._delivery.skip(
                ResetAuth(new_user), "a websocket cannot change the browser's cookie: reset in a request"
            )
        self._identity = new_user
        if self.has_reset and self._reset is not None:
            # One logout is one new visitor, however often it is said; but what is said of the new one counts.
            return await self._tell(PageHit(attributes=new_user)) if new_user else self._reset[1]
        if self.is_sealed:
            logger.warning("a reset comes too late: the response has begun, so the browser keeps its user key")
            self.disown(new_user)
            return self._delivery.skip(ResetAuth(new_user), "the response has begun: reset before it")
        # Who it is for belongs to it: two people must never be taken for one who has clicked twice.
        browser = self.fingerprint() if self.has_cookie else None
        click = f"{browser} {sorted(new_user.items())}" if browser else None
        earlier = self._same_click(click)
        # What was said to the page before a login is noticed is meant for whoever has logged in.
        kept = was_noticed and bool(new_user)
        if self.has_running_widget and self._has_consent:
            reset = self._leave_to_page(new_user, earlier, kept=kept)
        else:
            if self._browser is not None:
                self._browser.carried = 0
                self._browser.said = self._browser.said if kept else []
            reset = earlier or self._begin_anew(ResetAuth(new_user), digest(self.key or self.old_key))
        if click is not None:
            self._delivery.remember(click, reset)
        return self._become(reset)

    def disown(self, person: Mapping[str, Json]) -> None:
        """Let go of the browser's key: it is somebody else's, and there is no way any more to change it."""
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

    def _leave_to_page(self, new_user: Mapping[str, Json], earlier: Reset | None, *, kept: bool) -> Reset:
        """Have the running widget make the new visitor: nothing else ends the chat that is open in it (step 4)."""
        reset = earlier
        if reset is None or reset[1].status is not Status.SKIPPED:
            reset = ResetMarker.new(digest(self.key or self.old_key)), Receipt(Status.SKIPPED, _LEFT)
        elif not kept:
            self.browser.said = []  # the other answer's reset may be over before these would be said
        if not self.browser.reset(new_user, self.names(), digest(reset[0].token), keep=kept):
            logger.warning("a reset's details (%d) do not all fit into a header: some are left out", len(new_user))
        self.is_left_to_page = True
        return reset

    def _become(self, reset: Reset) -> Receipt:
        self._reset, self.has_reset = reset, True
        self._lane = reset[0].token
        return reset[1]

    async def _tell(self, command: Command) -> Receipt:
        """Say it; where accepted means written to disk, it is when this returns."""
        receipt = self._say(command)
        await receipt.stored()
        return receipt

    def _say(self, command: Command) -> Receipt:
        if self.is_left_to_page:
            return Receipt(Status.SKIPPED, _LEFT) if self.browser.put(command) else Receipt(Status.DROPPED, _FULL)
        who = self.names()
        key = self.key_for(who)
        if self._reset is not None and not self._reset[1].is_final:  # `key_for` has looked for one
            return self._submit(command, key=None)  # waits in the new visitor's lane, behind the reset
        if key is None and not who and self._has_consent:
            return self._delivery.skip(command, _NO_KEY)
        receipt = self._submit(command, key=key)
        if key is None or isinstance(command, PageHit):
            self._hits += ((who, receipt),)  # its answer names a key
        return receipt

    def _lane_of_reset(self, key: str | None) -> str | None:
        """Return the lane of the reset that created this browser's key: commands from before that answer may wait in it."""
        marker = self.marker if key is not None and self.bears_marker() else None
        reset = self._delivery.recall(marker.token) if marker else None
        return marker.token if marker and reset and reset[1].key == key else None

    def _submit(self, command: Command, *, key: str | None, may_create: bool = False) -> Receipt:
        who = self.names()
        self._source = self._source or new_lane()
        if self._lane is None:
            # One lane for all of a request, whatever keys its answers name: that keeps the order.
            cookie_key = None if self._is_disowned else self._cookie_key
            self._lane = self._lane_of_reset(cookie_key) or cookie_key or lane_of(who, self._source)
        if self.request_number is None and not self.is_websocket:  # which may stay open for hours
            self.request_number = next(_REQUESTS)
        return self._delivery.submit(
            Envelope(
                command=command, lane=self._lane, key=key, source=self._source, identity=who, page=self.page(),
                may_create=may_create, request=self.request_number,
            )
        )  # fmt: skip
