"""Captures what applications and clients send: :func:`capture`."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from .captured import BROWSER_KEY, Captured
from .replacements import install, remove
from .targets import check_target, parts_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.types import ASGIApp

    from ..client import UserComClient


class _Capture:
    """One block of :func:`capture`."""

    def __init__(
        self, captured: Captured, parts: dict[int, object] | None, outer: _Capture | None
    ) -> None:
        self.captured = captured
        self.outer = outer
        self._parts = parts
        self.is_active = True

    def covers(self, part: object) -> bool:
        return self.is_active and (self._parts is None or id(part) in self._parts)


_lock = threading.Lock()
_active: list[_Capture] = []
# The block around the caller. Threads and tasks that it starts inherit it.
_innermost: ContextVar[_Capture | None] = ContextVar("usercom_asgi.capture", default=None)


@contextmanager
def capture(
    *targets: ASGIApp | UserComClient, key: str | None = BROWSER_KEY
) -> Generator[Captured]:
    """Record what is sent to User.com in the block; nothing leaves the process.

    No lifespan is needed. A command is recorded when the application sends it, so an
    assertion may follow at once, within ``with TestClient(app)`` as well. Its receipt
    is final: delivered, with a key if User.com would create one. The ``on_delivered``
    hooks are not called.

    Of nested blocks, the innermost one that covers an application records. Of blocks in
    parallel threads, each records the requests of its own thread, and the tasks and
    threads that inherit its context. A request from elsewhere, such as a server's, is
    for the block that has begun last.

    Args:
        targets: ASGI applications that contain a ``UserComMiddleware``, and
            ``UserComClient`` objects. Without one, all of this process are captured.
            Starlette builds its middlewares for the first request. If a target has not
            built them yet, it is made to.
        key: The user key of browsers that send none, as if the widget had run there on
            an earlier page. None makes each browser a first visit.

    Raises:
        ConfigurationError: A target has ``enabled=False``, or its middleware cannot be
            constructed.
        TypeError: A target has no ``UserComMiddleware``.

    """
    parts: dict[int, object] | None = None
    if targets:
        # Two threads that build the middlewares would know different ones.
        with _lock:
            found = [each for target in targets for each in check_target(target)]
            parts = {id(part): part for each in found for part in parts_of(each)}
    outer = _innermost.get()
    block = _Capture(Captured(key), parts, outer)
    with _lock:
        if not _active:
            install(captured_for)
        _active.append(block)
    _innermost.set(block)
    try:
        yield block.captured
    finally:
        # Not by a token, because a fixture may end in another context.
        if _innermost.get() is block:
            _innermost.set(outer)
        with _lock:
            block.is_active = False
            _active.remove(block)
            if not _active:
                remove()


def captured_for(part: object) -> Captured | None:
    """Return what records for this part of a middleware, or for this client."""
    block = _innermost.get()
    while block is not None:
        if block.covers(part):
            return block.captured
        block = block.outer
    # The runner of async tests, or a server's thread, has not inherited the context.
    for block in reversed(_active.copy()):
        if block.covers(part):
            return block.captured
    return None
