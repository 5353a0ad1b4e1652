"""The application's own hooks: plain callables, sync or async, that are given the connection."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from starlette.requests import HTTPConnection

from .exceptions import ConfigurationError

if TYPE_CHECKING:
    from starlette.types import Scope

logger = logging.getLogger("usercom_asgi")

T = TypeVar("T")
Hook: TypeAlias = Callable[[HTTPConnection], T | Awaitable[T]]

#: Says whether this visitor may be tracked.
ConsentHook: TypeAlias = Hook[bool]
#: Returns the nonce of this response's Content-Security-Policy, or None.
NonceHook: TypeAlias = Hook[str | None]
#: Says whether the snippet goes into this HTML response; None where the library is to decide.
InjectHook: TypeAlias = Hook[bool | None]


def check_hooks(**hooks: object) -> None:
    """Check hooks that were given, by their names.

    Raises:
        ConfigurationError: One is no function.

    """
    for name, hook in hooks.items():
        if hook is not None and not callable(hook):
            raise ConfigurationError(
                name,
                f"must be a function or coroutine function that takes the connection (got {type(hook).__name__})",
            )


async def call_hook(hook: Callable[[HTTPConnection], Any], scope: Scope) -> Any:
    """Return what a hook says; what it raises is the caller's to deal with."""
    answer = hook(HTTPConnection(scope))
    return await answer if inspect.isawaitable(answer) else answer


async def call_hook_safely(
    hook: Callable[[HTTPConnection], Any], scope: Scope, otherwise: str
) -> Any:
    """Return what a hook says; None if it fails, which is logged with what happens ``otherwise``."""
    try:
        return await call_hook(hook, scope)
    except Exception:  # whatever it is, it is the hook's own
        logger.exception(otherwise)
        return None


@lru_cache(64)
def warn_once(text: str) -> None:
    """Log a warning that is the same at every request, once in this process."""
    logger.warning("%s (said once)", text)
