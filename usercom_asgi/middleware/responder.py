"""What becomes of the application's messages on their way out: :class:`Responder`."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, cast

from ..core.hooks import call_hook_safely, warn_once
from ..page.content_encoding import content_encoding, is_supported, open_encoding
from ..page.csp import check_csp, is_nonce
from ..page.eligibility import HTMX, may_be_html, skip_reason
from ..page.headers import (
    POLICIES,
    header_layout,
    header_list,
    relevant_headers,
    set_private,
    values,
    vary_on,
    vary_on_cookie,
    with_cookies,
)
from ..page.response import PageResponse
from .browser_commands import hand_over
from .reset import expired_key_cookies, key_cookies, mend_key, plan_reset

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

    from ..core.config import UserComConfig
    from ..core.hooks import InjectHook, NonceHook
    from ..page.csp import CspSources
    from ..page.headers import HeaderLayout, HeaderList
    from ..visitor.login import Login
    from ..visitor.signed_cookies import FlashCookie
    from ..visitor.visitor import Visitor
    from .browser_commands import BrowserCommandPlan
    from .reset import ResetPlan, Settles

logger = logging.getLogger("usercom_asgi")


class Site(Protocol):
    """What is the same for all responses of a site: the middleware."""

    config: UserComConfig
    flash: FlashCookie | None
    needs: CspSources
    nonce: NonceHook | None
    should_inject: InjectHook | None
    #: Whether there is a snippet depends on who asks: a cache must not give it to somebody who has refused.
    asks: bool

    def snippet_for(
        self,
        visitor: Visitor,
        transition: ResetPlan | None,
        handover: BrowserCommandPlan | None,
        nonce: str | None,
    ) -> bytes:
        """Return the script tags for a visitor's page."""
        ...


