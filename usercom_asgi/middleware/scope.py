"""What the middleware keeps in an ASGI scope and in its state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..visitor.visitor import Visitor

if TYPE_CHECKING:
    from starlette.types import Scope

#: In ``scope["state"]``, which is ``request.state``.
STATE_KEY = "usercom"
#: In a scope: the delivery of the request's middleware.
SCOPE_KEY = "usercom_asgi"
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
