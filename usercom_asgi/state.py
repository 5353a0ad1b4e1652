"""Where the visitor stands in a scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection

from .visitor import Visitor

if TYPE_CHECKING:
    from starlette.types import Scope

#: In ``scope["state"]``, which is ``request.state``.
STATE_KEY = "usercom"


def get_visitor(connection: HTTPConnection | Scope) -> Visitor:
    """Return the visitor of a request, a websocket or a scope; the typed way, and a FastAPI dependency.

    Raises:
        RuntimeError: ``UserComMiddleware`` is not around this application.

    """
    scope = connection.scope if isinstance(connection, HTTPConnection) else connection
    visitor = scope.get("state", {}).get(STATE_KEY)
    if not isinstance(visitor, Visitor):
        raise RuntimeError("there is no visitor here: add UserComMiddleware to the application")  # noqa: TRY004
    return visitor


# FastAPI reads a dependency's annotations, knows HTTPConnection, and has no idea of a union with it.
get_visitor.__annotations__["connection"] = HTTPConnection
