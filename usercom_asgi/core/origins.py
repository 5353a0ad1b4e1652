"""Addresses of a workspace: subdomain, host and origin."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from .exceptions import ConfigurationError

_SUBDOMAIN = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = rf"(?:{_SUBDOMAIN}\.)+[a-z]{{2,63}}"


def origin_of(*, app: str | None, base_url: str | None) -> str:
    """Return the origin of the API, without a trailing slash.

    Raises:
        ConfigurationError: If not exactly one of them is given, or if it is malformed.

    """
    if app is None and base_url is None:
        raise ConfigurationError(
            "app",
            "must be the workspace's subdomain, such as app='acme' (or give base_url); "
            "UserComConfig.from_env() takes all settings from the environment",
        )
    if app is not None and base_url is not None:
        raise ConfigurationError("base_url", "must not be given beside app")
    if app is not None:
        return f"https://{_subdomain(app)}.user.com"
    return parse_origin("base_url", base_url, "http://127.0.0.1:8900")


NEEDS_HTTPS = (
    "must begin with https, because each call carries the token; http is for a loopback "
    "host, such as http://127.0.0.1:8900"
)


def may_carry_token(origin: str) -> bool:
    """Return whether the token may be sent to an origin: https, or a loopback host."""
    return urlsplit(origin).scheme == "https" or is_local(origin)


def is_local(origin: str) -> bool:
    """Return whether the host is this machine, whatever a name server answers."""
    return is_loopback(urlsplit(origin).hostname or "")


def is_host(value: object) -> bool:
    """Return whether this is a bare host name of two labels or more."""
    return isinstance(value, str) and re.fullmatch(_HOST, value, re.IGNORECASE) is not None


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _subdomain(app: str) -> str:
    if isinstance(app, str) and re.fullmatch(_SUBDOMAIN, app, re.IGNORECASE):
        return app.lower()
    guess = (
        re.search(r"([a-z0-9-]+)\.user\.com", app, re.IGNORECASE) if isinstance(app, str) else None
    )
    hint = guess[1] if guess else "acme"
    raise ConfigurationError(
        "app", f"must be the subdomain alone, such as app={hint!r} for {hint}.user.com"
    )


def parse_origin(name: str, address: str | None, example: str) -> str:
    """Return an origin that is given as an address.

    Raises:
        ConfigurationError: If it is malformed; ``name`` is that of the setting.

    """
    problem: str | None
    try:
        if not isinstance(address, str):
            problem = f"is a value of type {type(address).__name__}"
        else:
            parts = urlsplit(address)
            problem = _problem_of(address, parts)
            if problem is None:
                return f"{parts.scheme}://{parts.netloc}".lower()
    except ValueError:
        problem = "is not an address"
    # Without the value: it may hold a password.
    expected = f"must be a scheme and a host, such as {name}={example!r}"
    raise ConfigurationError(name, f"{expected}; the one given {problem}")


def _problem_of(address: str, parts: SplitResult) -> str | None:
    """Return what is wrong with an address; None if it is an origin.

    Raises:
        ValueError: The port is not a number from 0 to 65535.

    """
    if not address.strip():
        return "is empty"
    if "://" not in address:
        return "has no scheme (http:// or https://)"
    if parts.scheme not in ("http", "https"):
        return "has another scheme than http and https"
    if "@" in parts.netloc:
        return "holds credentials"
    if not re.fullmatch(r"[a-z0-9.:\[\]-]+", parts.netloc, re.IGNORECASE) or not parts.hostname:
        return "has no valid host"
    if parts.port == 0:
        return "has the port 0"
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return "has more than these, such as a path"
    return None
