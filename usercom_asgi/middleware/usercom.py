"""The ASGI middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.config import UserComConfig
from ..core.exceptions import ConfigurationError
from ..core.hooks import warn_once
from ..core.receipts import Listeners
from ..visitor.consent import NoDelivery
from ..visitor.visitor import Visitor
from .delivery_provider import DeliveryProvider
from .responder import Responder, expire_key_on_send
from .scope import INSIDE, SCOPE_KEY, STATE_KEY, own_state
from .site import Site

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..api.client import Transport
    from ..client import UserComClient
    from ..core.hooks import ConsentHook, InjectHook, NonceHook
    from ..core.receipts import OutcomeHook
    from ..delivery.inline import InlineDelivery
    from ..delivery.outbox import Outbox
    from ..delivery.service import DeliveryService
    from ..visitor.login import IdentifyHook


class UserComMiddleware:
    """ASGI middleware that tracks visitors, injects the widget and delivers commands.

    Handlers reach the visitor as ``request.state.usercom``, or with :func:`get_visitor`.
    Add it inside of any compressing middleware. Wrapped around a whole ASGI application, it
    puts the widget on error pages as well.

    Args:
        app: The ASGI application.
        config: Defaults to the client's, or to :meth:`UserComConfig.from_env`. Beside a client,
            no other configuration is accepted.
        identify: Returns the logged-in user, or None. Called at most once a request, and only
            when the user matters. With it, logins and logouts are detected; needs
            ``secret_keys``.
        consent: Returns whether the visitor may be tracked. If not, there is no snippet, no
            cookie and no delivery, and the helpers still return. Everyone may by default.
        nonce: Returns the nonce of the response's Content-Security-Policy. Defaults to the one
            in the policy.
        should_inject: True or False force the decision for an HTML response; None leaves it to
            the library. True also covers answers to htmx, downloads and ``no-transform``.
        outbox: Where accepted commands wait. In memory by default. Needs a lifespan.
        transport: An async transport of httpx (of httpx2, where that is installed) for all calls
            to User.com: a mock in tests, or TLS of your own. Its owner closes it.
        on_delivered, on_dropped, on_dead: Plain functions that receive the :class:`Outcome` of
            each command.
        client: A client to deliver with, for an application without a lifespan of its own. The
            application enters and leaves it. It has its own outbox and hooks.

    All hooks but the last three receive the connection, and may be coroutine functions.

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
        self.config = _resolve_config(config, client)
        self._site = Site(
            self.config,
            identify=identify,
            consent=consent,
            nonce=nonce,
            should_inject=should_inject,
        )
        self._delivery = DeliveryProvider(
            self.config,
            client=client,
            outbox=outbox,
            transport=transport,
            listeners=Listeners(on_delivered=on_delivered, on_dropped=on_dropped, on_dead=on_dead),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection, or the lifespan."""
        if scope["type"] not in ("http", "websocket", "lifespan"):
            await self.app(scope, receive, send)
        elif INSIDE in scope:
            self._warn_if_nested(scope[INSIDE])
            await self.app(scope, receive, send)
        elif scope["type"] == "lifespan":
            # A copy, because a dispatcher may pass one scope on to several applications side by
            # side.
            inner = {**scope, INSIDE: self._site.workspace}
            await self._delivery.run_lifespan(self.app, inner, receive, send)
        else:
            scope[INSIDE] = self._site.workspace
            try:
                await self._handle(scope, receive, send)
            finally:  # the same scope may go on to another application, or to this one again
                scope.pop(INSIDE, None)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        own_state(scope)
        running = self._delivery.running_for(scope)
        scope[SCOPE_KEY] = running or self._delivery.inline_status
        # Most sites ask for no consent, so no coroutine is awaited for it there.
        if self._site.requires_consent and not await self._site.has_consent(scope):
            visitor = Visitor(scope, NoDelivery(), self.config, has_consent=False)
            scope["state"][STATE_KEY] = visitor
            # At a logout, the key that was set before the refusal is expired.
            await self.app(scope, receive, expire_key_on_send(send, visitor, self.config))
        elif running is not None:
            await self._handle_visitor(scope, receive, send, running)
        else:
            async with self._delivery.inline_for(scope) as delivery:
                await self._handle_visitor(scope, receive, send, delivery)

    async def _handle_visitor(
        self, scope: Scope, receive: Receive, send: Send, delivery: DeliveryService | InlineDelivery
    ) -> None:
        site = self._site
        login = site.login_for(scope)
        visitor = Visitor(scope, delivery, self.config, login=login, flash=site.flash)
        scope["state"][STATE_KEY] = visitor
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        try:
            await Responder(self.app, visitor, delivery, login, site)(scope, receive, send)
        finally:
            if visitor.request_number is not None:
                delivery.request_ended(visitor.request_number)

    def _warn_if_nested(self, outer: tuple[str, str]) -> None:
        if outer == self._site.workspace:
            warn_once(
                "UserComMiddleware is installed twice around this application: the inner one does "
                "nothing, nor do its settings and hooks"
            )
        else:
            warn_once(
                f"UserComMiddleware for the workspace {self.config.api_key} is inside of one for "
                f"{outer[1]}: the inner one does nothing, and the commands of its application go "
                f"to {outer[1]}. Put the two side by side"
            )


def _resolve_config(config: UserComConfig | None, client: UserComClient | None) -> UserComConfig:
    if client is not None and config is not None and config != client.config:
        # Pages would load one workspace's widget, and commands would go to the other one.
        raise ConfigurationError(
            "client",
            "has another config than the one given beside it: give the UserComClient alone",
        )
    return UserComConfig.checked(config or (client.config if client else None))
