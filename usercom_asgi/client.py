"""The delivery outside of requests, for jobs, scripts and custom lifespans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from .core.commands import ResetAuth
from .core.config import UserComConfig
from .core.envelope import Envelope, PageContext
from .core.exceptions import ConfigurationError, InvalidCommand
from .core.receipts import OutcomeCallbacks
from .core.user_key import is_user_key, new_ordering_key
from .core.validation import clean_attributes
from .delivery.outbox import validate_outbox
from .delivery.service import DeliveryService

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from .api.client import Transport
    from .core.commands import Command
    from .core.envelope import Sender
    from .core.receipts import OutcomeHook, Receipt
    from .delivery.outbox import Outbox


def open_sender(
    config: UserComConfig, transport: Transport | None = None
) -> AbstractAsyncContextManager[Sender]:
    """Open a sender for the configured workspace."""
    from .api.widget_api import open_widget_api

    return open_widget_api(config, transport=transport)


def check_transport(transport: object) -> Transport | None:
    """Return a transport that was passed as an argument.

    Raises:
        ConfigurationError: It is not an async transport of the installed httpx.

    """
    if transport is None:
        return None
    from .api.client import Transport

    if not isinstance(transport, Transport):
        needed = f"{Transport.__module__.partition('.')[0]}.{Transport.__name__}"
        raise ConfigurationError(
            "transport", f"must be an {needed}, got {type(transport).__name__}"
        )
    return transport


class UserComClient:
    """A background delivery that runs while the client is entered.

    Leaving it drains within ``config.shutdown_timeout``. Entering it raises
    ``OutboxError`` if its outbox cannot be used.

    ::

        async with UserComClient(config) as client:
            receipt = await client.send(Event("renewed", {"plan": "gold"}), key=key)

    A client belongs to one event loop, and any task of it may enter or leave: call
    ``__aenter__`` at start and ``__aexit__`` at the end where no block spans both. It
    can be entered again after it was left.

    Args:
        config: By default :meth:`UserComConfig.from_env`.
        outbox: Where accepted commands wait; by default in memory.
        transport: An async transport of httpx (of httpx2, where that is installed) for
            all calls to User.com: a mock in tests, or TLS of your own. Its owner closes
            it.
        on_delivered, on_dropped, on_dead: Plain functions called with the
            :class:`Outcome` of a command.

    Raises:
        ConfigurationError: A setting is missing or malformed.

    """

    def __init__(
        self,
        config: UserComConfig | None = None,
        *,
        outbox: Outbox | None = None,
        transport: Transport | None = None,
        on_delivered: OutcomeHook | None = None,
        on_dropped: OutcomeHook | None = None,
        on_dead: OutcomeHook | None = None,
    ) -> None:
        self.config = UserComConfig.resolve(config)
        self._outbox = validate_outbox(outbox)
        self._transport = check_transport(transport)
        self._callbacks = OutcomeCallbacks(
            on_delivered=on_delivered, on_dropped=on_dropped, on_dead=on_dead
        )
        self._service: DeliveryService | None = None
        self._is_entered = False

    async def __aenter__(self) -> Self:
        if self._is_entered and not (self._service is not None and self._service.is_over):
            raise RuntimeError(
                "the UserComClient is already running, create one client for each block"
            )
        self._is_entered = True
        service = DeliveryService(
            lambda: open_sender(self.config, self._transport),
            self.config,
            outbox=self._outbox,
            callbacks=self._callbacks,
        )
        try:
            await service.start()
            self._service = service
        finally:
            self._is_entered = self._service is service
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        service, self._service = self._service, None
        if service is not None:
            await service.drain()
            self._is_entered = False

    @property
    def delivery(self) -> DeliveryService | None:
        """The running delivery; None while the client is not running."""
        return self._service

    async def send(
        self,
        command: Command,
        *,
        key: str | None = None,
        user_id: str | int | None = None,
        email: str | None = None,
        page: PageContext | None = None,
    ) -> Receipt:
        """Enqueue a command for the visitor with this key, ``user_id`` or ``email``.

        Returns at once, or when the command is on disk if the outbox keeps a file. The
        receipt has the outcome. Commands of one visitor are delivered in order. Without
        a key, the profile is found or created first, which User.com counts as a page
        view.

        Raises:
            InvalidCommand: If the key is malformed, or all three are missing.
            RuntimeError: If the client is not running.

        """
        if self._service is None:
            raise RuntimeError(
                "the UserComClient is not running, enter it with `async with client:`"
            )
        if key is not None and not is_user_key(key):
            raise InvalidCommand("key", "must be a user key: 1 to 64 ASCII letters and digits")
        named: dict[str, Any] = clean_attributes({"user_id": user_id, "email": email})
        if key is None and not named:
            raise InvalidCommand(
                "key", "must be the visitor's user key, or pass the user's user_id or email"
            )
        # A reset has a queue of its own, because later commands with the old key are
        # still commands of the old visitor.
        ordering_key = (
            new_ordering_key()
            if isinstance(command, ResetAuth)
            else key or f"job:{sorted(named.items())}"
        )
        # With a key, each command is sent with that key. Without one, all jobs'
        # commands for this user share one look-up.
        source = new_ordering_key() if key else "job"
        envelope = Envelope(
            command=command,
            ordering_key=ordering_key,
            key=key,
            source=source,
            identity=named,
            page=page or PageContext(),
        )
        receipt = self._service.submit(envelope)
        await receipt.stored()
        return receipt
