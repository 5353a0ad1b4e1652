"""A live sandbox for the fixture ``usercom_sandbox``."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..core.config import UserComConfig

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..sandbox import Faults, RunningSandbox, Store

_API_KEY = "ABC123"


class LiveSandbox:
    """A running sandbox, which listens on a free port of this machine."""

    def __init__(self, running: RunningSandbox) -> None:
        self._running = running

    @property
    def url(self) -> str:
        """The address of the sandbox."""
        return self._running.url

    @property
    def store(self) -> Store:
        """What has arrived: ``events``, ``users``, ``hits`` and more."""
        return self._running.sandbox.store

    @property
    def faults(self) -> Faults:
        """The faults that the sandbox makes."""
        return self._running.sandbox.faults

    def config(self, **settings: Any) -> UserComConfig:
        """Return :meth:`UserComConfig.sandbox` with the address of this sandbox.

        The sandbox answers for certain, so a slow machine has its time.
        """
        patient = {"timeout": 5.0, "inline_deadline": 10.0, "shutdown_timeout": 10.0}
        return UserComConfig.sandbox(self.url, **{"api_key": _API_KEY, **patient, **settings})

    def new_key(self) -> str:
        """Return the user key of a new visitor, whom the sandbox knows."""
        return self.store.create().key

    def reset(self) -> None:
        """Remove all that has arrived, and end the faults."""
        self.faults.stop()  # gives up what hangs, which clear() alone would process
        self.faults.clear()
        self.store.clear()


@contextmanager
def serve_sandbox() -> Generator[LiveSandbox]:
    """Serve a sandbox from a thread.

    Raises:
        ModuleNotFoundError: uvicorn is missing; the text names the extra ``sandbox``.

    """
    from ..sandbox import Sandbox, serve

    with serve(Sandbox(api_key=_API_KEY)) as running:
        yield LiveSandbox(running)
