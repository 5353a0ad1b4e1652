"""Access to the visitor and the delivery from a request, and FastAPI dependencies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from starlette.requests import HTTPConnection

from .middleware.scope import SCOPE_KEY, STATE_KEY
from .visitor.visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Scope

    from .core.receipts import Outcome
    from .delivery.stats import Readiness, Stats


def get_visitor(connection: HTTPConnection | Scope) -> Visitor:
    """Return the visitor of a request, a websocket or a scope; the typed way, and a FastAPI dependency.

    Raises:
        RuntimeError: ``UserComMiddleware`` is not around this application.

    """
    scope = connection.scope if isinstance(connection, HTTPConnection) else connection
    # The state alone is no proof: a server may have put it together from another request's.
    visitor = scope["state"].get(STATE_KEY) if SCOPE_KEY in scope else None
    if not isinstance(visitor, Visitor):
        raise RuntimeError("there is no visitor here: add UserComMiddleware to the application")  # noqa: TRY004
    return visitor


class RunningDelivery(Protocol):
    """What a health route may look at."""

    @property
    def stats(self) -> Stats:
        """What was done so far, and what waits now."""
        ...

    @property
    def dead_letters(self) -> Sequence[Outcome]:
        """What User.com has refused, or what became too old: the newest of them."""
        ...

    def readiness(self) -> Readiness:
        """Return how the delivery is."""
        ...


def get_delivery(connection: HTTPConnection | Scope) -> RunningDelivery:
    """Return the delivery of this process, for a health route: ``stats``, ``readiness()``, ``dead_letters``.

    Raises:
        RuntimeError: ``UserComMiddleware`` is not around this application.

    """
    scope = connection.scope if isinstance(connection, HTTPConnection) else connection
    if SCOPE_KEY not in scope:
        raise RuntimeError("there is no delivery here: add UserComMiddleware to the application")
    return cast("RunningDelivery", scope[SCOPE_KEY])


# FastAPI reads a dependency's annotations, knows HTTPConnection, and has no idea of a union with it.
for _dependency in (get_visitor, get_delivery):
    _dependency.__annotations__["connection"] = HTTPConnection
