"""Where User.com is, by the settings ``app``, ``host`` and ``base_url``: :func:`origin_of`."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from .errors import ConfigurationError

_SUBDOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}", re.IGNORECASE)


def origin_of(*, app: str | None, host: str | None, base_url: str | None) -> str:
    """Return the origin of the API, without a trailing slash.

    Raises:
        ConfigurationError: Not exactly one of them is given, or it is malformed.

    """
    given = [name for name, value in (("app", app), ("host", host), ("base_url", base_url)) if value is not None]
    if not given:
        raise ConfigurationError(
            "app",
            "missing; give the workspace's subdomain, such as app='acme' (or host, or base_url), "
            "or take all settings from the environment: UserComConfig.from_env()",
        )
    if len(given) > 1:
        raise ConfigurationError(given[1], f"give either {given[0]} or {given[1]}, not both")
    if app is not None:
        return f"https://{_subdomain(app)}.user.com"
    if host is not None:
        return f"https://{_hostname(host)}"
    return _origin(base_url)


def is_host(value: object) -> bool:
    """Tell whether this is a bare host name of two labels or more."""
    return isinstance(value, str) and _HOST.fullmatch(value) is not None


def _subdomain(app: str) -> str:
    if isinstance(app, str) and _SUBDOMAIN.fullmatch(app):
        return app.lower()
    guess = re.search(r"([a-z0-9-]+)\.user\.com", app, re.IGNORECASE) if isinstance(app, str) else None
    hint = guess[1] if guess else "acme"
    raise ConfigurationError("app", f"must be the subdomain alone, such as app={hint!r} for {hint}.user.com")


def _hostname(host: str) -> str:
    if is_host(host):
        return host.lower()
    raise ConfigurationError("host", "must be a host name without scheme and path, such as host='chat.example.com'")


def _origin(base_url: str | None) -> str:
    right = "must be an address without path and credentials, such as base_url='http://127.0.0.1:8900'"
    try:
        parts = urlsplit(base_url or "")
        sound = _is_origin(parts)
    except (ValueError, TypeError, AttributeError):
        raise ConfigurationError("base_url", right) from None
    if not sound:
        raise ConfigurationError("base_url", right)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _is_origin(parts: SplitResult) -> bool:
    return (
        parts.scheme in ("http", "https")
        and re.fullmatch(r"[a-z0-9.:\[\]-]+", parts.netloc, re.IGNORECASE) is not None
        and bool(parts.hostname)
        and (parts.port is None or parts.port > 0)
        and parts.path in ("", "/")
        and not (parts.query or parts.fragment)
    )
