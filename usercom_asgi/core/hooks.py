"""Hooks of the application: sync or async callables that take the connection."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from starlette.requests import HTTPConnection

from .event_loops import is_cancelled
from .exceptions import ConfigurationError
from .log import failed_hook, warn_once

if TYPE_CHECKING:
    from starlette.types import Scope

logger = logging.getLogger("usercom_asgi")

# Starlette's message, which asserts that a middleware has put something into the scope.
_NOT_INSTALLED = re.compile(r"(\w+) must be installed to access request\.(\w+)")

T = TypeVar("T")
Hook: TypeAlias = Callable[[HTTPConnection], T | Awaitable[T]]

#: Returns whether this visitor may be tracked.
ConsentHook: TypeAlias = Hook[bool]
#: Returns the nonce of this response's Content-Security-Policy, or None.
NonceHook: TypeAlias = Hook[str | None]
#: Returns whether the snippet goes into this HTML response, or None to let
#: the library decide.
InjectHook: TypeAlias = Hook[bool | None]


class Unknown(Enum):
    """The type of :data:`UNKNOWN`."""

    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return "UNKNOWN"


#: Returned by an ``identify`` hook that cannot know who is logged in: nothing changes.
UNKNOWN: Final = Unknown.UNKNOWN


def check_hooks(**hooks: object) -> None:
    """Check that each given hook is callable.

    Raises:
        ConfigurationError: If a hook is not callable.

    """
    for name, hook in hooks.items():
        if hook is not None and not callable(hook):
            raise ConfigurationError(
                name,
                "must be a function or coroutine function that takes the connection, "
                f"got {type(hook).__name__}",
            )
        if hook is not None and not accepts_one_argument(hook):
            raise ConfigurationError(
                name,
                f"must take one argument, such as `def {name}(connection)`, "
                f"got {inspect.signature(hook)}",
            )


def accepts_one_argument(function: Callable[..., object]) -> bool:
    """Return False if a function cannot be called with one argument."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin may have none
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True


async def call_hook(hook: Callable[[HTTPConnection], Any], scope: Scope) -> Any:
    """Return the result of a hook. Its exceptions propagate."""
    try:
        result = hook(HTTPConnection(scope))
        return await result if inspect.isawaitable(result) else result
    except asyncio.CancelledError as error:
        _check_cancelled(error)
        raise


class MustWaitError(Exception):
    """A hook is asynchronous, and its caller cannot wait."""


def call_hook_now(hook: Callable[[HTTPConnection], Any], scope: Scope) -> Any:
    """Return the result of a hook that is not asynchronous. Its exceptions propagate.

    An asynchronous one is not started: a coroutine that has to wait could only be
    thrown away in the middle of what it does.

    Raises:
        MustWaitError: The hook is asynchronous.

    """
    try:
        result = hook(HTTPConnection(scope))
    except asyncio.CancelledError as error:
        _check_cancelled(error)
        raise
    if not inspect.isawaitable(result):
        return result
    if inspect.iscoroutine(result):
        result.close()
    raise MustWaitError


def _check_cancelled(error: asyncio.CancelledError) -> None:
    """Raise an Exception if a hook is cancelled whose request goes on."""
    if not is_cancelled():
        raise RuntimeError("the hook raised CancelledError in a request that goes on") from error


async def call_hook_safely(
    hook: Callable[[HTTPConnection], Any], scope: Scope, name: str, otherwise: str
) -> Any:
    """Return the result of a hook, or log ``otherwise`` and return None if it fails."""
    try:
        return await call_hook(hook, scope)
    except Exception as error:  # a bug of the hook must not break the response
        text = f"The {name} hook failed: {otherwise}"
        if not warns_of_session(error, text):
            logger.exception(text, extra=failed_hook(name))
        return None


def warns_of_session(error: Exception, text: str) -> bool:
    """Return whether a hook lacks a session or a user, and warn of it once.

    These are loaded further in, and not for pages of status 404 or for websockets.
    """
    if isinstance(error, KeyError) and error.args == ("session",):
        middleware, name = "SessionMiddleware", "session"
    elif isinstance(error, AssertionError) and (found := _NOT_INSTALLED.match(str(error))):
        middleware, name = found.groups()
    else:
        return False
    warn_once(
        "session_missing",
        f"{text}: a request has no {name}. If it is so on every page, {middleware} is missing, or "
        "inside of UserComMiddleware",
    )
    return True
