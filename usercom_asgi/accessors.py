"""Access to the visitor and the delivery from the request of any framework."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from starlette.requests import HTTPConnection

from .core.log import warn_once
from .middleware import placement
from .middleware.scope import DELIVERY_KEY, ENCLOSING_KEY, VISITOR_KEY
from .middleware.site import Site
from .visitor.visitor import Visitor, session_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Scope

    from .core.receipts import Outcome
    from .delivery.stats import Readiness, Stats
    from .visitor.session import VisitorSession


class HasScope(Protocol):
    """Request, websocket or consumer, as most frameworks have them."""

    @property
    def scope(self) -> Any:
        """The ASGI scope."""
        ...


class HasTransport(Protocol):
    """Request of Sanic."""

    @property
    def transport(self) -> Any:
        """What has the ASGI scope."""
        ...


Connection: TypeAlias = "HasScope | HasTransport | Scope"

# Where requests of frameworks have their ASGI scope, the most common place first.
_FIND_SCOPE = tuple(map(attrgetter, ("scope", "transport.scope", "request.scope")))


def get_visitor(connection: Connection) -> Visitor:
    """Return the visitor of a request, a websocket or a scope; a FastAPI dependency.

    Requests and websockets of any framework will do that have their ASGI scope as
    ``scope`` (Django, Litestar, Quart, Falcon, BlackSheep, Channels), as
    ``transport.scope`` (Sanic), or that wrap such a request as ``request`` (Gradio).

    Raises:
        RuntimeError: If the application does not have a ``UserComMiddleware``.
        TypeError: If the connection has no ASGI scope.

    """
    scope = _scope_of(connection)
    # The state alone is not enough, because a server may share it between requests.
    visitor = _state_of(scope).get(VISITOR_KEY) if DELIVERY_KEY in scope else None
    if not isinstance(visitor, Visitor):
        # Not a TypeError: the argument is right, and the middleware is missing.
        raise RuntimeError(  # noqa: TRY004
            "the scope has no visitor, add UserComMiddleware to the application; it must be outside"
            " of any middleware that asks for the visitor (with add_middleware, add it last)"
        )
    return visitor


def _scope_of(connection: object) -> Scope:
    if isinstance(connection, Mapping):
        return cast("Scope", connection)
    for find in _FIND_SCOPE:
        try:
            scope = find(connection)
        except AttributeError:
            continue
        if isinstance(scope, Mapping):
            return cast("Scope", scope)
    kind = type(connection)
    remedy = (
        "it is a request of WSGI: serve the application by its ASGI entry point"
        if hasattr(connection, "environ")
        else "pass the request of your framework, or its `scope`"
    )
    raise TypeError(
        "connection must be a request with an ASGI scope, or the scope itself, "
        f"got {kind.__module__}.{kind.__qualname__}; {remedy}"
    )


def _state_of(scope: Scope) -> Mapping[str, Any]:
    return scope.get("state") or {}


class _Snippet(str):
    """Script tags, which Jinja2 and other users of MarkupSafe do not escape."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


def usercom_snippet(connection: Connection, *, nonce: str | None = None) -> str:
    """Return the snippet for an application that places it by hand.

    In a template: ``{{ usercom_snippet(request) }}``. Jinja2 does not escape it, and
    the middleware adds nothing to the page.

    The result is empty where a page goes without the widget, and where it cannot be
    right: an asynchronous hook needs :func:`prepare_snippet` before, and a stream has
    to begin after the call. The middleware then treats the page as any other.

    Args:
        connection: A request, or its scope, as for :func:`get_visitor`.
        nonce: The nonce of the page's Content-Security-Policy. Defaults to that of the
            hook ``nonce=``.

    Raises:
        TypeError: If the connection has no ASGI scope.

    """
    found = _find(connection)
    if found is None:
        warn_once(
            "middleware_missing",
            "usercom_snippet() is empty, because the request has not passed UserComMiddleware: add "
            "it, or for pages of status 500 write UserComMiddleware(app) around the application",
        )
        return _Snippet()
    return _Snippet(placement.place_snippet(*found, nonce))


async def prepare_snippet(connection: Connection) -> None:
    """Wait for what `usercom_snippet` needs; a FastAPI dependency.

    Call it in an ``async def`` handler, before the page is rendered, if a hook is
    asynchronous, or if the same request has reset the visitor.

    Raises:
        TypeError: If the connection has no ASGI scope.

    """
    found = _find(connection)
    if found is not None:
        await placement.prepare_snippet(*found)


def _find(connection: object) -> tuple[Site, VisitorSession, Scope] | None:
    scope = _scope_of(connection)
    site, visitor = scope.get(ENCLOSING_KEY), _state_of(scope).get(VISITOR_KEY)
    if not isinstance(site, Site) or not isinstance(visitor, Visitor):
        return None
    return site, session_of(visitor), scope


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

    async def flush(self, timeout: float = 5.0) -> bool:  # noqa: ASYNC109  public API
        """Wait until nothing waits or is in flight; return whether that is so."""
        ...


def get_delivery(connection: Connection) -> RunningDelivery:
    """Return the delivery of this process; a FastAPI dependency for health routes.

    Raises:
        RuntimeError: If the application does not have a ``UserComMiddleware``.

    """
    scope = _scope_of(connection)
    if DELIVERY_KEY not in scope:
        raise RuntimeError("the scope has no delivery, add UserComMiddleware to the application")
    return cast("RunningDelivery", scope[DELIVERY_KEY])


# FastAPI reads the annotations of dependencies, and does not support a union here.
for _dependency in (get_visitor, get_delivery, prepare_snippet):
    _dependency.__annotations__["connection"] = HTTPConnection
