"""Plans how a response carries browser commands: snippet, header or cookie."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from ..core.log import warn_once
from ..page.headers import set_no_store, values, without
from ..page.snippet import BRIDGE_HEADER
from ..visitor.browser import MAX_BYTES, RESET, drop_before_reset, limit, split_initial_reset

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from starlette.types import Message

    from ..core.validation import Json
    from ..page.headers import HeaderList
    from ..visitor.browser import BrowserCall
    from ..visitor.request import RequestInfo
    from ..visitor.session import VisitorSession
    from ..visitor.signed_cookies import FlashCookie

logger = logging.getLogger("usercom_asgi")

#: The event that htmx triggers for ``HX-Trigger``. ``page/js/usercom.js``
#: listens to it.
_EVENT = "usercom"


@dataclass(slots=True, repr=False, eq=False)
class BrowserCommandPlan:
    """The changes to a response that carry the browser commands."""

    #: The response's headers, if one of them carries the commands.
    headers: HeaderList | None = None
    #: ``Set-Cookie`` values of a page with the snippet.
    page_cookies: list[bytes] = field(default_factory=list[bytes])
    #: ``Set-Cookie`` values of any other response.
    other_cookies: list[bytes] = field(default_factory=list[bytes])
    #: The calls in the snippet.
    calls: list[BrowserCall] = field(default_factory=list["BrowserCall"])
    #: The attributes of the new visitor after a reset, for the snippet.
    identity: Mapping[str, Json] | None = None


def plan_browser_commands(
    session: VisitorSession,
    flash: FlashCookie | None,
    start: Message,
    *,
    is_page: bool,
    placed: Container[object] | None = None,
) -> BrowserCommandPlan:
    """Return how the response carries the commands; without a way, they wait in the cookie.

    A page that a script fetches carries them, and they wait as well: its scripts may
    run or not. Each command has an id, by which the browser runs it once. ``placed`` holds
    the ids that a snippet placed by hand knows; later commands wait for another page.
    """
    request = session.request
    secure = request.is_secure
    has_flash = flash is not None and request.has_flash_cookie()
    expired = [flash.expire(secure=secure)] if flash is not None and has_flash else []
    is_changed, calls = session.has_browser_commands, session.browser_calls()
    is_shown = is_page and request.is_navigation
    headers = None
    if calls and (not is_shown or request.is_boosted):
        headers = _headers_with_calls(request, start, calls)
        if headers is not None and not is_shown:
            return BrowserCommandPlan(headers, page_cookies=expired, other_cookies=expired)
    calls = drop_before_reset(calls)
    page_calls, identity = split_initial_reset(calls)
    if request.is_page_swap and identity is not None:
        # The new page inherits the running widget, which has to run the reset.
        page_calls, identity = calls, None
    cookies: list[bytes] = []  # commands of earlier responses wait in the cookie already
    if is_changed or not calls:
        if flash is not None and calls:
            waiting = limit(calls) if is_shown else _limit(calls)
            cookies = [flash.set_cookie(waiting, session.key, secure=secure)]
        elif flash is not None:
            cookies = expired
        elif not is_shown and (page_calls or identity):
            logger.warning(
                "%d browser commands are lost: without secret_keys they cannot wait for the next "
                "page",
                len(calls),
                extra={"usercom_event": "browser_commands_lost", "usercom_count": len(calls)},
            )
    if is_shown:
        late = [] if placed is None else [each for each in calls if each[0] not in placed]
        if flash is not None and late:
            expired = [flash.set_cookie(_limit(late), session.key, secure=secure)]
        return BrowserCommandPlan(headers, expired, cookies, page_calls, identity)
    # The visitor of a reset begins on a page that is shown for certain.
    may_run = is_page and request.may_be_shown and all(each[1] != RESET for each in calls)
    return BrowserCommandPlan(None, cookies, cookies, calls if may_run else [])


def _headers_with_calls(
    request: RequestInfo, start: Message, calls: list[BrowserCall]
) -> HeaderList | None:
    """Return headers that bring the calls to the page that asks; None if it cannot run them."""
    headers: HeaderList = start["headers"]
    refreshes = b"true" in (value.strip().lower() for value in values(headers, b"hx-refresh"))
    if 300 <= start["status"] < 400 or refreshes or values(headers, b"hx-redirect"):
        return None  # the browser leaves the page
    if request.uses_bridge and not request.is_boosted:
        text = json.dumps(_limit(calls), separators=(",", ":"))
        return set_no_store([*headers, (BRIDGE_HEADER.encode(), text.encode("ascii"))])
    if request.is_htmx or request.is_boosted:
        return _headers_with_trigger(headers, _trigger_for(request, start["status"]), calls)
    return None


def _limit(calls: list[BrowserCall]) -> list[BrowserCall]:
    kept = limit(calls)
    if len(kept) < len(calls):
        warn_once(
            "browser_commands_dropped",
            f"Commands of visitor.browser exceed the {MAX_BYTES} bytes that can wait for a page, "
            "dropping the oldest: use the visitor's own methods for what must not be lost",
        )
    return kept


def _trigger_for(request: RequestInfo, status: int) -> bytes:
    """Return the header for events that run when the page is swapped, if it is.

    htmx 4 has one header, and reads it after the swap. Earlier ones swap no errors.
    """
    is_before_swap = request.is_boosted and b"hx-request-type" not in request.headers
    return b"hx-trigger-after-swap" if is_before_swap and status < 400 else b"hx-trigger"


def _headers_with_trigger(
    headers: HeaderList, name: bytes, calls: list[BrowserCall]
) -> HeaderList | None:
    """Return headers with our event in ``HX-Trigger``, after the application's own events.

    Return None if the header's value cannot be extended.
    """
    given = b", ".join(values(headers, name)).decode("latin-1").strip()
    try:
        events: object = (
            json.loads(given) if given.startswith("{") else dict.fromkeys(_event_names(given), "")
        )
    except ValueError:
        events = None
    if not isinstance(events, dict) or _EVENT in events:
        return None
    # The target is the body, because htmx may have removed the element that sent
    # the request. Our event is the last, because htmx 2 gives its target to the
    # events that follow.
    ours = {_EVENT: {"target": "body", "commands": _limit(calls)}}
    text = json.dumps({**cast("dict[str, object]", events), **ours}, separators=(",", ":"))
    return set_no_store([*without(headers, {name}), (name, text.encode("ascii"))])


def _event_names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()]
