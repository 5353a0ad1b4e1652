"""Plans what a response does about a reset (docs/reset.md).

For ``RESET_DEADLINE`` seconds the server creates the new visitor. Until its call is
answered, that browser's pages go out without the widget, whose first ping would create
a second visitor. After the deadline, the widget creates the new visitor.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..core.envelope import RESET_DEADLINE
from ..core.log import INTERNAL_ERROR
from ..core.receipts import Status
from ..core.user_key import COOKIE, key_digest
from ..page.headers import header_list, with_cookies
from ..visitor.cookies import EPOCH_COOKIE, CookieWriter

if TYPE_CHECKING:
    from starlette.types import Message, Send

    from ..core.config import UserComConfig
    from ..core.envelope import Delivery, PendingReset
    from ..core.user_key import ResetMarker
    from ..visitor.cookies import Epoch
    from ..visitor.session import VisitorSession

logger = logging.getLogger("usercom_asgi")


@dataclass(slots=True, repr=False, eq=False)
class ResetPlan:
    """The changes to a response by which the browser becomes the new visitor."""

    #: ``Set-Cookie`` values of the response.
    cookies: list[bytes] = field(default_factory=list[bytes])
    #: Further ones if it is a page with the snippet.
    page_cookies: list[bytes] = field(default_factory=list[bytes])
    #: The right key, if known. The page puts it in the place of old keys that it finds.
    new_key: str | None = None
    #: The domains under which the page looks for old keys.
    domains: list[str | None] = field(default_factory=list["str | None"])
    #: The identity that this response's page is made for.
    epoch: str = ""
    #: The server is still creating the new visitor, so the page goes
    #: without the widget.
    suppress_widget: bool = False


async def plan_reset(
    session: VisitorSession, delivery: Delivery, config: UserComConfig, *, is_page: bool
) -> ResetPlan | None:
    """Return what the response must do, or None if there is no reset."""
    reset = current_reset(session)
    if reset is not None and not reset.receipt.is_final and (session.has_reset or is_page):
        await delivery.wait_for(reset.receipt, config.reset_timeout)
    return plan_reset_now(session, config)


def current_reset(session: VisitorSession) -> PendingReset | None:
    """Return the reset that the response is about, of this request or of an earlier one."""
    return session.reset if session.has_reset or session.request.reset_marker else None


def plan_reset_now(session: VisitorSession, config: UserComConfig) -> ResetPlan | None:
    """Return what the response must do, by what is known now."""
    request = session.request
    marker, reset = request.reset_marker, current_reset(session)
    if reset is None and marker is None:
        return None
    cookies = _cookie_writer(session, config)
    plan = ResetPlan(new_key=session.key, domains=cookies.domains)
    assigned_key = session.assigned_key if reset is None else None
    if assigned_key is not None and marker is not None:
        plan.cookies = cookies.set_key(assigned_key)
        if marker.matches(assigned_key):  # the same person is back
            plan.cookies += cookies.expire_reset_marker()
    elif session.has_reset or reset is not None or request.stale_key:
        plan.cookies = cookies.set_key(reset.receipt.key if reset else session.key)
    if session.has_reset and reset is not None:
        # If the widget creates the new visitor, the server waits for nothing: its
        # time is over.
        is_delegated = reset.receipt.status is Status.SKIPPED
        marker = replace(reset.marker, at=0) if is_delegated else reset.marker
        plan.cookies.append(cookies.set_reset_marker(marker))
    elif request.is_navigation:
        plan.page_cookies += cookies.expire_reset_marker()
    epoch = _epoch_after(session, marker)
    plan.epoch = epoch.id
    plan.cookies += _epoch_cookies(session, cookies, epoch)
    plan.suppress_widget = _is_creating(session)
    return plan


def key_cookies(session: VisitorSession, config: UserComConfig) -> list[bytes]:
    """Return the ``Set-Cookie`` values for a key that User.com has named in this request."""
    key = session.assigned_key
    if key is None:
        return []
    cookies = _cookie_writer(session, config)
    epoch = session.request.epoch.with_revived(key)
    return [*cookies.set_key(key), *_epoch_cookies(session, cookies, epoch)]


def repaired_key_cookies(session: VisitorSession, config: UserComConfig) -> list[bytes]:
    """Return ``Set-Cookie`` values that expire an ended key, and keep a valid one beside it."""
    return _cookie_writer(session, config).set_key(session.key)


def expired_key_cookies(session: VisitorSession, config: UserComConfig) -> list[bytes]:
    """Return the ``Set-Cookie`` values that expire the visitor's key."""
    return _cookie_writer(session, config).set_key(None)


def expire_key_on_send(send: Send, session: VisitorSession, config: UserComConfig) -> Send:
    """Return a ``send`` that expires the key at a logout of a visitor without consent."""

    async def send_on(message: Message) -> None:
        try:
            if (
                message["type"] == "http.response.start"
                and session.has_reset
                and session.request.has_cookie
            ):
                message = with_cookies(
                    {**message, "headers": header_list(message)},
                    expired_key_cookies(session, config),
                )
        except Exception:  # an error of ours must not break the application's response
            logger.exception(
                "A response is sent unchanged: usercom-asgi raised an error", extra=INTERNAL_ERROR
            )
        await send(message)

    return send_on


def _epoch_after(session: VisitorSession, marker: ResetMarker | None) -> Epoch:
    """Return the identity of the browser after this response, and the keys that have ended."""
    request = session.request
    epoch = request.epoch
    if marker is None:
        return epoch
    if session.has_reset or request.stale_key:
        epoch = epoch.with_ended(request.sent_keys())
    # The running widget has not made its reset yet. Its page changes
    # the identity itself.
    is_widgets = session.reset_delegated or (request.is_page_swap and request.has_flash_cookie())
    if not is_widgets:
        epoch = replace(epoch, id=key_digest(marker.token))
    return epoch.with_revived(session.key) if session.key else epoch


def _is_creating(session: VisitorSession) -> bool:
    """Return whether a call of the server may still create the new visitor."""
    reset = session.reset
    if reset is not None and reset.receipt.is_final:
        return False
    # Without a receipt, another process made the reset, and may be waiting
    # for its answer.
    marker = session.request.reset_marker if reset is None else reset.marker
    return session.key is None and marker is not None and marker.is_recent(RESET_DEADLINE)


def _epoch_cookies(session: VisitorSession, cookies: CookieWriter, epoch: Epoch) -> list[bytes]:
    is_known = epoch == session.request.epoch and EPOCH_COOKIE not in cookies.duplicates
    return [] if is_known else cookies.set_epoch(epoch)


def _cookie_writer(session: VisitorSession, config: UserComConfig) -> CookieWriter:
    request = session.request
    names = (COOKIE, EPOCH_COOKIE)
    return CookieWriter(
        host=request.host,
        secure=request.is_secure,
        domain=config.cookie_domain,
        path=request.path,
        duplicates=frozenset(name for name in names if len(request.cookie_values(name)) > 1),
    )
