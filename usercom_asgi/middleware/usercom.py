"""The ASGI middleware."""

from __future__ import annotations

from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..client import UserComClient
from ..core.config import DISABLED, UserComConfig
from ..core.event_loops import current_loop
from ..core.exceptions import ConfigurationError
from ..core.log import warn_once
from ..core.problems import did_you_mean
from ..core.receipts import OutcomeCallbacks
from ..delivery.inline import DISABLED_STATUS, INLINE_STATUS
from ..delivery.lifespan import fail_startup
from ..page import fast_path
from ..visitor.visitor import Visitor
from .delivery_provider import DeliveryProvider
from .reset import expire_key_on_send
from .responder import Responder
from .scope import DELIVERY_KEY, ENCLOSING_KEY, VISITOR_KEY, unshare_state
from .site import Site

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..api.client import Transport
    from ..core.hooks import ConsentHook, InjectHook, NonceHook
    from ..core.receipts import OutcomeHook
    from ..delivery.inline import InlineDelivery
    from ..delivery.outbox import Outbox
    from ..delivery.service import DeliveryService
    from ..visitor.login import IdentifyHook
    from .site import Workspace

    #: Litestar and Quart have their own types for the scope and the messages.
    Application = Callable[[Any, Any, Any], Awaitable[None]]


Init = TypeVar("Init", bound="Callable[..., None]")


def _fail_at_startup(init: Init) -> Init:
    """Keep an error of a constructor that runs inside of an event loop, for the lifespan.

    Starlette constructs its middlewares within the lifespan. Servers take an error
    there for an application without a lifespan: they start, and answer each
    request with 500.
    """
    known = signature(init).parameters

    @wraps(init)
    def construct(self: UserComMiddleware, *args: Any, **settings: Any) -> None:
        self.startup_error = None
        try:
            _check_names(settings, known)
            init(self, *args, **settings)
        except Exception as error:
            if current_loop() is None:
                raise
            self.startup_error = error

    return cast("Init", construct)


def _check_names(given: Iterable[str], known: Mapping[str, object]) -> None:
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known)
            if name in UserComConfig.__annotations__:
                hint = f": write config=UserComConfig({name}=...)"
            raise TypeError(f"UserComMiddleware has no argument {name!r}{hint}")


