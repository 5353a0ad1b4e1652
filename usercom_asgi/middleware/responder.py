"""Rewrites responses: adds our cookies to the start, and the snippet to the body."""

from __future__ import annotations

import logging
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.hooks import call_hook_safely
from ..core.log import INTERNAL_ERROR, log_no_widget, warn_once
from ..page.content_encoding import content_encoding, is_supported, open_encoding
from ..page.csp import check_csp, warn_of_embedder_policy
from ..page.eligibility import HTMX, may_be_html, skip_reason
from ..page.headers import (
    EMBEDDER_POLICY,
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
from ..page.response import PageResponse, PageSettings
from .browser_commands import plan_browser_commands
from .conditions import open_conditions
from .pathsend import PATHSEND, read_bodies
from .placement import PlacedPage, open_page, other_headers, warn_of_late_reset, warn_of_policy
from .reset import key_cookies, plan_reset, repaired_key_cookies

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ..core.hooks import InjectHook
    from ..delivery.inline import InlineDelivery
    from ..delivery.service import DeliveryService
    from ..page.headers import HeaderLayout, HeaderList
    from ..visitor.login import LoginTracker
    from ..visitor.placement import Placement
    from ..visitor.session import VisitorSession
    from .browser_commands import BrowserCommandPlan
    from .conditions import Conditions
    from .reset import ResetPlan
    from .site import Site

logger = logging.getLogger("usercom_asgi")


@dataclass(slots=True, repr=False, eq=False)
class ResponsePlan:
    """The changes to one response: its start, and whether the snippet goes in."""

    start: Message
    #: Why the snippet stays out; None for a page that gets it.
    skip_reason: str | None = None
    nonce: str | None = None
    #: The ``Content-Encoding`` of the body.
    encoding: bytes | None = None
    reset: ResetPlan | None = None
    commands: BrowserCommandPlan | None = None
    #: The snippet, if the application has placed it by hand.
    placed: Placement | None = None

    @property
    def headers(self) -> HeaderList:
        """The headers of the start."""
        headers: HeaderList = self.start["headers"]
        return headers

    @headers.setter
    def headers(self, headers: HeaderList) -> None:
        self.start = {**self.start, "headers": headers}

    @property
    def gets_snippet(self) -> bool:
        """True if the snippet goes in."""
        return self.skip_reason is None

    @property
    def page_cookies(self) -> list[bytes]:
        """The ``Set-Cookie`` values for a response that carries the snippet for certain."""
        reset = self.reset.page_cookies if self.reset else []
        return [*reset, *self.commands.page_cookies] if self.commands else reset

    @property
    def other_cookies(self) -> list[bytes]:
        """The ``Set-Cookie`` values for a response whose start is sent without the snippet."""
        return self.commands.other_cookies if self.commands is not None else []

    def add_cookies(self, cookies: list[bytes]) -> None:
        """Put ``Set-Cookie`` values on the start."""
        self.start = with_cookies(self.start, cookies)


class Responder:
    """One response of the application.

    It plans what to change when the response starts, and streams the body
    through the page.
    """

    __slots__ = (
        "_app",
        "_conditions",
        "_delivery",
        "_method",
        "_scope",
        "_send",
        "_site",
        "_started",
        "page",
        "session",
    )

    _method: str
    _scope: Scope
    _send: Send

    def __init__(
        self,
        app: ASGIApp,
        session: VisitorSession,
        delivery: DeliveryService | InlineDelivery,
        site: Site,
    ) -> None:
        self._app = app
        self.session = session
        self._delivery = delivery
        self._site = site
        self._started = False
        self.page: PageResponse | PlacedPage | None = None
        self._conditions: Conditions | None = None

    async def respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        self._scope, self._method, self._send = scope, scope["method"], send
        session = self.session
        self._conditions = open_conditions(scope, session, self._site)
        try:
            await self._app(scope, receive, self._on_message)
            if self.page is not None and not self.page.is_done:
                await self._flush(self.page)  # the application has not ended its body
            if session.login is not None:
                session.login.close()
        except Exception:
            await self._flush_started_page()
            raise
        finally:
            if self._conditions is not None:
                self._conditions.restore()
            if session.request_number is not None:  # it has submitted a command
                self._delivery.request_ended(session.request_number)

    def _on_message(self, message: Message) -> Awaitable[None]:
        # Not a coroutine of its own, because most messages are only sent on.
        page = self.page
        if page is not None:
            return (
                self._send(message) if page.try_pass_through(message) else self._feed(page, message)
            )
        if not self._started and message["type"] == "http.response.start":
            self._started = True
            if self._conditions is not None or self._is_relevant(message):
                return self._on_start(message)
            self.session.close()
        return self._send(message)

    async def _feed(self, page: PageResponse | PlacedPage, message: Message) -> None:
        if message["type"] == PATHSEND and not page.is_done and isinstance(page, PageResponse):
            await self._feed_file(page, message)
            return
        for each in page.feed(message):
            await self._send(each)

    async def _feed_file(self, page: PageResponse, message: Message) -> None:
        """Send a page that the application names by the path of its file."""
        if self._method == "HEAD":
            await self._feed(page, {"type": "http.response.body"})
            return
        try:
            async with aclosing(read_bodies(message)) as bodies:
                async for body in bodies:
                    await self._feed(page, body)
        except OSError as error:
            if page.has_started:
                raise
            log_no_widget(f"its file cannot be read ({type(error).__name__})")
            for each in page.feed(message):
                await self._send(each)

    async def _on_start(self, message: Message) -> None:
        start: Message | None = message
        try:
            is_relevant = True  # as `_on_message` has found, unless the start changes here
            if type(message.get("headers")) is not list:
                # Headers may come as an iterator, which can be read only once.
                start = message = {**message, "headers": header_list(message)}
                is_relevant = self._is_relevant(message)
            if self._conditions is not None:
                self._conditions.restore()
                start = message = self._conditions.mark(message, self.session)
                is_relevant = self._is_relevant(message)
            if is_relevant:
                start = await self._prepare(message, header_layout(message["headers"]))
        except Exception:  # an error of ours must not break the application's response
            logger.exception(
                "A response is sent unchanged: usercom-asgi raised an error", extra=INTERNAL_ERROR
            )
        self.session.close()
        if start is not None:
            await self._send(start)

    async def _prepare(self, start: Message, layout: HeaderLayout) -> Message | None:
        """Return the start to send; None if the page holds it until it has seen the body begin."""
        # A copy, because the start may be held while the application goes on
        # with its own.
        headers = start["headers"].copy()
        plan = await self._plan({**start, "headers": headers}, layout)
        if plan.skip_reason is not None:
            log_no_widget(plan.skip_reason, self._scope)
            if plan.skip_reason is HTMX:
                plan.headers = vary_on(plan.headers, b"HX-Request")
            if plan.placed is not None:
                plan.headers = other_headers(plan.headers, plan.placed)
            plan.add_cookies(plan.other_cookies)
            return plan.start
        if plan.placed is not None:
            warn_of_late_reset(self.session, plan.placed)
            cookies = plan.page_cookies, plan.other_cookies
            self.page = open_page(plan.start, plan.placed, self._site, self._method, *cookies)
            return None
        known = layout if plan.headers is headers else None
        self.page = PageResponse(plan.start, self._page_settings(plan, known))
        return None

    async def _plan(self, start: Message, layout: HeaderLayout) -> ResponsePlan:
        site, session = self._site, self.session
        plan = ResponsePlan(start)
        if session.placement is not None and session.placement.is_placed:
            plan.placed = session.placement
        found = relevant_headers(plan.headers, layout)
        if b"content-encoding" in found:
            plan.encoding = content_encoding(found[b"content-encoding"])
        plan.skip_reason = skip_reason(
            self._method,
            session.request.headers,
            start["status"],
            found,
            force=(plan.placed is not None or None)
            if plan.placed is not None or site.should_inject is None
            else await self._ask_should_inject(site.should_inject, plan.headers),
        )
        # Before cookies and commands are planned, so that what this hook does with the
        # visitor counts as well.
        is_injected = plan.gets_snippet and plan.placed is None
        if is_injected and site.nonce is not None:
            plan.nonce = await site.ask_nonce(self._scope)
        if is_injected and (session.is_suppressed or plan.encoding is not None):
            plan.skip_reason = self._reason_to_skip(plan.encoding)
        if session.may_change_response() or session.request.has_reset_cookie():
            await self._plan_visitor(plan)
        if plan.gets_snippet and not POLICIES.isdisjoint(found):
            self._apply_csp(plan)
        if plan.gets_snippet and EMBEDDER_POLICY in found:
            warn_of_embedder_policy(found[EMBEDDER_POLICY])
        return plan

    async def _plan_visitor(self, plan: ResponsePlan) -> None:
        """Plan what depends on the visitor: login, reset, cookies, commands to the browser."""
        session, config = self.session, self._site.config
        if session.login is not None:
            await self._check_login(session.login, plan)
        if session.has_reset or session.request.has_reset_cookie():
            plan.reset = await plan_reset(
                session, self._delivery, config, is_page=plan.gets_snippet
            )
        if plan.reset is not None:
            plan.add_cookies(plan.reset.cookies)
            if plan.reset.suppress_widget and plan.gets_snippet and plan.placed is None:
                plan.headers = vary_on_cookie(set_private(plan.headers))
                plan.skip_reason = (
                    "the visitor was just reset, and User.com has not named the new key yet"
                )
        elif session.awaits_key:
            plan.add_cookies(key_cookies(session, config))
        elif session.request.stale_key:  # a page from before the reset has put it back
            plan.add_cookies(repaired_key_cookies(session, config))
        session.close()
        if session.has_browser_commands or session.has_flash():
            plan.commands = plan_browser_commands(
                session,
                self._site.flash,
                plan.start,
                is_page=plan.gets_snippet,
                placed=plan.placed.call_ids if plan.placed is not None else None,
            )
            if plan.commands.headers:
                plan.headers = plan.commands.headers

    async def _check_login(self, login: LoginTracker, plan: ResponsePlan) -> None:
        session = self.session
        may_log_out = self._method not in ("GET", "HEAD") or bool(
            values(plan.headers, b"set-cookie")
        )
        # Browser commands are not awaited, so the hook has not been called
        # for them yet.
        has_commands = session.has_browser_commands or (
            session.has_flash() and session.request.has_running_widget
        )
        if plan.gets_snippet or has_commands or (may_log_out and login.had_user()):
            await session.resolve_identity()
        plan.add_cookies(login.cookies())

    def _apply_csp(self, plan: ResponsePlan) -> None:
        """Find the nonce that the response's policy names, and warn of what the policy blocks."""
        if plan.placed is not None:
            warn_of_policy(plan.headers, self._site.csp_sources, plan.placed.nonce)
            return
        plan.nonce, advice = check_csp(plan.headers, self._site.csp_sources, plan.nonce)
        for text in advice:
            warn_once("csp_blocks_widget", f"Content-Security-Policy blocks the widget: {text}")

    def _page_settings(self, plan: ResponsePlan, layout: HeaderLayout | None) -> PageSettings:
        site, session, commands = self._site, self.session, plan.commands
        return PageSettings(
            site.snippet_for(session, plan.reset, commands, plan.nonce),
            self._method,
            site.config.position == "head",
            layout,
            site.is_private(session, plan.reset, commands),
            commands is not None and bool(commands.calls),
            plan.page_cookies if plan.reset is not None or commands is not None else (),
            plan.other_cookies,
            open_encoding(plan.encoding) if plan.encoding is not None else None,
            plan.nonce is not None,
            site.csp_sources,
        )

    def _is_relevant(self, start: Message) -> bool:
        """Return whether this response may need a change; most do not."""
        try:
            headers: HeaderList = start["headers"]
            return (
                type(headers) is not list
                or self.session.may_change_response()
                or logger.isEnabledFor(logging.DEBUG)
                or may_be_html(headers)
            )
        except Exception:  # noqa: BLE001  malformed headers, which `_on_start` logs
            return True

    def _reason_to_skip(self, encoding: bytes | None) -> str | None:
        """Return why a page goes out without the snippet; None if it carries it."""
        if self.session.is_suppressed:
            return "suppress() was called"
        if encoding is None or is_supported(encoding):
            return None
        name = encoding.decode("latin-1")
        warn_once(
            "page_encoding_unsupported",
            f"Pages encoded as {name} get no widget: "
            "put the compressing middleware outside of UserComMiddleware",
        )
        return f"the body is encoded as {name}"

    async def _ask_should_inject(self, hook: InjectHook, headers: HeaderList) -> bool | None:
        if not may_be_html(headers):
            return None
        decision: bool | None = await call_hook_safely(
            hook, self._scope, "should_inject", "the library decides by itself"
        )
        return decision

    async def _flush(self, page: PageResponse | PlacedPage) -> None:
        for each in page.pass_through():
            await self._send(each)

    async def _flush_started_page(self) -> None:
        """Send the held rest of a body whose start is out, after the application has failed.

        A start that is still held is dropped, so that a middleware further
        out can answer.
        """
        if self.page is not None and self.page.has_started:
            with suppress(Exception):  # the application's exception counts
                await self._flush(self.page)
