"""How what was said to the page leaves with a response: in its snippet, in a header that the page hears, or in the cookie."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from ..page.headers import set_no_store, values, without
from ..page.snippet import BRIDGE_HEADER
from ..visitor.browser import drop_before_reset, split_initial_reset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Message

    from ..core.validation import Json
    from ..page.headers import HeaderList
    from ..visitor.signed_cookies import FlashCookie, Said
    from ..visitor.visitor import Visitor

logger = logging.getLogger("usercom_asgi")

#: The event that htmx makes of ``HX-Trigger``, and ``page/js/usercom.js`` listens to.
_EVENT = "usercom"


@dataclass(slots=True, repr=False)
class BrowserCommandPlan:
    """What a response has to carry."""

    #: The response's headers, if what was said leaves in one of them.
    headers: HeaderList | None = None
    #: ``Set-Cookie`` values of a response that turns out to be a page with the snippet, and of one that does not.
    page_cookies: list[bytes] = field(default_factory=list[bytes])
    other_cookies: list[bytes] = field(default_factory=list[bytes])
    #: What the page's snippet says, and who it is told that the visitor is.
    commands: list[Said] = field(default_factory=list["Said"])
    introduction: Mapping[str, Json] | None = None


def plan_browser_commands(
    visitor: Visitor, flash: FlashCookie | None, start: Message, *, is_page: bool
) -> BrowserCommandPlan:
    """Find the way for what was said; what finds none in this response waits in the cookie for the next page."""
    ends = (
        [flash.expire(secure=visitor.is_secure)]
        if flash is not None and visitor.has_flash_cookie()
        else []
    )
    is_new, said = visitor.has_browser_commands, visitor.said
    is_shown = is_page and visitor.is_navigation
    if said and not is_shown:
        headers = _heard(visitor, start, said)
        if headers is not None:
            return BrowserCommandPlan(headers, page_cookies=ends, other_cookies=ends)
    said = drop_before_reset(said)
    commands, introduction = split_initial_reset(said)
    if visitor.is_page_swap and introduction is not None:
        commands, introduction = (
            said,
            None,
        )  # it inherits the running widget, which has to be told of the reset
    if said and not is_new:
        waits: list[bytes] = []  # it does so already
    elif flash is not None:
        waits = [flash.set_cookie(said, visitor.key, secure=visitor.is_secure)] if said else ends
    else:
        waits = []
        if not is_shown and (commands or introduction):
            logger.warning(
                "%d commands to the page are lost: without secret_keys they cannot travel to the next",
                len(said),
            )
    if not is_shown:
        return BrowserCommandPlan(page_cookies=waits, other_cookies=waits)
    return BrowserCommandPlan(
        page_cookies=ends, other_cookies=waits, commands=commands, introduction=introduction
    )


def _heard(visitor: Visitor, start: Message, said: list[Said]) -> HeaderList | None:
    """Return the response's headers with what the page that asks will hear; None if it does not, or is left at once."""
    headers: HeaderList = start["headers"]
    refreshes = b"true" in (value.strip().lower() for value in values(headers, b"hx-refresh"))
    if 300 <= start["status"] < 400 or refreshes or values(headers, b"hx-redirect"):
        return None
    if visitor.uses_bridge:
        pair = (BRIDGE_HEADER.encode(), json.dumps(said, separators=(",", ":")).encode("ascii"))
        return set_no_store([*headers, pair])
    return _with_trigger(headers, said) if visitor.is_htmx else None


def _with_trigger(headers: HeaderList, said: list[Said]) -> HeaderList | None:
    """Return the headers with our event in ``HX-Trigger``, beside the application's own; None if there is no room for it."""
    given = b", ".join(values(headers, b"hx-trigger")).decode("latin-1").strip()
    try:
        events: object = (
            json.loads(given) if given.startswith("{") else dict.fromkeys(_names(given), "")
        )
    except ValueError:
        events = None
    if not isinstance(events, dict) or _EVENT in events:
        return None
    # On the body, since htmx may have taken the element that asked out of the page; and last, since htmx 2 gives what
    # follows the same target.
    named = {**cast("dict[str, object]", events), _EVENT: {"target": "body", "commands": said}}
    pair = (b"hx-trigger", json.dumps(named, separators=(",", ":")).encode("ascii"))
    return set_no_store([*without(headers, {b"hx-trigger"}), pair])


def _names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()]