class UserComMiddleware:
    """ASGI middleware that tracks visitors, injects the widget and delivers commands.

    Handlers reach the visitor as ``request.state.usercom``, or with
    :func:`get_visitor`. Add it inside of any compressing middleware. With
    ``UserComMiddleware(app)`` around the whole application, instead of
    ``add_middleware``, error pages carry the widget as well.

    Args:
        app: The ASGI application.
        config: Defaults to the client's, or without a client to
            :meth:`UserComConfig.from_env`. Must equal the client's if both are given.
        identify: Returns the logged-in user, None if there is none, or ``UNKNOWN``.
            Called at most once a request: before a command, for a page that carries the
            widget or browser commands, and where the response may have logged a known user
            out. With it, logins and logouts are detected. Needs ``secret_keys``.
        consent: Returns whether the visitor may be tracked; by default everyone. If
            not, the response has no widget and no new cookie, and the visitor's
            methods send nothing.
        nonce: Returns the nonce of the response's Content-Security-Policy. Defaults to
            the one in the policy.
        should_inject: True or False force the decision for an HTML response;
            None leaves it to the library. True also covers answers to htmx,
            downloads and ``no-transform``.
        outbox: Where accepted commands wait; by default in memory. Not used without a
            lifespan, which a warning in the log points out.
        transport: An async transport of httpx (of httpx2, where that is installed)
            for all calls to User.com: a mock in tests, or TLS of your own. Its
            owner closes it.
        on_delivered, on_dropped, on_dead: Plain functions that receive the
            :class:`Outcome` of each command.
        client: A client to deliver with, for an application without a lifespan of its
            own. The application enters and leaves it. The outbox, the transport and the
            ``on_...`` functions are then arguments of the client.

    ``identify``, ``consent``, ``nonce`` and ``should_inject`` receive the connection,
    and may be coroutine functions.

    Raises:
        ConfigurationError: A setting is missing or malformed. Inside of an event loop,
            as in ``add_middleware``, the startup fails with it; without a lifespan, each
            request raises it.

    """

    #: The error of a constructor that ran inside of an event loop.
    startup_error: Exception | None

    @_fail_at_startup
    def __init__(
        self,
        app: Application,
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
        self.app: ASGIApp = app
        self.config = _resolve_config(config, client)
        fast_path.patterns()  # compiled here, not in the first request
        self._site = Site(
            self.config,
            identify=identify,
            consent=consent,
            nonce=nonce,
            should_inject=should_inject,
        )
        self._deliveries = DeliveryProvider(
            self.config,
            client=client,
            outbox=outbox,
            transport=transport,
            callbacks=OutcomeCallbacks(
                on_delivered=on_delivered, on_dropped=on_dropped, on_dead=on_dead
            ),
        )

    @property
    def delivery(self) -> DeliveryService | None:
        """The client's delivery, or that of the lifespan in this event loop; None without one."""
        return self._deliveries.running_for({})  # without the state of a request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection, or the lifespan."""
        if self.startup_error is not None:
            if scope["type"] == "lifespan":
                await fail_startup(self.startup_error, receive, send)
            # Without the traceback, which would grow with each request.
            raise self.startup_error.with_traceback(None)
        if scope["type"] not in ("http", "websocket", "lifespan"):
            await self.app(scope, receive, send)
        elif ENCLOSING_KEY in scope and scope[ENCLOSING_KEY].config.enabled:
            self._warn_nested(scope[ENCLOSING_KEY].workspace)
            await self.app(scope, receive, send)
        elif scope["type"] == "lifespan":
            # A copy, because a dispatcher may pass one lifespan to several
            # applications at once.
            inner = {**scope, ENCLOSING_KEY: self._site}
            await self._deliveries.run_lifespan(self.app, inner, receive, send)
        else:
            # Not a copy, because outer middlewares read the visitor from the state
            # of this scope.
            scope[ENCLOSING_KEY] = self._site
            try:
                await self._handle(scope, receive, send)
            finally:  # an outer middleware may call another application with the same scope
                scope.pop(ENCLOSING_KEY, None)

    def _handle(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Return the coroutine that serves a request or a websocket."""
        state = unshare_state(scope)
        if not self.config.enabled:
            scope[DELIVERY_KEY] = DISABLED_STATUS
            state[VISITOR_KEY] = Visitor(self._site.open_refused_session(scope, DISABLED))
            return self.app(scope, receive, send)
        running = self._deliveries.running_for(state)
        scope[DELIVERY_KEY] = running or INLINE_STATUS
        # Most sites require no consent and have a lifespan, so they get no further coroutine.
        if self._site.requires_consent:
            return self._handle_if_consented(scope, receive, send, running)
        return self._handle_tracked(scope, receive, send, running)

    async def _handle_if_consented(
        self, scope: Scope, receive: Receive, send: Send, running: DeliveryService | None
    ) -> None:
        if await self._site.has_consent(scope):
            await self._handle_tracked(scope, receive, send, running)
            return
        session = self._site.open_refused_session(scope)
        scope["state"][VISITOR_KEY] = Visitor(session)
        # If the handler of a request resets the visitor, a cookie from the time of consent
        # is expired. A websocket cannot change cookies.
        await self.app(scope, receive, expire_key_on_send(send, session, self.config))

    def _handle_tracked(
        self, scope: Scope, receive: Receive, send: Send, running: DeliveryService | None
    ) -> Awaitable[None]:
        if scope["type"] == "websocket":
            return self._handle_websocket(scope, receive, send, running)
        if running is None:
            return self._handle_inline(scope, receive, send)
        return self._handle_request(scope, receive, send, running)

    async def _handle_websocket(
        self, scope: Scope, receive: Receive, send: Send, running: DeliveryService | None
    ) -> None:
        # A websocket may stay open after the lifespan, and with it the delivery, has ended:
        # then each command is sent at once.
        async with self._deliveries.open_lasting(running) as lasting:
            scope["state"][VISITOR_KEY] = Visitor(self._site.open_session(scope, lasting))
            await self.app(scope, receive, send)

    async def _handle_inline(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request without a lifespan, with a delivery that ends after the response."""
        async with self._deliveries.open_inline() as delivery:
            await self._handle_request(scope, receive, send, delivery)

    def _handle_request(
        self, scope: Scope, receive: Receive, send: Send, delivery: DeliveryService | InlineDelivery
    ) -> Awaitable[None]:
        """Return the coroutine that serves a request, with this delivery for its commands."""
        session = self._site.open_session(scope, delivery)
        scope["state"][VISITOR_KEY] = Visitor(session)
        return Responder(self.app, session, delivery, self._site).respond(scope, receive, send)

    def _warn_nested(self, outer: Workspace) -> None:
        if outer == self._site.workspace:
            warn_once(
                "middleware_nested",
                "UserComMiddleware is installed twice around this application: the inner one does "
                "nothing, nor do its settings and hooks",
            )
        else:
            warn_once(
                "middleware_nested",
                f"UserComMiddleware for the workspace {self.config.api_key} is inside of one for "
                f"{outer.api_key}: the inner one does nothing, and the commands of its application go "
                f"to {outer.api_key}. Put the two side by side",
            )


def _resolve_config(config: UserComConfig | None, client: UserComClient | None) -> UserComConfig:
    if client is not None and not isinstance(client, UserComClient):
        raise ConfigurationError("client", f"must be a UserComClient, got {type(client).__name__}")
    if client is not None and config is not None and config != client.config:
        # Pages would load one workspace's widget, and commands would go to
        # the other one.
        raise ConfigurationError(
            "client",
            "has another config than the one given beside it: give the UserComClient alone",
        )
    return UserComConfig.resolve(config or (client.config if client else None))
