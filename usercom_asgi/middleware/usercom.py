"""``UserComMiddleware``: the one place where page, delivery and api meet."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import RunVar

from ..client import UserComClient, check_transport, open_sender
from ..core.config import UserComConfig
from ..core.exceptions import ConfigurationError
from ..core.hooks import check_hooks, warn_once
from ..core.receipts import Listeners
from ..delivery.inline import InlineDelivery, InlineStatus
from ..delivery.lifespan import run_lifespan
from ..delivery.outbox import checked
from ..delivery.service import DeliveryService
from ..page.csp import CspSources
from ..page.snippet import (
    callbacks_script,
    commands_script,
    forget_script,
    render,
    usercom_script,
    with_nonce,
)
from ..visitor.consent import NoDelivery, has_consent
from ..visitor.login import IdentifyHook, Login
from ..visitor.signed_cookies import FlashCookie, IdentityCookie
from ..visitor.visitor import Visitor
from .responder import Responder, ending
from .scope import INSIDE, SCOPE_KEY, STATE_KEY, mark_lifespan_state, own_state

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..api.client import Transport
    from ..core.envelope import Sender
    from ..core.hooks import ConsentHook, InjectHook, NonceHook
    from ..core.receipts import OutcomeHook
    from ..delivery.outbox import Outbox
    from .browser_commands import BrowserCommandPlan
    from .reset import ResetPlan

#: Numbers the middlewares of this process: each one's running deliveries have a name of their own.
_numbers = count(1)


class UserComMiddleware:
    """Tracks the visitor, puts the widget on the page, delivers what handlers say of the visitor.

    Give it to Starlette or FastAPI as middleware, inside a compressing one; or wrap a whole ASGI application in it, then error
    pages carry the widget as well. The visitor of a request is ``request.state.usercom``, or :func:`get_visitor`.

    Args:
        app: The ASGI application.
        config: By default the client's, which is the only one that may stand beside a client, or
            :meth:`UserComConfig.from_env`.
        identify: Given the connection, returns (or is awaited for) who is logged in, or None. Asked at most once a request, and
            only when somebody needs to know. With it, login and logout are noticed by themselves; needs ``secret_keys``.
        consent: Given the connection, says (or is awaited to say) whether this visitor may be tracked. If not, there is no
            snippet, no cookie and no delivery, and the helpers return all the same. By default everybody may.
        nonce: Given the connection, returns (or is awaited for) the nonce of the response's Content-Security-Policy. By default
            one that is found in the policy itself.
        should_inject: Given the connection of an HTML response, says (or is awaited to say) whether the snippet goes in; None
            lets the library decide. A yes counts also for answers to htmx, downloads and ``no-transform``.
        outbox: Where accepted commands wait; by default in memory. Needs a lifespan.
        transport: An async transport of httpx (of httpx2, where that is installed) for all calls to
            User.com: a mock in tests, or TLS of your own. Its owner closes it.
        on_delivered, on_dropped, on_dead: Plain functions that are told the :class:`Outcome` of a command.
        client: A client that somebody else enters and leaves: for an application without a lifespan of its own. It has its
            own outbox and hooks.

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
        nonce: NonceHook | None = None,
        should_inject: InjectHook | None = None,
        outbox: Outbox | None = None,
        transport: Transport | None = None,
        on_delivered: OutcomeHook | None = None,
        on_dropped: OutcomeHook | None = None,
        on_dead: OutcomeHook | None = None,
        client: UserComClient | None = None,
    ) -> None:
        self.app = app
        check_hooks(identify=identify, consent=consent, nonce=nonce, should_inject=should_inject)
        self._outbox = checked(outbox)
        self._transport = check_transport(transport)
        self._listeners = Listeners(
            on_delivered=on_delivered, on_dropped=on_dropped, on_dead=on_dead
        )
        has_own = outbox is not None or transport is not None or self._listeners != Listeners()
        if client is not None and has_own:
            problem = (
                "has an outbox, a transport and hooks of its own: give them to the UserComClient"
            )
            raise ConfigurationError("client", problem)
        if client is not None and config is not None and config != client.config:
            # Pages of one workspace and deliveries to another: whichever counted, half of it would be wrong.
            raise ConfigurationError(
                "client",
                "has another config than the one given beside it: give the UserComClient alone",
            )
        self.config = UserComConfig.checked(config or (client.config if client else None))
        if identify is not None and not self.config.secret_keys:
            raise ConfigurationError(
                "secret_keys",
                "identify needs a key to sign with, such as secret_keys=('<16 characters or more>',)",
            )
        self._identify = identify
        self._identity_cookie = (
            IdentityCookie(self.config.secret_keys, self.config.cookie_domain) if identify else None
        )
        self.flash = (
            FlashCookie(self.config.secret_keys, self.config.cookie_domain)
            if self.config.secret_keys
            else None
        )
        self._consent = consent
        self._client = client
        self.nonce = nonce
        self.should_inject = should_inject
        self.needs = CspSources.of(self.config.origin)
        self.asks = consent is not None or self.config.honour_gpc
        self._workspace = (self.config.origin, self.config.api_key)
        self._settings = {"apiKey": self.config.api_key}
        if self.config.widget_state is not None:
            self._settings["state"] = self.config.widget_state
        self._callbacks = callbacks_script(self.config.callbacks)
        self._anonymous_script = self._callbacks + self._usercom_script()
        self._anonymous_snippet = render(
            self._settings, self.config.widget_url, after=self._anonymous_script
        )
        self._inline_config = replace(
            self.config, shutdown_timeout=self.config.inline_deadline, max_concurrency=2
        )
        self._inline = InlineStatus()
        # Names, not values: each lifespan and each event loop has a delivery of its own. No other middleware has these names:
        # a process may have two workspaces, and a dispatcher may give both the same lifespan state.
        self._runtime_name = f"usercom_asgi.runtime.{next(_numbers)}"
        # Where the server has no lifespan state. Before anyio 4.15 a RunVar is known by its name alone.
        self._loop_runtime: RunVar[DeliveryService | None] = RunVar(self._runtime_name, None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection, or the lifespan."""
        if scope["type"] not in ("http", "websocket", "lifespan"):
            await self.app(scope, receive, send)
        elif INSIDE in scope:
            self._warn_of_two(scope[INSIDE])
            await self.app(scope, receive, send)
        elif scope["type"] == "lifespan":
            # A copy, since a dispatcher may pass one scope on to several applications, none of which is inside another.
            await self._live({**scope, INSIDE: self._workspace}, receive, send)
        else:
            scope[INSIDE] = self._workspace
            try:
                await self._serve(scope, receive, send)
            finally:  # the same scope may go on to another application, or once more to this one
                scope.pop(INSIDE, None)

    def _warn_of_two(self, outer: tuple[str, str]) -> None:
        if outer == self._workspace:
            warn_once(
                "UserComMiddleware is around this application twice: the inner one does nothing, nor do its settings and hooks"
            )
        else:
            warn_once(
                f"UserComMiddleware for the workspace {self.config.api_key} is inside of one for {outer[1]}: the inner one does"
                f" nothing, and what its application sends goes to {outer[1]}. Put the two side by side"
            )

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = own_state(scope)
        runtime = (
            self._client.delivery
            if self._client
            else state.get(self._runtime_name) or self._loop_runtime.get()
        )
        scope[SCOPE_KEY] = runtime or self._inline
        if self.asks and not await has_consent(self._consent, scope, self.config):
            visitor = state[STATE_KEY] = Visitor(
                scope, NoDelivery(), self.config, has_consent=False
            )
            await self.app(scope, receive, ending(send, visitor, self.config))
            return
        if runtime is None:
            if self._client is not None:
                warn_once(
                    "nobody has entered the UserComClient (async with client): its outbox and hooks are not used"
                )
            if self._outbox is not None:
                warn_once(
                    "the outbox is not used: the server gives usercom-asgi no lifespan in which it could be open"
                )
            at_once = scope["type"] == "websocket"  # which may stay open for hours
            async with InlineDelivery(
                self._open_sender, self._inline_config, at_once=at_once, listeners=self._listeners
            ) as delivery:
                await self._visit(scope, receive, send, delivery)
        else:
            await self._visit(scope, receive, send, runtime)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        state: dict[str, Any] = scope.get("state", {})
        mark_lifespan_state(state)
        if self._client is not None:
            await self.app(scope, receive, send)
            return
        runtime = DeliveryService(
            self._open_sender, self.config, outbox=self._outbox, listeners=self._listeners
        )
        state[self._runtime_name] = runtime
        self._loop_runtime.set(runtime)
        try:
            await run_lifespan(self.app, scope, receive, send, runtime)
        finally:  # a later lifespan of the same loop or state may have begun already, and stays
            if state.get(self._runtime_name) is runtime:
                del state[self._runtime_name]
            if self._loop_runtime.get() is runtime:
                self._loop_runtime.set(None)

    async def _visit(
        self, scope: Scope, receive: Receive, send: Send, delivery: DeliveryService | InlineDelivery
    ) -> None:
        login = self._login(scope)
        visitor = scope["state"][STATE_KEY] = Visitor(
            scope, delivery, self.config, login=login, flash=self.flash
        )
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        responder = Responder(send, scope, visitor, delivery, login, self)
        try:
            await self.app(scope, receive, responder.send)
            if responder.page is not None and not responder.page.is_done:
                await responder.finish(responder.page)
            if login is not None:
                login.release()
        except (
            Exception
        ):  # whatever it is, it is the application's, and goes on to whoever is further out
            await responder.give_up()
            raise
        finally:
            if visitor.request_number is not None:
                delivery.request_ended(visitor.request_number)

    def _login(self, scope: Scope) -> Login | None:
        if self._identify is None or self._identity_cookie is None:
            return None
        config = self.config
        return Login(
            self._identify,
            self._identity_cookie,
            scope,
            rotate=config.rotate_on_login,
            cuts=config.truncate_strings,
        )

    def _open_sender(self) -> AbstractAsyncContextManager[Sender]:
        return open_sender(self.config, self._transport)

    def _usercom_script(self, epoch: str | None = None, *, is_answer: bool = False) -> str:
        config = self.config
        return usercom_script(
            config.origin, config.cookie_domain, epoch, is_answer=is_answer, bridge=config.bridge
        )

    def snippet_for(
        self,
        visitor: Visitor,
        transition: ResetPlan | None,
        handover: BrowserCommandPlan | None,
        nonce: str | None = None,
    ) -> bytes:
        """Return the script tags for this visitor's page."""
        state = visitor.widget_state
        is_same = (
            transition is None
            and handover is None
            and not visitor.attributes
            and not visitor.is_form
        )
        if is_same and state is None:
            return with_nonce(self._anonymous_snippet, nonce) if nonce else self._anonymous_snippet
        before = forget_script(transition.new_key, transition.homes) if transition else ""
        settings = {**visitor.attributes, **self._settings, **({"state": state} if state else {})}
        if handover is not None:
            settings = {**(handover.introduction or {}), **settings}
        scripts = self._anonymous_script
        if not is_same:  # a page that is the same for all takes the identity that it finds
            epoch = (
                transition.epoch
                if transition
                else visitor.epoch.id
                if handover or visitor.attributes
                else None
            )
            scripts = self._callbacks + self._usercom_script(epoch, is_answer=visitor.is_form)
        after = scripts + (commands_script(handover.commands) if handover else "")
        return render(settings, self.config.widget_url, before=before, after=after, nonce=nonce)