class Responder:
    """One response on its way out: the visitor's cookies go on it, and the snippet into it."""

    __slots__ = (
        "_delivery",
        "_login",
        "_method",
        "_scope",
        "_send",
        "_site",
        "_started",
        "_visitor",
        "page",
    )

    def __init__(
        self,
        send: Send,
        scope: Scope,
        visitor: Visitor,
        delivery: Settles,
        login: Login | None,
        site: Site,
    ) -> None:
        self._send = send
        self._scope = scope
        self._method = scope["method"]
        self._visitor = visitor
        self._delivery = delivery
        self._login = login
        self._site = site
        self._started = False
        #: The page that is being made, if this is one.
        self.page: PageResponse | None = None

    async def send(self, message: Message) -> None:
        """Take a message of the application's."""
        page = self.page
        if page is not None:
            if page.try_pass_through(message):
                await self._send(message)
                return
            for each in page.feed(message):
                await self._send(each)
        elif self._started or message["type"] != "http.response.start":
            await self._send(message)
        else:
            self._started = True
            ready: Message | None = message
            try:
                if (
                    type(message.get("headers")) is not list
                ):  # what can be read only once is read here
                    ready = message = {**message, "headers": header_list(message)}
                shape = header_layout(message["headers"])
                if self._concerns_us(message, shape):
                    ready = await self._prepare(message, shape)
            except Exception:  # the page wins: whatever fails in us, the response goes out as the application made it
                logger.exception("a response passes unchanged: an error in usercom-asgi")
            self._visitor.seal()
            if ready is not None:
                await self._send(ready)

    def _concerns_us(self, start: Message, shape: HeaderLayout) -> bool:
        """Tell whether there may be anything to do; for most responses there is not."""
        return (
            self._login is not None
            or may_be_html(start["headers"], shape)
            or self._visitor.accessed
            or self._bears_flash()
            or logger.isEnabledFor(logging.DEBUG)
        )

    async def finish(self, page: PageResponse) -> None:
        """Send what is still held: the application has returned, and may not have ended its answer."""
        for each in page.pass_through():
            await self._send(each)

    async def give_up(self) -> None:
        """Send what is still held of a body whose start is out: the application has failed.

        A start that is held has not been seen by anybody: somebody further out may answer in its place.
        """
        if self.page is not None and self.page.has_started:
            with suppress(Exception):  # that of the application counts
                await self.finish(self.page)

    async def _prepare(self, start: Message, shape: HeaderLayout) -> Message | None:
        """Return the start to send now; None if this becomes a page, and it is held until the first bytes of that are there."""
        site, visitor = self._site, self._visitor
        # A copy, since hooks are waited for, and the start may be held: the application may go on with its own.
        headers = start["headers"].copy()
        start = {**start, "headers": headers}
        found = relevant_headers(headers, shape)
        is_wished = None
        if site.should_inject is not None and may_be_html(headers, shape):
            is_wished = await call_hook_safely(
                site.should_inject,
                self._scope,
                "should_inject failed: the library decides by itself",
            )
        coding = (
            content_encoding(found[b"content-encoding"]) if b"content-encoding" in found else None
        )
        reason = skip_reason(self._method, visitor.headers, start["status"], found, force=is_wished)
        # Before anything is settled: what the hook says of the visitor counts for this response.
        nonce = (
            await self._ask_nonce(site.nonce) if reason is None and site.nonce is not None else None
        )
        if reason is None and (visitor.is_suppressed or coding is not None):
            reason = self._why_not(coding)
        transition = handover = None
        if (
            self._login is not None
            or visitor.accessed
            or visitor.has_reset_cookie()
            or self._bears_flash()
        ):
            start, reason, transition, handover = await self._settle(start, reason)
        if reason is not None:
            logger.debug("no widget in the answer to %s: %s", self._method, reason)
            if reason is HTMX:
                start["headers"] = vary_on(start["headers"], b"HX-Request")
            return with_cookies(start, handover.other_cookies) if handover else start
        if not POLICIES.isdisjoint(found):
            nonce = self._check_csp(start["headers"], nonce)
        page = self._make_page(
            start, transition, handover, nonce, shape if start["headers"] is headers else None
        )
        if coding is not None:
            page.coding = open_encoding(coding)
        self.page = page
        return None

    async def _settle(
        self, start: Message, reason: str | None
    ) -> tuple[Message, str | None, ResetPlan | None, BrowserCommandPlan | None]:
        """See to what was said, and to who the visitor is now; return the start, and why this is no page, as they are then."""
        visitor, config = self._visitor, self._site.config
        if self._login is not None:
            start = await self._look(self._login, start, is_page=reason is None)
        transition = handover = None
        if visitor.has_reset or visitor.has_reset_cookie():
            transition = await plan_reset(visitor, self._delivery, config, is_page=reason is None)
        if transition is not None:
            start = with_cookies(start, transition.cookies)
            if transition.hold and reason is None:
                start = {**start, "headers": vary_on_cookie(set_private(start["headers"]))}
                reason = "the visitor was just reset, and User.com has not named the new key yet"
        elif visitor.has_pending_hits:
            start = with_cookies(start, key_cookies(visitor, config))
        elif visitor.stale_key:  # a page from before the reset has put it back
            start = with_cookies(start, mend_key(visitor, config))
        visitor.seal()
        if visitor.has_browser_commands or self._bears_flash():
            handover = hand_over(visitor, self._site.flash, start, is_page=reason is None)
            start = {**start, "headers": handover.headers or start["headers"]}
        return start, reason, transition, handover

    def _why_not(self, coding: bytes | None) -> str | None:
        """Return the reason to leave what could be a page as it is."""
        if self._visitor.is_suppressed:
            return "suppress() was called"
        if coding is None or is_supported(coding):
            return None
        name = coding.decode("latin-1")
        warn_once(
            f"Pages encoded as {name} get no widget: "
            "put the compressing middleware outside of UserComMiddleware"
        )
        return f"the body is encoded as {name}"

    async def _ask_nonce(self, hook: NonceHook) -> str | None:
        """Return the nonce that the application has for this response."""
        nonce = await call_hook_safely(
            hook, self._scope, "the nonce hook failed: the response's own policy is looked at"
        )
        if nonce is None or is_nonce(nonce):
            return cast("str | None", nonce)
        logger.error(
            "the nonce hook gives what is no nonce (%s): the response's own policy is looked at",
            type(nonce).__name__,
        )
        return None

    def _check_csp(self, headers: HeaderList, nonce: str | None) -> str | None:
        """Return the nonce for the script tags; warn once about a policy that blocks them."""
        nonce, advice = check_csp(headers, self._site.needs, nonce)
        for text in advice:
            warn_once(f"Content-Security-Policy blocks the widget: {text}")
        return nonce

    async def _look(self, login: Login, start: Message, *, is_page: bool) -> Message:
        """Notice a login or a logout; return the start with the cookie that remembers it."""
        changes = self._method not in ("GET", "HEAD") or bool(
            values(start["headers"], b"set-cookie")
        )
        visitor = self._visitor
        # What is said to the page is not awaited, so nobody has asked yet whose page it is.
        speaks = visitor.has_browser_commands or (
            self._bears_flash() and visitor.has_running_widget
        )
        if is_page or speaks or (changes and login.had_user(visitor)):
            await visitor.know()
        return with_cookies(start, login.cookies(self._visitor))

    def _make_page(
        self,
        start: Message,
        transition: ResetPlan | None,
        handover: BrowserCommandPlan | None,
        nonce: str | None,
        shape: HeaderLayout | None,
    ) -> PageResponse:
        site, visitor = self._site, self._visitor
        snippet = site.snippet_for(visitor, transition, handover, nonce)
        page = PageResponse(
            start, snippet, self._method, in_head=site.config.position == "head", layout=shape
        )
        if site.asks or transition is not None or visitor.attributes or visitor.has_key_in_address:
            page.private = True
        if transition is not None:
            page.cookies = transition.page_cookies
        if handover is not None:
            page.private = page.private or bool(handover.introduction)
            page.no_store = bool(handover.commands)
            page.cookies = [*page.cookies, *handover.page_cookies]
            page.cookies_without_snippet = handover.other_cookies
        return page

    def _bears_flash(self) -> bool:
        return self._site.flash is not None and self._visitor.has_flash_cookie()


def ending(send: Send, visitor: Visitor, config: UserComConfig) -> Send:
    """Return a ``send`` for a visitor who has not consented: at a logout it ends the key that came before the refusal."""

    async def send_on(message: Message) -> None:
        try:
            if (
                message["type"] == "http.response.start"
                and visitor.has_reset
                and visitor.has_cookie
            ):
                message = with_cookies(
                    {**message, "headers": header_list(message)},
                    expired_key_cookies(visitor, config),
                )
        except Exception:  # the page wins, as above
            logger.exception("a response passes unchanged: an error in usercom-asgi")
        await send(message)

    return send_on
