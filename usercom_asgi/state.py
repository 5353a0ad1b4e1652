"""Where the visitor stands in a scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from starlette.requests import HTTPConnection

from .visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Scope

    from .delivery.stats import Readiness, Stats
    from .outcomes import Outcome

#: In ``scope["state"]``, which is ``request.state``.
STATE_KEY = "usercom"
#: In a scope: the delivery of the request's middleware.
AT_WORK = "usercom_asgi"
#: In a scope while a middleware is around the application: the workspace of that middleware.
INSIDE = "usercom_asgi.inside"
#: In the state of a lifespan: the ``id()`` of the very dict. A copy of that dict holds the same number and is not it.
_LIFESPAN_STATE = "usercom_asgi.lifespan_state"


def mark_lifespan_state(state: dict[str, Any]) -> None:
    """Mark the state of a lifespan, so that :func:`own_state` knows this dict again in a request."""
    state[_LIFESPAN_STATE] = id(state)


def own_state(scope: Scope) -> dict[str, Any]:
    """Return the state of this request; replace it by a copy where the server shares one dict between requests.

    ASGI says that each request gets a shallow copy. Hypercorn before 0.18 has one for each connection, other servers pass the
    lifespan's own dict on. Either is recognised: the latter by its mark, the former by the visitor of an earlier request in it.
    A dict that belongs to this request alone stays: a ``request.state`` of a middleware further out is a view of it.
    """
    state: dict[str, Any] = scope.setdefault("state", {})
    if state.get(_LIFESPAN_STATE) == id(state) or isinstance(state.get(STATE_KEY), Visitor):
        state = scope["state"] = dict(state)
    return state


def get_visitor(connection: HTTPConnection | Scope) -> Visitor:
    """Return the visitor of a request, a websocket or a scope; the typed way, and a FastAPI dependency.

    Raises:
        RuntimeError: ``UserComMiddleware`` is not around this application.

    """
    scope = connection.scope if isinstance(connection, HTTPConnection) else connection
    # The state alone is no proof: a server may have put it together from another request's.
    visitor = scope["state"].get(STATE_KEY) if AT_WORK in scope else None
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
    if AT_WORK not in scope:
        raise RuntimeError("there is no delivery here: add UserComMiddleware to the application")
    return cast("RunningDelivery", scope[AT_WORK])


# FastAPI reads a dependency's annotations, knows HTTPConnection, and has no idea of a union with it.
for _dependency in (get_visitor, get_delivery):
    _dependency.__annotations__["connection"] = HTTPConnection
