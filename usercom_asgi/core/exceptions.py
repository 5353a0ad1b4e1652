"""Exceptions of this library.

::

    UserComError
    ├── ConfigurationError      a setting is missing or malformed (a ValueError)
    ├── InvalidCommand          a command or its value is invalid (a ValueError)
    │   └── InvalidValue        by a value that may come from a visitor
    ├── OutboxError             the storage of queued commands cannot be used
    └── DeliveryError           a call to User.com did not succeed
        ├── UnavailableError    a later attempt may succeed
        └── RejectedError       a later attempt would fail as well

The first two are raised where the mistake was made, the third at start.
``DeliveryError`` stays inside the delivery. A handler reads the outcome
from its :class:`~usercom_asgi.Receipt`.
"""

from __future__ import annotations

from .text import printable

# Arguments of the middleware and the client that are not settings of the configuration.
_ARGUMENTS = frozenset(
    {
        *(
            "config",
            "client",
            "outbox",
            "transport",
            "identify",
            "consent",
            "nonce",
            "should_inject",
        ),
        *("on_delivered", "on_dropped", "on_dead"),
    }
)


class UserComError(Exception):
    """Base class of this library's errors."""


class ConfigurationError(UserComError, ValueError):
    """A setting or an argument that is missing or malformed.

    ``field`` is its name.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{'' if field in _ARGUMENTS else 'UserComConfig.'}{field}: {problem}")
        self.field = field
        self.problem = problem

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[str, str]]:
        return type(self), (self.field, self.problem)


class InvalidCommand(UserComError, ValueError):
    """A command or one of its values that User.com cannot take.

    ``field`` is the name of the invalid part.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{printable(field)}: {problem}")
        self.field = field
        self.problem = problem

    def __reduce__(self) -> tuple[type[InvalidCommand], tuple[str, str]]:
        return type(self), (self.field, self.problem)


class InvalidValue(InvalidCommand):
    """A value that User.com cannot take and that may depend on a visitor's data.

    It is raised only with ``UserComConfig(strict=True)``. Otherwise the helper
    repairs the command and logs the repair: ``effect`` is ``left out``,
    ``truncated`` or ``cleaned``.
    """

    def __init__(self, field: str, problem: str, effect: str = "left out") -> None:
        super().__init__(field, problem)
        self.effect = effect

    def __reduce__(self) -> tuple[type[InvalidValue], tuple[str, str, str]]:  # type: ignore[override]
        return type(self), (self.field, self.problem, self.effect)


class OutboxError(UserComError):
    """An outbox that cannot be used. The text gives the reason and the remedy."""


class DeliveryError(UserComError):
    """A call to User.com that did not succeed.

    ``status`` is the HTTP status, or None if there was no response. The text holds
    neither secrets nor attribute values.
    """

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class UnavailableError(DeliveryError):
    """A call without a response, or with status 3xx, 408, 425, 429 or 5xx.

    ``retry_after`` is the ``Retry-After`` of its response, in seconds. ``not_sent`` is
    true if User.com cannot have acted on the call: it was not reached, or it responded
    with 3xx or 429.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        not_sent: bool = False,
    ) -> None:
        super().__init__(reason, status=status)
        self.retry_after = retry_after
        self.not_sent = not_sent


class RejectedError(DeliveryError):
    """A command that User.com rejected (4xx) and would reject again.

    ``detail`` is the beginning of the response's body.
    """

    def __init__(self, reason: str, *, status: int | None = None, detail: str = "") -> None:
        super().__init__(reason, status=status)
        self.detail = detail
