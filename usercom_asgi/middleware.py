"""``UserComMiddleware``: the one place where page, delivery and api meet."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from anyio.lowlevel import RunVar

from .client import UserComClient, open_sender
from .companion import Companion
from .config import UserComConfig
from .consent import ConsentHook, NoDelivery, has_consent
from .delivery.inline import InlineDelivery
from .delivery.lifespan import run_lifespan
from .delivery.runtime import Runtime
from .errors import ConfigurationError
from .login import IdentifyHook, Login
from .page.eligibility import may_be_html, why_not
from .page.headers import header_list, private, values, vary_on_cookie
from .page.page import Page
from .page.snippet import callbacks_script, forget_script, render
from .resets import Transition, settle_key, settle_reset
from .state import STATE_KEY
from .visitor import Visitor

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .envelope import Sender
    from .page.headers import HeaderList

logger = logging.getLogger("usercom_asgi")

#: In a scope: the middleware is at work already; applied a second time it steps aside.
_AT_WORK = "usercom_asgi"
#: In ``scope["state"]``: the running delivery of the application's lifespan.
_RUNTIME = "usercom_asgi.runtime"


class UserComMiddleware:
    """Tracks the visitor, puts the widget on the page, delivers what handlers say of the visitor.

    Give it to Starlette or FastAPI as middleware, inside a compressing one; or wrap a whole ASGI application in it, then error
    pages carry the widget as well. The visitor of a request is ``request.state.usercom``, or :func:`get_visitor`.

    Args:
        app: The ASGI application.
        config: By default the client's, or :meth:`UserComConfig.from_env`.
        identify: Given the connection, returns (or is awaited for) who is logged in, or None. Asked at most once a request, and
            only when somebody needs to know. With it, login and logout are noticed by themselves; needs ``secret_keys``.
        consent: Given the connection, says (or is awaited to say) whether this visitor may be tracked. If not, there is no
            snippet, no cookie and no delivery, and the helpers return all the same. By default everybody may.
        client: A client that somebody else enters and leaves: for an application without a lifespan of its own.

    Raises:
        ConfigurationError: A setting is missing or malformed.

    """

    def __init__(
        self,
        app: ASGIApp,
        config: UserComConfig | None = None,
        *,
        identify: IdentifyHook | None = None,
        consent: ConsentHook | None = None,
        client: UserComClient | None = None,
    ) -> None:
        self.app = app
        self.config = config or (client.config if client else UserComConfig.from_env())
        if identify is not None and not self.config.secret_keys:
            raise ConfigurationError(
                "secret_keys", "identify needs a key to sign with, such as secret_keys=('<32 characters>',)"
            )
        self._identify = identify
        self._companion = Companion(self.config.secret_keys, self.config.cookie_domain) if identify else None
        self._creates = self.config.anonymous == "create"
        self._consent = consent
        self._client = client
        self._asks = consent is not None or self.config.honour_gpc
        self._settings = {"apiKey": self.config.api_key}
        if self.config.widget_state is not None:
            self._settings["state"] = self.config.widget_state
        self._callbacks = callbacks_script(self.config.callbacks)
        self._anonymous_snippet = render(self._settings, self.config.widget_url, after=self._callbacks)
        self._inline_config = replace(self.config, grace=self.config.inline_deadline, max_concurrency=2)
        # Where the server has no lifespan state. A name, not a value: each event loop has its own.
        self._loop_runtime: RunVar[Runtime | None] = RunVar("usercom_asgi.runtime", None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection, or the lifespan."""
        if _AT_WORK in scope or scope["type"] not in ("http", "websocket", "lifespan"):
            await self.app(scope, receive, send)
            return
        scope[_AT_WORK] = True
        if scope["type"] == "lifespan":
            if self._client:
                await self.app(scope, receive, send)
                return
            await self._live(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        if self._asks and not await has_consent(self._consent, scope, self.config):
            state[STATE_KEY] = Visitor(scope, NoDelivery())
            await self.app(scope, receive, send)
            return
        runtime = self._client.delivery if self._client else state.get(_RUNTIME) or self._loop_runtime.get()
        if runtime is None:
            at_once = scope["type"] == "websocket"  # which may stay open for hours
            async with InlineDelivery(self._open_sender, self._inline_config, at_once=at_once) as delivery:
                await self._visit(scope, receive, send, delivery)
        else:
            await self._visit(scope, receive, send, runtime)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        runtime = Runtime(self._open_sender, self.config)
        if "state" in scope:
            scope["state"][_RUNTIME] = runtime
        self._loop_runtime.set(runtime)
        try:
            await run_lifespan(self.app, scope, receive, send, runtime)
        finally:
            self._loop_runtime.set(None)

    async def _visit(self, scope: Scope, receive: Receive, send: Send, delivery: Runtime | InlineDelivery) -> None:
        login = self._login(scope)
        visitor = scope["state"][STATE_KEY] = Visitor(scope, delivery, login)
        visitor.creates = self._creates and scope["type"] == "http"
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        response = _Response(self, scope, visitor, delivery, login, send)
        await self.app(scope, receive, response.send)
        if response.page is not None and not response.page.is_done:
            await response.finish(response.page)
        if login is not None:
            login.release()

    def _login(self, scope: Scope) -> Login | None:
        if self._identify is None or self._companion is None:
            return None
        return Login(self._identify, self._companion, scope, rotate=self.config.rotate_on_login)

    def _open_sender(self) -> AbstractAsyncContextManager[Sender]:
        return open_sender(self.config)

    def snippet_for(self, visitor: Visitor, transition: Transition | None) -> bytes:
        """Return the script tags for this visitor's page."""
        state = visitor.widget_state
        if transition is None and state is None and not visitor.attributes:
            return self._anonymous_snippet
        before = forget_script(transition.new_key, transition.homes) if transition and transition.forget else ""
        settings = {**visitor.attributes, **self._settings, **({"state": state} if state else {})}
        return render(settings, self.config.widget_url, before=before, after=self._callbacks)


class _Response:
    """One response on its way out: the visitor's cookies go on it, and the snippet into it."""

    __slots__ = ("_delivery", "_login", "_middleware", "_scope", "_send", "_started", "_visitor", "page")

    def __init__(
        self,
        middleware: UserComMiddleware,
        scope: Scope,
        visitor: Visitor,
        delivery: Runtime | InlineDelivery,
        login: Login | None,
        send: Send,
    ) -> None:
        self._middleware = middleware
        self._scope = scope
        self._visitor = visitor
        self._delivery = delivery
        self._login = login
        self._send = send
        self._started = False
        #: The page that is being made, if this is one.
        self.page: Page | None = None

    async def send(self, message: Message) -> None:
        """Take a message of the application's."""
        if self.page is not None:
            for each in self.page.feed(message):
                await self._send(each)
        elif self._started or message["type"] != "http.response.start":
            await self._send(message)
        else:
            self._started = True
            if type(message.get("headers")) is not list:
                message = {**message, "headers": header_list(message)}  # what can be read only once is read here
            if self._login is not None or may_be_html(message) or self._visitor.was_asked or logger.isEnabledFor(logging.DEBUG):
                await self._begin(message)
            else:
                await self._send(message)

    async def finish(self, page: Page) -> None:
        """Send what is still held: the application has returned, and may not have ended its answer."""
        for each in page.release():
            await self._send(each)

    async def _begin(self, start: Message) -> None:
        """Send the start, or hold it until the first bytes of the page are there."""
        try:
            reason = why_not(self._scope["method"], self._visitor.headers, start)
            if reason is None and self._visitor.is_suppressed:
                reason = "suppress() was called"
            if self._login is not None:
                start = await self._look(self._login, start, is_page=reason is None)
            transition = None
            if self._visitor.has_reset or self._visitor.bears_marker():
                config = self._middleware.config
                transition = await settle_reset(self._visitor, self._delivery, config, is_page=reason is None)
                if transition is not None:
                    start = {**start, "headers": _with_cookies(start["headers"], transition.cookies)}
                    if transition.hold and reason is None:
                        start = {**start, "headers": vary_on_cookie(private(start["headers"]))}
                        reason = "the visitor was just reset, and User.com has not named the new key yet"
            if transition is None and self._visitor.has_hit:
                cookies = await settle_key(self._visitor, self._delivery, self._middleware.config)
                start = {**start, "headers": _with_cookies(start["headers"], cookies)}
            if reason is None:
                self.page = self._make_page(start, transition)
                return
            logger.debug("no widget in the answer to %s: %s", self._scope["method"], reason)
        except Exception:
            # The page wins: whatever fails here, the response goes out as the application made it.
            logger.exception("a response passes unchanged: an error in usercom-asgi")
        await self._send(start)

    async def _look(self, login: Login, start: Message, *, is_page: bool) -> Message:
        """Notice a login or a logout; return the start with the cookie that remembers it."""
        changes = self._scope["method"] not in ("GET", "HEAD") or bool(values(start["headers"], b"set-cookie"))
        if is_page or (changes and login.knew_somebody(self._visitor)):
            await self._visitor.know()
        cookies = login.cookies(self._visitor)
        return {**start, "headers": _with_cookies(start["headers"], cookies)} if cookies else start

    def _make_page(self, start: Message, transition: Transition | None) -> Page:
        page = Page(start, self._middleware.snippet_for(self._visitor, transition), self._scope["method"])
        page.is_personal = transition is not None or bool(self._visitor.attributes)
        if transition is not None:
            page.cookies = transition.page_cookies
        return page


def _with_cookies(headers: HeaderList, cookies: list[bytes]) -> HeaderList:
    # A response with a visitor's cookie must not be replayed to the next one by a cache.
    return [*private(headers), *((b"set-cookie", cookie) for cookie in cookies)] if cookies else headers
