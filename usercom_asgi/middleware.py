"""``UserComMiddleware``: the one place where page, delivery and api meet."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from anyio.lowlevel import RunVar
from starlette.datastructures import URL

from .config import UserComConfig
from .delivery.inline import InlineDelivery
from .delivery.lifespan import run_lifespan
from .delivery.runtime import Runtime
from .identity import MARKER
from .page.eligibility import why_not
from .page.headers import header_list, private
from .page.page import Page
from .page.snippet import forget_script, render
from .resets import Transition, settle_reset
from .visitor import STATE_KEY, Visitor

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
_MARKER_BYTES = MARKER.encode()


class UserComMiddleware:
    """Tracks the visitor, puts the widget on the page, delivers what handlers say of the visitor.

    Give it to Starlette or FastAPI as middleware, inside a compressing one; or wrap a whole ASGI application in it, then error
    pages carry the widget as well. The visitor of a request is ``request.state.usercom``, or :func:`get_visitor`.

    Args:
        app: The ASGI application.
        config: By default :meth:`UserComConfig.from_env`.

    Raises:
        ConfigurationError: A setting is missing or malformed.

    """

    def __init__(self, app: ASGIApp, config: UserComConfig | None = None) -> None:
        self.app = app
        self.config = config or UserComConfig.from_env()
        self._settings = {"apiKey": self.config.api_key}
        self._anonymous_snippet = render(self._settings, self.config.widget_url)
        # Where the server has no lifespan state. A name, not a value: each event loop has its own.
        self._loop_runtime: RunVar[Runtime | None] = RunVar("usercom_asgi.runtime", None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection, or the lifespan."""
        kind = scope["type"]
        if kind not in ("http", "websocket", "lifespan") or _AT_WORK in scope:
            await self.app(scope, receive, send)
            return
        scope[_AT_WORK] = True
        if kind == "lifespan":
            await self._live(scope, receive, send)
            return
        runtime = scope.setdefault("state", {}).get(_RUNTIME) or self._loop_runtime.get()
        if runtime is not None:
            await self._visit(scope, receive, send, runtime)
        else:
            async with InlineDelivery(self._open_sender, self.config) as delivery:
                await self._visit(scope, receive, send, delivery)

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
        visitor = Visitor(scope, delivery)
        scope["state"][STATE_KEY] = visitor
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        response = _Response(self, scope, visitor, delivery, send)
        await self.app(scope, receive, response.send)
        await response.finish()

    def _open_sender(self) -> AbstractAsyncContextManager[Sender]:
        from .api.widget import open_widget_api

        return open_widget_api(self.config)

    def snippet_for(self, visitor: Visitor, transition: Transition | None) -> bytes:
        """Return the script tags for this visitor's page."""
        if transition is None and not visitor.attributes:
            return self._anonymous_snippet
        before = forget_script(transition.new_key, transition.homes) if transition and transition.forget else ""
        return render({**visitor.attributes, **self._settings}, self.config.widget_url, before=before)


class _Response:
    """One response on its way out: the visitor's cookies go on it, and the snippet into it."""

    __slots__ = ("_delivery", "_middleware", "_page", "_scope", "_send", "_started", "_visitor")

    def __init__(
        self,
        middleware: UserComMiddleware,
        scope: Scope,
        visitor: Visitor,
        delivery: Runtime | InlineDelivery,
        send: Send,
    ) -> None:
        self._middleware = middleware
        self._scope = scope
        self._visitor = visitor
        self._delivery = delivery
        self._send = send
        self._page: Page | None = None
        self._started = False

    async def send(self, message: Message) -> None:
        """Take a message of the application's."""
        if self._page is not None:
            for each in self._page.feed(message):
                await self._send(each)
        elif message["type"] == "http.response.start" and not self._started:
            self._started = True
            try:
                ready = await self._start(message)
            except Exception:
                # The page wins: whatever fails here, the response goes out as the application made it.
                logger.exception("a response passes unchanged: an error in usercom-asgi")
                ready = message
            if ready is not None:
                await self._send(ready)
        else:
            await self._send(message)

    async def finish(self) -> None:
        """The application has returned: send what is still held, if it did not end its answer."""
        if self._page is not None:
            for each in self._page.release():
                await self._send(each)

    async def _start(self, message: Message) -> Message | None:
        """Return the start to send now, or None if it is held until the page's first bytes are there."""
        headers = header_list(message)
        reason = why_not(self._scope, message, headers)
        if reason is None and self._visitor.is_suppressed:
            reason = "suppress() was called"
        transition = await self._settle_reset(is_page=reason is None)
        if transition is not None:
            headers = _with_cookies(headers, transition.cookies)
            if transition.hold and reason is None:
                reason = "the visitor was just reset, and User.com has not named the new key yet"
        if reason is not None:
            logger.debug("no widget in the answer to %s: %s", self._scope["method"], reason)
            return message if transition is None else {**message, "headers": headers}
        self._page = Page(
            message,
            headers,
            self._middleware.snippet_for(self._visitor, transition),
            method=self._scope["method"],
            personal=transition is not None or bool(self._visitor.attributes),
            page_cookies=transition.page_cookies if transition else (),
        )
        return None

    async def _settle_reset(self, *, is_page: bool) -> Transition | None:
        if not (self._visitor.has_reset or _has_marker(self._scope)):
            return None
        return await settle_reset(
            self._visitor,
            self._delivery,
            self._middleware.config,
            host=(URL(scope=self._scope).hostname or "").lower(),
            secure=self._scope.get("scheme") in ("https", "wss"),
            is_page=is_page,
        )


def _has_marker(scope: Scope) -> bool:
    # Looked at for every response, so without parsing.
    return any(name == b"cookie" and _MARKER_BYTES in value for name, value in scope["headers"])


def _with_cookies(headers: HeaderList, cookies: list[bytes]) -> HeaderList:
    # A response with a visitor's cookie must not be replayed to the next one by a cache.
    return [*private(headers), *((b"set-cookie", cookie) for cookie in cookies)] if cookies else headers
