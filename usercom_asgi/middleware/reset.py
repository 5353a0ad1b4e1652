"""Plans what a response does about a reset (docs/architecture.md).

Until ``RESET_DEADLINE`` a reset is ours: our call makes the new visitor, and a page of that browser goes without the widget
while the answer is out, or the widget's first ping would make a second one. After it the widget makes the new visitor.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..core.envelope import RESET_DEADLINE
from ..core.receipts import Status
from ..core.user_key import COOKIE, key_digest
from ..visitor.cookies import (
    EPOCH,
    Epoch,
    cookie_home,
    cookie_homes,
    expire_key,
    expire_marker,
    expire_twins,
    set_epoch,
    set_key,
    set_marker,
)

if TYPE_CHECKING:
    from ..core.config import UserComConfig
    from ..core.envelope import Delivery
    from ..core.user_key import ResetMarker
    from ..visitor.visitor import Visitor


@dataclass(slots=True, repr=False)
class ResetPlan:
    """What a response has to carry so that the browser becomes the new visitor."""

    #: ``Set-Cookie`` values for this response.
    cookies: list[bytes] = field(default_factory=list[bytes])
    #: More of them, should it turn out to be a page with the snippet.
    page_cookies: list[bytes] = field(default_factory=list[bytes])
    #: An old key may still lie around where the widget is about to be loaded; this is the right one, if known.
    new_key: str | None = None
    homes: list[str | None] = field(default_factory=list["str | None"])
    #: The identity that this response's page is made for.
    epoch: str = ""
    #: The new visitor is still being made: no widget on this page.
    hold: bool = False


async def plan_reset(
    visitor: Visitor, delivery: Delivery, config: UserComConfig, *, is_page: bool
) -> ResetPlan | None:
    """Return what the response must do, or None where no reset is concerned."""
    marker = visitor.marker
    reset = visitor.reset if marker or visitor.has_reset else None
    if reset is None and marker is None:
        return None
    if reset is not None and not reset.receipt.is_final and (visitor.has_reset or is_page):
        await delivery.wait_for(reset.receipt, config.reset_timeout)

    place = _Place.of(visitor, config)
    transition = ResetPlan(new_key=visitor.key, homes=place.homes())
    named = visitor.assigned_key if reset is None else None
    if named is not None and marker is not None:
        transition.cookies = place.cookies(named)
        if marker.ended(named):  # the same person is back
            transition.cookies += place.without_marker()
    elif visitor.has_reset or reset is not None or visitor.stale_key:
        transition.cookies = place.cookies(reset.receipt.key if reset else visitor.key)
    if visitor.has_reset and reset is not None:
        # Where the page's widget makes the new visitor there is no answer of ours to wait for: its time is over at once.
        marker = (
            replace(reset.marker, at=0) if reset.receipt.status is Status.SKIPPED else reset.marker
        )
        transition.cookies.append(set_marker(marker, secure=place.secure))
    elif visitor.is_navigation:
        transition.page_cookies += place.without_marker()
    epoch = _epoch_after(visitor, marker)
    transition.epoch = epoch.id
    transition.cookies += place.epoch(epoch)
    transition.hold = _is_ours(visitor)
    return transition


def key_cookies(visitor: Visitor, config: UserComConfig) -> list[bytes]:
    """Return the ``Set-Cookie`` values for a key that User.com has named in this request."""
    if visitor.assigned_key is None:
        return []
    place = _Place.of(visitor, config)
    return [
        *place.cookies(visitor.assigned_key),
        *place.epoch(visitor.epoch.reviving(visitor.assigned_key)),
    ]


def repaired_key_cookies(visitor: Visitor, config: UserComConfig) -> list[bytes]:
    """Return the ``Set-Cookie`` values that end a key that has come back, and keep the one beside it that has not ended."""
    return _Place.of(visitor, config).cookies(visitor.key)


def expired_key_cookies(visitor: Visitor, config: UserComConfig) -> list[bytes]:
    """Return the ``Set-Cookie`` values that end the visitor's key, and make no new one."""
    return _Place.of(visitor, config).cookies(None)


def _epoch_after(visitor: Visitor, marker: ResetMarker | None) -> Epoch:
    """Return the identity that the browser has from this response on, and the keys that have ended in it."""
    epoch = visitor.epoch
    if marker is None:
        return epoch
    if visitor.has_reset or visitor.stale_key:
        epoch = epoch.ending(visitor.sent_keys())
    # What the running widget does is not done yet: the page that does it changes the identity itself, and is not surprised.
    is_left = visitor.reset_delegated or (visitor.is_page_swap and visitor.has_flash_cookie())
    if not is_left:
        epoch = replace(epoch, id=key_digest(marker.token))
    return epoch.reviving(visitor.key) if visitor.key else epoch


def _is_ours(visitor: Visitor) -> bool:
    """Tell whether our own call may still make the new visitor."""
    reset = visitor.reset
    # Without a receipt another process made the reset, and may be waiting for its answer.
    marker = visitor.marker if reset is None else None if reset.receipt.is_final else reset.marker
    return (
        visitor.key is None and marker is not None and 0 <= time.time() - marker.at < RESET_DEADLINE
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where this response's cookies live."""

    host: str
    secure: bool
    domain: str | None
    path: str
    #: The cookies that came twice: they live in two places.
    twins: frozenset[str]
    known: Epoch

    @classmethod
    def of(cls, visitor: Visitor, config: UserComConfig) -> _Place:
        twins = frozenset(name for name in (COOKIE, EPOCH) if len(visitor.cookie_values(name)) > 1)
        return cls(
            visitor.host,
            visitor.is_secure,
            config.cookie_domain,
            visitor.path,
            twins,
            visitor.epoch,
        )

    def cookies(self, key: str | None) -> list[bytes]:
        twins = self._twins(COOKIE)
        if key is None:
            return [*twins, *expire_key(host=self.host, secure=self.secure, domain=self.domain)]
        return [*twins, *set_key(key, host=self.host, secure=self.secure, domain=self.domain)]

    def epoch(self, epoch: Epoch) -> list[bytes]:
        if epoch == self.known and EPOCH not in self.twins:
            return []
        return [
            *self._twins(EPOCH),
            set_epoch(epoch, host=self.host, secure=self.secure, domain=self.domain),
        ]

    def without_marker(self) -> list[bytes]:
        return list(expire_marker(host=self.host, secure=self.secure, domain=self.domain))

    def _twins(self, name: str) -> list[bytes]:
        if name not in self.twins:
            return []
        home = cookie_home(self.host, self.domain)
        ended = expire_twins(name, host=self.host, secure=self.secure, domain=home, path=self.path)
        return list(ended)

    def homes(self) -> list[str | None]:
        home = cookie_home(self.host, self.domain)
        return [home, *(each for each in cookie_homes(self.host, home) if each != home)]
