"""Finds the delivery of a request, and runs one for as long as a lifespan lasts."""

from __future__ import annotations

import logging
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import RunVar

from ..api import check_transport
from ..client import open_sender
from ..core.config import DISABLED
from ..core.event_loops import current_loop
from ..core.exceptions import ConfigurationError
from ..core.log import warn_once
from ..core.receipts import OutcomeCallbacks
from ..delivery.inline import InlineDelivery, LastingDelivery
from ..delivery.lifespan import run_lifespan
from ..delivery.log_throttle import LogThrottle
from ..delivery.outbox import validate_outbox
from ..delivery.recorder import OutcomeHooks
from ..delivery.service import DeliveryService
from .scope import mark_lifespan_state

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..api.client import Transport
    from ..client import UserComClient
    from ..core.config import UserComConfig
    from ..core.envelope import Sender
    from ..delivery.outbox import Outbox

logger = logging.getLogger("usercom_asgi")

# Numbers the providers of this process, so that each has a key of its own in a shared
# state.
_numbers = count(1)


class DeliveryProvider:
    """The deliveries of one middleware.

    With a client, a request uses the client's delivery. Otherwise it uses that of the
    lifespan state or, if the state names none, that of the event loop. If there is none,
    or it has ended or runs in another loop, the request gets a delivery for itself alone.

    Raises:
        ConfigurationError: An argument is malformed, or the client has its own.

    """

    def __init__(
        self,
        config: UserComConfig,
        *,
        client: UserComClient | None = None,
        outbox: Outbox | None = None,
        transport: Transport | None = None,
        callbacks: OutcomeCallbacks,
    ) -> None:
        self._config = config
        self._client = client
        self._outbox = validate_outbox(outbox)
        self._transport = check_transport(transport)
        self._callbacks = callbacks
        self._inline_hooks = OutcomeHooks(callbacks)
        self._inline_throttle = LogThrottle()  # of all requests
        has_own = outbox is not None or transport is not None or callbacks != OutcomeCallbacks()
        if client is not None and has_own:
            raise ConfigurationError(
                "client",
                "has an outbox, a transport and hooks of its own: give them to the UserComClient",
            )
        # One process may serve two workspaces, and a dispatcher may give both the same
        # lifespan state: the key holds a number, so that neither finds the other's
        # delivery.
        self._state_key = f"usercom_asgi.delivery.{next(_numbers)}"
        # Made by the first lifespan, because a look-up costs as much as half of a
        # request.
        self._loop_delivery: RunVar[DeliveryService | None] | None = None
        self._has_ended = False  # True once a lifespan of this middleware has, for a warning

    def running_for(self, state: Mapping[str, Any]) -> DeliveryService | None:
        """Return the delivery that outlives the request with this state; None if there is none.

        It is the client's, or that of the lifespan which the server names in the state,
        or else that of the lifespan in this event loop.

        One that has ended is none: servers go on after a lifespan that has failed, some
        with a copy of its state, and each request then delivers its own commands.
        """
        service: DeliveryService | None
        if self._client is not None:
            service = self._client.delivery
        else:
            service = state.get(self._state_key)
            if service is None and self._loop_delivery is not None:
                service = self._loop_delivery.get()
        if service is None or service.is_over:
            return None
        # What runs in another event loop cannot be used from this one.
        loop = service.loop
        return service if loop is None or loop is current_loop() else None

    def open_inline(self, *, at_once: bool = False) -> InlineDelivery:
        """Return a delivery for one request alone, which delivers when the request leaves it.

        With ``at_once`` it delivers while the request goes on.
        """
        if self._client is not None:
            warn_once(
                "client_not_entered",
                "The UserComClient is not entered in this event loop (async with client): its "
                "outbox and hooks are not used",
            )
        if self._has_ended:
            warn_once(
                "lifespan_ended",
                "The application's lifespan has ended and requests still arrive: each sends its own "
                "commands. Find out in the log of the application why it has ended; in a test, "
                "make each request in `with TestClient(app)`",
            )
        elif self._outbox is not None:
            warn_once(
                "outbox_unused",
                "The outbox is not used: the server gives usercom-asgi no lifespan in which it "
                "could be open",
            )
        return InlineDelivery(
            self._open_sender,
            self._config,
            self._inline_hooks,
            self._inline_throttle,
            at_once=at_once,
        )

    def open_lasting(self, running: DeliveryService | None) -> LastingDelivery | InlineDelivery:
        """Return a delivery for a websocket, which may stay open for hours.

        It may outlive the running delivery, and then sends at once.
        """
        make_inline = partial(self.open_inline, at_once=True)
        return make_inline() if running is None else LastingDelivery(running, make_inline)

    async def run_lifespan(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a lifespan, with a delivery that runs as long as it lasts.

        With a client, or if the middleware is switched off, the application serves it alone.
        """
        state: dict[str, Any] = scope.get("state", {})
        mark_lifespan_state(state)
        if not self._config.enabled:
            logger.info(
                "No command is delivered: %s",
                DISABLED,
                extra={"usercom_event": "delivery_disabled"},
            )
        if self._client is not None or not self._config.enabled:
            await app(scope, receive, send)
            return
        self._has_ended = False
        service = self._make_service()
        state[self._state_key] = service
        if self._loop_delivery is None:
            # Before anyio 4.15 two RunVars of one name are one variable.
            self._loop_delivery = RunVar(self._state_key, None)
        self._loop_delivery.set(service)
        try:
            await run_lifespan(app, scope, receive, send, service)
        finally:  # only its own: a later lifespan of this loop or state may have begun already
            if state.get(self._state_key) is service:
                del state[self._state_key]
            if self._loop_delivery.get() is service:
                self._loop_delivery.set(None)
            self._has_ended = True

    def _make_service(self) -> DeliveryService:
        return DeliveryService(
            self._open_sender, self._config, outbox=self._outbox, callbacks=self._callbacks
        )

    def _open_sender(self) -> AbstractAsyncContextManager[Sender]:
        return open_sender(self._config, self._transport)
