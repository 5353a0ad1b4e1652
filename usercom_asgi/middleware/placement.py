"""The snippet that a template places by hand: ``usercom_snippet`` and its response.

It is placed only if it is certain to be right. In every other case the application gets
an empty string, and the middleware treats the response as if it had not asked.
"""

from __future__ import annotations

import logging
from functools import partial
from html import escape
from typing import TYPE_CHECKING

from ..core.event_loops import current_loop, run_from_any_loop, run_in_loop
from ..core.hooks import MustWaitError
from ..core.log import INTERNAL_ERROR, warn_once
from ..page.csp import find_nonce, is_nonce, parse_policies
from ..page.eligibility import asks_for_fragment
from ..page.headers import (
    VALIDATORS,
    make_private,
    set_no_store,
    set_private,
    values,
    vary_on_cookie,
    with_cookies,
    without,
)
from ..page.snippet import with_nonce
from ..page.validators import mark_validators, placed_mark
from ..visitor.placement import Placement
from .browser_commands import plan_browser_commands
from .reset import current_reset, plan_reset, plan_reset_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Message, Scope

    from ..page.csp import CspSources
    from ..page.headers import HeaderList
    from ..visitor.session import VisitorSession
    from .site import Site

logger = logging.getLogger("usercom_asgi")

# The headers of the page are not known when the snippet is placed.
_ANY_PAGE: Message = {"type": "http.response.start", "status": 200, "headers": []}


async def prepare_snippet(site: Site, session: VisitorSession, scope: Scope) -> None:
    """Wait for what the snippet depends on: the hooks, and the key of a reset."""
    try:
        if _takes_snippet(session) and not session.is_closed:
            await run_from_any_loop(session.delivery.loop, partial(_prepare, site, session, scope))
    except Exception:  # an error of ours must not break the application's page
        logger.exception(
            "The snippet is not prepared: usercom-asgi raised an error", extra=INTERNAL_ERROR
        )


def place_snippet(site: Site, session: VisitorSession, scope: Scope, nonce: object) -> str:
    """Return the script tags for the page; empty if the application must not place them."""
    try:
        if not _takes_snippet(session):
            return ""
        here = current_loop()
        if session.delivery.loop is None or here is session.delivery.loop:
            return _place(site, session, scope, nonce)
        if here is None:  # in a thread, while the delivery belongs to the event loop
            place = partial(_prepare_and_place, site, session, scope, nonce)
            return run_in_loop(session.delivery.loop, place, "usercom_snippet")
        warn_once(
            "snippet_not_placed",
            "usercom_snippet() places nothing in another event loop than that of the request",
        )
    except MustWaitError:
        warn_once(
            "snippet_not_placed",
            "usercom_snippet() places nothing, because a hook is asynchronous: "
            "`await prepare_snippet(request)` before the page is rendered",
        )
    except Exception:  # an error of ours must not break the application's template
        logger.exception(
            "usercom_snippet() places nothing: usercom-asgi raised an error", extra=INTERNAL_ERROR
        )
    return ""


def _takes_snippet(session: VisitorSession) -> bool:
    """Return whether a page of this request may get the snippet at all."""
    request = session.request
    is_certain = session.has_consent and not session.is_suppressed and not request.is_websocket
    return is_certain and not asks_for_fragment(request.headers)


def _has_reset(session: VisitorSession) -> bool:
    return session.has_reset or session.request.has_reset_cookie()


async def _prepare(site: Site, session: VisitorSession, scope: Scope) -> None:
    await session.resolve_identity()
    if _has_reset(session):
        await plan_reset(session, session.delivery, site.config, is_page=True)
    placement = session.placement or Placement()
    if site.nonce is not None and not placement.has_nonce:
        placement.nonce, placement.has_nonce = await site.ask_nonce(scope), True
    session.placement = placement


async def _prepare_and_place(
    site: Site, session: VisitorSession, scope: Scope, nonce: object
) -> str:
    if not session.is_closed:
        await _prepare(site, session, scope)
    return _place(site, session, scope, nonce)


def _place(site: Site, session: VisitorSession, scope: Scope, nonce: object) -> str:
    placement = session.placement or Placement()
    if not placement.is_placed:
        if session.is_closed:
            warn_once(
                "snippet_not_placed",
                "usercom_snippet() places nothing after the response has started: "
                "call it before, and give its result to the template",
            )
            return ""
        _resolve_identity_now(session)
    if nonce is not None:
        placement.nonce = _checked_nonce(nonce)
    elif site.nonce is not None and not placement.has_nonce:
        placement.nonce, placement.has_nonce = site.ask_nonce_now(scope), True
    if not placement.is_placed and not _fill(placement, site, session):
        return ""
    session.placement = placement
    snippet = placement.snippet
    return (with_nonce(snippet, placement.nonce) if placement.nonce else snippet).decode("ascii")


def _fill(placement: Placement, site: Site, session: VisitorSession) -> bool:
    """Make the snippet by what is known now; return False if more has to be known."""
    reset = plan_reset_now(session, site.config) if _has_reset(session) else None
    if reset is not None and reset.suppress_widget:
        return False  # the response waits for the new key
    commands = None
    has_flash = site.flash is not None and session.request.has_flash_cookie()
    if session.has_browser_commands or has_flash:
        placement.call_ids = frozenset(str(each[0]) for each in session.browser_calls())
        commands = plan_browser_commands(session, site.flash, _ANY_PAGE, is_page=True)
        placement.has_calls = bool(commands.calls)
    placement.is_private = site.is_private(session, reset, commands)
    placement.reset = current_reset(session) if reset is not None else None
    placement.snippet = site.snippet_for(session, reset, commands)
    return True


def _resolve_identity_now(session: VisitorSession) -> None:
    """Call the ``identify`` hook, if it can be called without waiting."""
    login = session.login
    if login is None:
        return
    if login.is_checking:
        raise MustWaitError
    login.may_wait = False
    check = session.resolve_identity()
    try:
        check.send(None)
    except StopIteration:
        return
    finally:
        login.may_wait = True
    check.close()
    raise MustWaitError


def _checked_nonce(nonce: object) -> str | None:
    if isinstance(nonce, str) and is_nonce(nonce):
        return nonce
    logger.error(
        "The nonce of usercom_snippet() must be one that a policy can name, got %s: "
        "its tags have none",
        type(nonce).__name__,
        extra={"usercom_event": "snippet_nonce_invalid", "usercom_type": type(nonce).__name__},
    )
    return None


def warn_of_policy(headers: HeaderList, sources: CspSources, nonce: str | None) -> None:
    """Warn of what the response's policies block in a page whose snippet is placed."""
    policies = parse_policies(headers)
    enforced = [policy for policy, is_enforced in policies if is_enforced]
    named = find_nonce([(policy, True) for policy in enforced])
    if named is not None and named != nonce:
        warn_once(
            "csp_blocks_widget",
            "Content-Security-Policy blocks the widget: its nonce is not on the tags, so write "
            "`usercom_snippet(request, nonce=...)`",
        )
        return
    for policy in enforced:
        if (text := policy.advice(sources, nonce)) is not None:
            warn_once("csp_blocks_widget", f"Content-Security-Policy blocks the widget: {text}")


def warn_of_late_reset(session: VisitorSession, placement: Placement) -> None:
    """Warn of a page that has the snippet of a visitor who has ended since."""
    if session.has_reset and current_reset(session) is not placement.reset:
        warn_once(
            "reset_after_snippet",
            "The visitor was reset after usercom_snippet(): the page has the snippet of the earlier "
            "visitor, so reset before the page is rendered",
        )


def placed_headers(headers: HeaderList, placement: Placement) -> HeaderList:
    """Return the headers of a page with the placed snippet, whose body does not change."""
    if placement.is_private:
        headers = make_private(headers)
    elif placement.nonce is not None or placement.has_calls:
        headers = without(headers, VALIDATORS)
    else:
        headers = mark_validators(headers, placed_mark(placement.snippet))
    return set_no_store(headers) if placement.has_calls else headers


def other_headers(headers: HeaderList, placement: Placement) -> HeaderList:
    """Return the headers of another response than a page, which may hold the snippet as well."""
    if placement.is_private:
        headers = vary_on_cookie(set_private(headers))
    return set_no_store(headers) if placement.has_calls else headers


class PlacedPage:
    """A page whose snippet the application has placed. Its body passes unchanged.

    Its start is held until the first bytes show whether the snippet is in them: the
    response may be another page, such as that of an error.

    Args:
        start: The start for a page with the snippet.
        other: The start for a page without it.
        url: The address of the widget.
        is_opaque: True for a body without readable bytes, which is taken for the page:
            a compressed one, and that of a response to HEAD.

    """

    #: True once all further messages pass through.
    is_done = False

    def __init__(self, start: Message, other: Message, url: str, *, is_opaque: bool) -> None:
        self._start = start
        self._other = other
        self._url = escape(url).encode()
        self._is_opaque = is_opaque

    @property
    def has_started(self) -> bool:
        """True once the start has been sent."""
        return self.is_done

    def try_pass_through(self, message: Message) -> bool:  # noqa: ARG002  as a `PageResponse`
        """Return True if a message may be sent unchanged; else call `feed`."""
        return self.is_done

    def feed(self, message: Message) -> Sequence[Message]:
        """Take the application's next message; return the messages to send now."""
        self.is_done = True
        return (self._start if self._has_snippet(message) else self._other, message)

    def pass_through(self) -> Sequence[Message]:
        """Return the held start, because the application has sent no body."""
        if self.is_done:
            return ()
        self.is_done = True
        return (self._other,)

    def _has_snippet(self, message: Message) -> bool:
        if message["type"] != "http.response.body":
            return False  # a file, which the application has not rendered
        body = bytes(message.get("body", b""))
        # A stream goes out as it is made, so its end is not waited for.
        if self._is_opaque or self._url in body:
            if body.count(b'src="%b"' % self._url) > 1:
                warn_once(
                    "snippet_placed_twice",
                    "A page has the widget twice: place usercom_snippet() once",
                )
            return True
        lengths = values(self._start["headers"], b"content-length")
        if message.get("more_body", False) and lengths != [b"%d" % len(body)]:
            return True
        if self._start["status"] < 400:
            warn_once(
                "snippet_missing",
                "A page does not have the result of usercom_snippet(), or has it escaped: "
                "its widget is missing",
            )
        return False


def open_page(
    start: Message,
    placement: Placement,
    site: Site,
    method: str,
    page_cookies: list[bytes],
    other_cookies: list[bytes],
) -> PlacedPage:
    """Return the page of a response whose snippet is placed."""
    headers: HeaderList = start["headers"]
    is_head = method == "HEAD"
    page = {**start, "headers": placed_headers(headers, placement)}
    other = {**start, "headers": other_headers(headers, placement)}
    return PlacedPage(
        with_cookies(page, other_cookies if is_head else page_cookies),
        with_cookies(other, other_cookies),
        site.config.widget_url,
        is_opaque=is_head or bool(values(headers, b"content-encoding")),
    )
