"""Everything that this library raises.

::

    UserComError
    ├── ConfigurationError   also a ValueError   a setting is missing or malformed
    ├── InvalidCommand       also a ValueError   User.com could never take what was said
    ├── OutboxError                              the place where commands wait cannot be used
    └── DeliveryError                            a call to User.com did not succeed
        ├── Unavailable                          trying again later may help
        └── Refused                              trying again will not help

The first two are raised where the mistake was made, the third at start. ``DeliveryError`` stays inside the delivery: a
handler never sees it, an awaited :class:`~usercom_asgi.Receipt` tells the outcome instead.
"""

from __future__ import annotations

# What the middleware and the client are given beside a configuration.
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
    """The root of this library's errors."""


class ConfigurationError(UserComError, ValueError):
    """A setting of :class:`~usercom_asgi.UserComConfig`, or an argument, is missing or malformed; ``field`` names it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{'' if field in _ARGUMENTS else 'UserComConfig.'}{field}: {problem}")
        self.field = field
        self.problem = problem

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[str, str]]:
        return type(self), (self.field, self.problem)


class InvalidCommand(UserComError, ValueError):
    """What was said is nothing that User.com could take; ``field`` names the part that is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem

    def __reduce__(self) -> tuple[type[InvalidCommand], tuple[str, str]]:
        return type(self), (self.field, self.problem)


class OutboxError(UserComError):
    """The place where accepted commands are to wait cannot be used: the text says why, and what to do."""


class DeliveryError(UserComError):
    """A call to User.com did not succeed.

    ``status`` is the HTTP status, or None where no answer came. The text holds neither secrets nor attribute values.
    """

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class UnavailableError(DeliveryError):
    """User.com could not be reached, or answered that it cannot serve now (408, 425, 429, 5xx).

    ``retry_after`` is the ``Retry-After`` of its response, in seconds. ``not_sent`` is true if User.com
    cannot have acted on the call: it was not reached, or it responded with 429.
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
    """User.com refused the command (4xx): sending it again would be refused again.

    ``detail`` is the beginning of the answer's body.
    """

    def __init__(self, reason: str, *, status: int | None = None, detail: str = "") -> None:
        super().__init__(reason, status=status)
        self.detail = detail
