"""Keys of the middleware in an ASGI scope, and the state of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..visitor.visitor import Visitor

if TYPE_CHECKING:
    from starlette.types import Scope

#: In ``scope["state"]``, which is ``request.state``: the visitor.
VISITOR_KEY = "usercom"
#: In a scope: the delivery that ``get_delivery`` returns.
DELIVERY_KEY = "usercom_asgi"
#: In a scope, while a middleware runs around the application: its site.
ENCLOSING_KEY = "usercom_asgi.enclosing"
#: In the state of a lifespan: the ``id()`` of that dict, which a copy of the dict
#: does not match.
_LIFESPAN_STATE = "usercom_asgi.lifespan_state"


def mark_lifespan_state(state: dict[str, Any]) -> None:
    """Mark the state of a lifespan, so that :func:`unshare_state` recognises it in a request."""
    state[_LIFESPAN_STATE] = id(state)


def unshare_state(scope: Scope) -> dict[str, Any]:
    """Return this request's state: its own, if the server shares one dict between requests.

    ASGI requires a shallow copy for each request. Hypercorn before 0.18 makes one for
    each connection, where an earlier visitor gives it away. Other servers pass the
    lifespan's own dict, which has our mark. Any other dict stays, because the
    ``request.state`` of an outer middleware is a view of it.
    """
    state: dict[str, Any] = scope.setdefault("state", {})
    if state.get(_LIFESPAN_STATE) == id(state) or (
        VISITOR_KEY in state and isinstance(state[VISITOR_KEY], Visitor)
    ):
        scope["state"] = state = dict(state)
    return state
