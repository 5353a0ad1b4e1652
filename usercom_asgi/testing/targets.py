"""Finds the parts of an application that a capture replaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..client import UserComClient
from ..core.config import DISABLED
from ..core.exceptions import ConfigurationError
from ..middleware.delivery_provider import DeliveryProvider
from ..middleware.usercom import UserComMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Where applications, middlewares and routes keep what they wrap.
_NAMES = ("app", "_app", "inner", "application", "asgi_app", "middleware_stack", "router", "routes")
_MAX_DEPTH = 200


def find_middlewares(target: object) -> list[UserComMiddleware]:
    """Return the middlewares in an ASGI application.

    Starlette builds its middlewares for the first request, so they are built here.
    """
    found: list[UserComMiddleware] = []
    seen = set[int]()
    waiting: list[tuple[object, int]] = [(target, 0)]
    while waiting:
        each, depth = waiting.pop()
        if id(each) in seen or depth > _MAX_DEPTH or isinstance(each, (str, bytes, type)):
            continue
        seen.add(id(each))
        if isinstance(each, UserComMiddleware):
            found.append(each)
        _build(each)
        waiting += [(inner, depth + 1) for inner in _inner(each)]
    return found


def check_target(target: object) -> Sequence[UserComClient | UserComMiddleware]:
    """Return what to capture of a target: the client, or the application's middlewares.

    Raises:
        ConfigurationError: It is switched off, or its middleware cannot be constructed.
        TypeError: It is neither a client nor an application with a middleware.

    """
    if isinstance(target, UserComClient):
        if not target.config.enabled:
            raise _disabled("the UserComClient")
        return [target]
    middlewares = find_middlewares(target)
    if not middlewares:
        raise TypeError(
            "capture() needs an ASGI application with a UserComMiddleware, or a UserComClient, got "
            f"{type(target).__name__}: add UserComMiddleware to the application, or write "
            "`with capture():` to capture all of this process"
        )
    for each in middlewares:
        if each.startup_error is not None:
            raise each.startup_error.with_traceback(None)
        if not each.config.enabled:
            raise _disabled("the UserComMiddleware")
    return middlewares


def parts_of(target: UserComClient | UserComMiddleware) -> list[object]:
    """Return the objects whose methods a capture replaces, with a given client."""
    parts: list[object] = [target, *vars(target).values()]
    providers = [each for each in parts if isinstance(each, DeliveryProvider)]
    return parts + [part for each in providers for part in vars(each).values()]


def _disabled(what: str) -> ConfigurationError:
    return ConfigurationError(
        "enabled",
        f"must be True in a test: {DISABLED}, so {what} has nothing to capture. "
        "Unset USERCOM_ENABLED for tests, or configure them by UserComConfig.sandbox(): "
        "a capture lets nothing leave the process",
    )


def _build(app: Any) -> None:
    if getattr(app, "middleware_stack", app) is not None or not hasattr(app, "user_middleware"):
        return
    classes: list[Any] = [each.cls for each in app.user_middleware]
    if any(isinstance(each, type) and issubclass(each, UserComMiddleware) for each in classes):
        app.middleware_stack = app.build_middleware_stack()


def _inner(each: Any) -> Iterator[object]:
    if isinstance(each, (list, tuple)):
        yield from each
        return
    for name in _NAMES:
        inner = getattr(each, name, None)
        if inner is not None:
            yield inner
    # A plain function around the application holds it in its closure.
    for cell in getattr(each, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue
