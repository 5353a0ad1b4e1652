"""Checks of the client's arguments, and where its API is."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.config import TOTAL_TIMEOUT_FACTOR
from ..core.exceptions import ConfigurationError
from ..core.origins import NEEDS_HTTPS, may_carry_token, origin_of


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """The :class:`.Address` of a client that has no configuration."""

    app: str | None
    origin: str
    timeout: float

    @property
    def total_timeout(self) -> float:
        """Seconds of a call in all its phases."""
        return TOTAL_TIMEOUT_FACTOR * self.timeout


def invalid(field: str, problem: str) -> ConfigurationError:
    """Return the error of an argument of the client."""
    return ConfigurationError(field, problem, "UserComRest")


def described(value: object) -> str:
    """Return length or type of a value, which may be a secret itself."""
    return f"{len(value)} characters" if isinstance(value, str) else type(value).__name__


def seconds(field: str, value: object) -> float:
    """Return a time-out that was passed as an argument."""
    return _number(field, value, "must be seconds, 0.001 or more, such as 10")


def rate(field: str, value: object) -> float | None:
    """Return a number of calls in a second that was passed as an argument."""
    if value is None:
        return None
    return _number(field, value, "must be a number of calls, 0.001 or more, or None")


def _number(field: str, value: object, expected: str) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(value, (int, float)) and is_number and 0.001 <= value < float("inf"):
        return float(value)
    raise invalid(field, f"{expected}, got {value if is_number else type(value).__name__}")


def whole(field: str, value: object, least: int, most: int) -> int:
    """Return a whole number that was passed as an argument."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        given = value if type(value) in (int, float) else type(value).__name__
        raise invalid(field, f"must be a whole number from {least} to {most}, got {given}")
    return value


def origin_from(subdomain: str | None, base_url: str | None) -> str:
    """Return the origin of the API, which is https unless it is a loopback host."""
    if (subdomain is None) == (base_url is None):
        raise invalid(
            "subdomain",
            "must be the workspace's subdomain, such as subdomain='acme', or base_url its "
            f"address, and not both, got {'none' if subdomain is None else 'both'}",
        )
    try:
        origin = origin_of(app=subdomain, base_url=base_url)
    except ConfigurationError as error:
        field = "subdomain" if error.field == "app" else error.field
        problem = error.problem.replace("app=", "subdomain=")
    else:
        if may_carry_token(origin):
            return origin
        field, problem = "base_url", NEEDS_HTTPS
    raise invalid(field, problem)
