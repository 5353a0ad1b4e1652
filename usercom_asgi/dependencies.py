"""Access to the visitor and the delivery from a request, and FastAPI dependencies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, cast

from starlette.requests import HTTPConnection

from .middleware.scope import DELIVERY_KEY, VISITOR_KEY
from .visitor.visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Scope

    from .core.receipts import Outcome
    from .delivery.stats import Readiness, Stats


def get_visitor(connection: HTTPConnection | Scope) -> Visitor:
    """Return the visitor of a request, a websocket or a scope; a FastAPI dependency.

    A request of another framework works too, if it has its ASGI scope as ``scope``.

    Raises:
        RuntimeError: If the application does not have a ``UserComMiddleware``.
        TypeError: If it is neither.

    """
    scope = _scope_of(connection)
    # The state alone is not enough, because a server may share it between requests.
    visitor = scope["state"].get(VISITOR_KEY) if DELIVERY_KEY in scope else None
    if not isinstance(visitor, Visitor):
        raise RuntimeError("the scope has no visitor, add UserComMiddleware to the application")  # noqa: TRY004
    return visitor


def _scope_of(connection: object) -> Scope:
    scope: object = getattr(connection, "scope", connection)
    if not isinstance(scope, Mapping):
        raise TypeError(
            "connection must be a request with an ASGI scope, or the scope itself, "
            f"got {type(connection).__name__}"
        )
    return cast("Scope", scope)


class RunningDelivery(Protocol):
    """The delivery, as a health route sees it."""

    @property
    def stats(self) -> Stats:
        """Counters of commands."""
        ...

    @property
    def dead_letters(self) -> Sequence[Outcome]:
        """The newest commands that User.com rejected or that became too old."""
        ...

    def readiness(self) -> Readiness:
        """Return whether the delivery works, and if not, why."""
        ...

    async def flush(self, timeout: float = 5.0) -> bool:  # noqa: ASYNC109
        """Wait until nothing waits or is in flight; return whether that is so."""
        ...


def get_delivery(connection: HTTPConnection | Scope) -> RunningDelivery:
    """Return the delivery of this process; a FastAPI dependency for health routes.

    Raises:
        RuntimeError: If the application does not have a ``UserComMiddleware``.

    """
    scope = _scope_of(connection)
    if DELIVERY_KEY not in scope:
        raise RuntimeError("the scope has no delivery, add UserComMiddleware to the application")
    return cast("RunningDelivery", scope[DELIVERY_KEY])


# FastAPI reads the annotations of dependencies, and does not support a union here.
for _dependency in (get_visitor, get_delivery):
    _dependency.__annotations__["connection"] = HTTPConnection
