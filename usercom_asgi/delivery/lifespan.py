"""Starts and drains the delivery inside the ASGI lifespan, without replacing the application's own.

The workers start before ``startup.complete`` goes on, and are drained before ``shutdown.complete`` does: no server waits for
what a middleware does after that (asgi-checklist, facts 1 and 2).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from ..core.exceptions import OutboxError

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .service import DeliveryService

logger = logging.getLogger("usercom_asgi")

# Django says so at every start, and means no harm (Django ticket 31508).
_DJANGO = "can only handle ASGI/HTTP connections"


async def run_lifespan(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, runtime: DeliveryService
) -> None:
    """Let the application have its lifespan, with the runtime running in it.

    An application that has none (returns at once, or raises at the sight of it) is spoken for, so that the delivery has one.
    """
    error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        proxy = _LifespanProxy(receive, send, runtime, tasks)
        try:
            await proxy.run(app, scope)
        except Exception as raised:  # noqa: BLE001  raised again below, outside the group that would wrap it
            error = raised
        finally:
            await proxy.end()
            tasks.cancel_scope.cancel()
    if error is not None:
        raise error


class _LifespanProxy:
    """The messages between server and application, and what the runtime does at each."""

    def __init__(
        self, receive: Receive, send: Send, runtime: DeliveryService, tasks: TaskGroup
    ) -> None:
        self._receive = receive
        self._send = send
        self._runtime = runtime
        self._tasks = tasks
        self._received: set[str] = set()
        self._sent: set[str] = set()
        self._drained = False
        #: Our own part of the startup has failed, and the server was told.
        self._has_failed = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run the application's lifespan, and what it leaves out of it."""
        try:
            await app(scope, self.receive, self.send)
        except Exception as error:
            if self._sent:
                raise
            _explain(error)
        if "lifespan.startup.failed" not in self._sent:
            await self._complete_for_app()

    async def receive(self) -> Message:
        """Pass a message on to the application, and remember that it came."""
        message = await self._receive()
        self._received.add(message["type"])
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on to the server, with our own work before it."""
        kind = message["type"]
        if self._has_failed:
            return  # the server knows already
        if kind == "lifespan.startup.complete":
            await self._start()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            await self.end()
        self._sent.add(kind)
        await self._send(message)

    async def _start(self) -> None:
        try:
            await self._tasks.start(self._runtime.run)
        except OutboxError as error:
            # Configured to be an error at start, and the server should show what is wrong in one clear line.
            self._has_failed = True
            self._sent.add("lifespan.startup.failed")
            await self._send(
                {"type": "lifespan.startup.failed", "message": f"usercom-asgi: {error}"}
            )
            raise

    async def end(self) -> None:
        """Drain the runtime, once."""
        if not self._drained:
            self._drained = True
            await self._runtime.drain()

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
    if _DJANGO in str(error):
        logger.debug("the application has no lifespan; usercom-asgi speaks for it")
    else:
        logger.warning(
            "the application raised at the lifespan; usercom-asgi speaks for it", exc_info=error
        )
