"""Exceptions of this library.

::

    UserComError
    ├── ConfigurationError      a setting is missing or malformed (a ValueError)
    ├── InvalidCommand          a command or its value is invalid (a ValueError)
    │   └── InvalidValue        by a value that may come from a visitor
    ├── OutboxError             the storage of queued commands cannot be used
    └── DeliveryError           a call to User.com did not succeed
        ├── UnavailableError    a later attempt may succeed
        │   ├── RateLimitError      429
        │   ├── ServerError         408, 425, 5xx
        │   ├── RedirectError       3xx, which is not followed
        │   └── NoResponseError     not reached, or the response was lost
        └── RejectedError       a later attempt would fail as well
            ├── BadRequestError     400, with the errors of fields
            ├── UnauthorizedError   401
            ├── ForbiddenError      403
            ├── NotFoundError       404
            ├── AmbiguousError      more than one user where one is meant
            └── UnexpectedResponseError   HTML, or a body that is not JSON or too large

The first two are raised where the mistake was made, the third at start.
In the delivery ``DeliveryError`` stays inside: a handler reads the outcome from its
:class:`~usercom_asgi.Receipt`. The REST client (:mod:`usercom_asgi.rest`) raises it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .text import shown_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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

    ``field`` is its name, and ``owner`` the class that has it.
    """

    def __init__(self, field: str, problem: str, owner: str = "UserComConfig") -> None:
        super().__init__(f"{'' if field in _ARGUMENTS else f'{owner}.'}{field}: {problem}")
        self.field = field
        self.problem = problem
        self.owner = owner

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[str, str, str]]:
        return type(self), (self.field, self.problem, self.owner)


class InvalidCommand(UserComError, ValueError):
    """A command or one of its values that User.com cannot take.

    ``field`` is the name of the invalid part.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{shown_name(field)}: {problem}")
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
    neither secrets nor attribute values. ``reason`` is the text without what the server
    has written, for logs.

    Errors of the REST client have more, none of it with a value that was sent.

    Attributes:
        method: The verb.
        path: The template of the route, such as ``/users-by-id/:custom_id/``.
        detail: The beginning of the server's own text.
        headers: Headers of the response that hold no data, by lower-case names.

    """

    method: str = ""
    path: str = ""
    detail: str = ""
    headers: Mapping[str, str] = {}

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


class RateLimitError(UnavailableError):
    """A call over the rate limit (429), or one that a pause after a 429 held back."""


class ServerError(UnavailableError):
    """An error of the server or of a proxy before it (408, 425, 5xx)."""


class RedirectError(UnavailableError):
    """A redirect, which is not followed: it would lead the token elsewhere."""


class NoResponseError(UnavailableError):
    """No response, or one that broke off; see ``not_sent``."""


class RejectedError(DeliveryError):
    """A command that User.com rejected (4xx) and would reject again.

    ``detail`` is the beginning of the response's body.
    """

    def __init__(self, reason: str, *, status: int | None = None, detail: str = "") -> None:
        super().__init__(reason, status=status)
        self.detail = detail


class BadRequestError(RejectedError):
    """Values that User.com rejected (400).

    ``errors`` has the sentences for each field, as recorded in 2018.
    """

    errors: Mapping[str, Sequence[str]] = {}


class UnauthorizedError(RejectedError):
    """A token that User.com does not know (401)."""


class ForbiddenError(RejectedError):
    """A call that the token does not allow (403)."""


class NotFoundError(RejectedError):
    """What the call names does not exist (404).

    If it names two, such as a product and a user, the response does not reveal which.
    """


class AmbiguousError(RejectedError):
    """More than one user has this email or phone number.

    ``ids`` are the ids of the users.
    """

    ids: Sequence[int] = ()


class UnexpectedResponseError(RejectedError):
    """A response that is not one of the REST API: HTML, broken JSON, or one too large.

    A status of 2xx means that User.com may have acted on the call. ``is_page`` is true
    if it was a page of HTML, such as that of a maintenance.
    """

    is_page: bool = False
