"""Start and end of the delivery, inside of the application's own ASGI lifespan.

The workers start before ``startup.complete`` is passed on, and are drained before
``shutdown.complete`` is: servers do not wait for what a middleware does after that.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from ..core.exceptions import OutboxError, UserComError

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .service import DeliveryService

logger = logging.getLogger("usercom_asgi")

# Django (ticket 31508) and the router of Channels raise these at every start.
_NO_LIFESPAN = (
    "can only handle ASGI/HTTP connections",
    "No application configured for scope type 'lifespan'",
)


async def run_lifespan(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, service: DeliveryService
) -> None:
    """Run the application's lifespan, with the delivery inside it.

    If the application does not support lifespan (it returns at once, or raises),
    complete the protocol on its behalf so that the delivery can start and drain.
    """
    error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        proxy = _LifespanProxy(receive, send, service, tasks)
        try:
            await proxy.run(app, scope)
        except Exception as raised:  # noqa: BLE001  raised again below, outside the group that would wrap it
            error = raised
        finally:
            await proxy.end()
            tasks.cancel_scope.cancel()
    if error is not None:
        raise error


async def fail_startup(error: Exception, receive: Receive, send: Send) -> None:
    """End the start of the server with the message of an error, and raise it.

    Servers show the message. Starlette's ``TestClient`` waits for the error.
    """
    # These are complete in one line.
    if not isinstance(error, (UserComError, TypeError)):
        logger.error(
            "UserComMiddleware cannot be constructed",
            exc_info=error,
            extra={"usercom_event": "startup_failed", "usercom_error": type(error).__name__},
        )
    await receive()
    await send({"type": "lifespan.startup.failed", "message": f"usercom-asgi: {error}"})
    raise error.with_traceback(None)


class _LifespanProxy:
    """Passes lifespan messages on, and starts and drains the delivery in between."""

    def __init__(
        self, receive: Receive, send: Send, service: DeliveryService, tasks: TaskGroup
    ) -> None:
        self._receive = receive
        self._send = send
        self._service = service
        self._tasks = tasks
        self._received: set[str] = set()
        self._sent: set[str] = set()
        self._drained = False
        #: The delivery failed to start, and startup.failed was sent.
        self._has_failed = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run the application's lifespan, and complete what it leaves out."""
        try:
            await app(scope, self.receive, self.send)
        except Exception as error:
            if self._sent:
                raise
            _explain(error)
        if "lifespan.startup.failed" not in self._sent:
            await self._complete_for_app()

    async def receive(self) -> Message:
        """Pass a message on to the application, and record it."""
        message = await self._receive()
        self._received.add(message["type"])
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on to the server, after starting or draining the delivery."""
        kind = message["type"]
        if self._has_failed:
            return  # startup.failed was sent already
        if kind == "lifespan.startup.complete":
            await self._start()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            await self.end()
        self._sent.add(kind)
        await self._send(message)

    async def _start(self) -> None:
        try:
            await self._tasks.start(self._service.run)
        except OutboxError as error:
            # The outbox is required, so the server shows the reason in one line.
            self._has_failed = True
            self._sent.add("lifespan.startup.failed")
            await self._send(
                {"type": "lifespan.startup.failed", "message": f"usercom-asgi: {error}"}
            )
            raise

    async def end(self) -> None:
        """Drain the delivery, once."""
        if not self._drained:
            self._drained = True
            await self._service.drain()

    async def _complete_for_app(self) -> None:
        if "lifespan.startup" not in self._received:
            await self.receive()
        if "lifespan.startup.complete" not in self._sent:
            await self.send({"type": "lifespan.startup.complete"})
        if "lifespan.shutdown" not in self._received:
            await self.receive()
        if not self._sent & {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
            await self.send({"type": "lifespan.shutdown.complete"})


def _explain(error: Exception) -> None:
    if any(each in str(error) for each in _NO_LIFESPAN):
        logger.debug(
            "The application has no lifespan, completing the protocol for it",
            extra={"usercom_event": "lifespan_unsupported"},
        )
    else:
        logger.warning(
            "The application raised on lifespan, completing the protocol for it",
            exc_info=error,
            extra={"usercom_event": "lifespan_raised", "usercom_error": type(error).__name__},
        )
