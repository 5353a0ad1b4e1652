"""The delivery outside of requests, for jobs, scripts and custom lifespans."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from .api import check_transport
from .core.commands import COMMANDS, ResetAuth
from .core.config import DISABLED, UserComConfig
from .core.envelope import JOB, Envelope, PageContext
from .core.event_loops import current_loop
from .core.exceptions import InvalidCommand
from .core.problems import Problems, report
from .core.receipts import OutcomeCallbacks, skip_receipt
from .core.user_key import is_user_key, new_ordering_key
from .core.validation import clean_attributes
from .delivery.outbox import validate_outbox
from .delivery.service import DeliveryService
from .delivery.stats import Stats
from .visitor.verbs import VisitorVerbs

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
    """Open a sender for the configured workspace and channel."""
    if config.uses_rest:
        from .rest.sender import open_rest_sender

        return open_rest_sender(config, transport=transport)
    from .api.widget_api import open_widget_api

    return open_widget_api(config, transport=transport)


class UserComClient:
    """A background delivery that runs while the client is entered.

    Leaving it drains within ``config.shutdown_timeout``. Entering it raises
    ``OutboxError`` if its outbox cannot be used.

    ::

        async with UserComClient(config) as client:
            await client.visitor(user_id=7).event("renewed", plan="gold")
        print(client.stats)

    A script without an event loop enters it with a plain ``with``, and uses ``sync``.
    The delivery then runs in a thread of its own, on asyncio::

        with UserComClient(config) as client:
            client.visitor(user_id=7).sync.event("renewed", plan="gold")

    A client belongs to one event loop, and any task of it may enter or leave: call
    ``__aenter__`` at start and ``__aexit__`` at the end where no block spans both. It
    can be entered again after it was left.

    Args:
        config: By default :meth:`UserComConfig.from_env`.
        outbox: Where accepted commands wait; by default in memory.
        transport: An async transport of httpx (of httpx2, where that is installed)
            for all calls to User.com: a mock in tests, or TLS of your own. Its
            owner closes it.
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
        self._latest: DeliveryService | None = None  # also after the block
        self._blocking = ExitStack()
        #: The event loop that the client was entered in, for calls from threads.
        self.loop: object | None = None

    def __enter__(self) -> Self:
        if current_loop() is not None:
            raise RuntimeError("an event loop runs in this thread: write `async with client:`")
        # Not at the top: it takes 12 ms of an import of 290 ms (CPU time, with httpx).
        from anyio.from_thread import start_blocking_portal

        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(portal.wrap_async_context_manager(self))
            self._blocking = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._blocking.close()

    async def __aenter__(self) -> Self:
        if not self.config.enabled:
            self.loop = current_loop()
            return self
        if self._is_entered and not (self._service is not None and self._service.is_over):
            raise RuntimeError(
                "the UserComClient is already running, create one client for each block"
            )
        self._is_entered, self.loop = True, current_loop()
        service = self._make_service()
        try:
            await service.start()
            self._service = self._latest = service
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
        self.loop = None
        if service is not None:
            await service.drain()
            self._is_entered = False

    def _make_service(self) -> DeliveryService:
        return DeliveryService(
            lambda: open_sender(self.config, self._transport),
            self.config,
            outbox=self._outbox,
            callbacks=self._callbacks,
        )

    @property
    def delivery(self) -> DeliveryService | None:
        """The running delivery; None while the client is not running."""
        return self._service

    @property
    def stats(self) -> Stats:
        """Counters of the commands, which stay readable after the block."""
        return self._latest.stats if self._latest is not None else Stats()

    def visitor(
        self,
        *,
        key: str | None = None,
        user_id: str | int | None = None,
        email: str | None = None,
        page: PageContext | None = None,
    ) -> ClientVisitor:
        """Return the verbs of a handler's visitor for the person of :meth:`send`.

        Raises:
            InvalidCommand: If the key is malformed, or all three are missing.

        """
        self._check_person(key, user_id, email)
        return ClientVisitor(self, key=key, user_id=user_id, email=email, page=page)

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
        receipt has the outcome. Commands of one visitor are delivered in order.
        Without a key, the profile is found or created first, which User.com counts as
        a page view.

        Raises:
            TypeError: If the command is not one.
            InvalidCommand: If the key is malformed, or all three are missing.
            RuntimeError: If the client is not running.

        """
        _check_types(command, page)
        self._check_person(key, user_id, email)
        problems: Problems = [*command.problems]
        named: dict[str, Any] = clean_attributes({"user_id": user_id, "email": email}, problems)
        report(type(command).__name__, problems, strict=self.config.strict)
        if not self.config.enabled:
            return skip_receipt(command, DISABLED)
        service = self.delivery
        if service is None:
            raise RuntimeError(
                "the UserComClient is not running, enter it with `async with client:`"
            )
        if key is None and not named:
            return service.skip(command, str(problems[-1]))
        # A reset has a queue of its own, because later commands with the old key are
        # still commands of the old visitor.
        ordering_key = (
            new_ordering_key()
            if isinstance(command, ResetAuth)
            else key or f"job:{sorted(named.items())}"
        )
        # With a key, each command is sent with that key. Without one, all jobs'
        # commands for this user share one look-up.
        source = new_ordering_key() if key else JOB
        envelope = Envelope(
            command=command,
            ordering_key=ordering_key,
            key=key,
            source=source,
            identity=named,
            page=page or PageContext(),
        )
        receipt = service.submit(envelope)
        await receipt.stored()
        return receipt

    def _check_person(self, key: object, user_id: object, email: object) -> None:
        if key is not None and not (isinstance(key, str) and is_user_key(key)):
            raise InvalidCommand("key", "must be a user key: 1 to 64 ASCII letters and digits")
        if key is None and user_id is None and email is None:
            raise InvalidCommand(
                "key", "must be the visitor's user key, or pass the user's user_id or email"
            )


class ClientVisitor(VisitorVerbs):
    """A person outside of requests, from :meth:`UserComClient.visitor`."""

    __slots__ = ("_client", "_person")

    def __init__(self, client: UserComClient, **person: Any) -> None:
        self._client = client
        self._person = person

    def __repr__(self) -> str:
        return "<ClientVisitor>"

    async def _send(self, command: Command) -> Receipt:
        return await self._client.send(command, **self._person)

    @property
    def _strict(self) -> bool:
        return self._client.config.strict

    @property
    def _loop(self) -> object | None:
        return self._client.loop


def _check_types(command: object, page: object) -> None:
    if not isinstance(command, COMMANDS):
        given = command.__name__ if isinstance(command, type) else type(command).__name__
        raise TypeError(
            "command must be a command, such as Event('renewed', {'plan': 'gold'}), "
            f"got {'the class ' if isinstance(command, type) else ''}{given}"
        )
    if page is not None and not isinstance(page, PageContext):
        raise TypeError(
            f"page must be a PageContext(url=..., domain=...), got {type(page).__name__}"
        )
