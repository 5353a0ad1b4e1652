"""The configuration, :class:`UserComConfig`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal
from urllib.parse import urlsplit

from .exceptions import ConfigurationError
from .log import warn_once
from .origins import (
    NEEDS_HTTPS,
    is_host,
    is_loopback,
    may_carry_token,
    origin_of,
    parse_origin,
)
from .problems import did_you_mean
from .widget import check_callbacks, check_state

# Six letters and digits today, 64 at UserEngage; the length is not
# documented (docs/usercom.md, 1).
_API_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
_REST_TOKEN = re.compile(r"[\x21-\x7e]{8,256}")

# Calls of the longest common command by REST: a look-up, fields, attributes, a company.
_CALLS_OF_COMMAND = 8
#: All phases of a call (connect, TLS, write, read) may take this many times `timeout`.
TOTAL_TIMEOUT_FACTOR = 3
_CHOICES = {
    "anonymous": ("skip", "create"),
    "position": ("body", "head"),
}
_ENVIRONMENT = {
    "app": "USERCOM_APP",
    "base_url": "USERCOM_BASE_URL",
    "api_key": "USERCOM_API_KEY",
    "rest_token": "USERCOM_REST_TOKEN",
    "channel": "USERCOM_CHANNEL",
    "secret_keys": "USERCOM_SECRET_KEYS",
    "cookie_domain": "USERCOM_COOKIE_DOMAIN",
    "site": "USERCOM_SITE",
    "enabled": "USERCOM_ENABLED",
}
_SANDBOX_URL = "http://127.0.0.1:8900"
# The key is of the sandbox's default workspace, and the time-outs are for loopback.
_SANDBOX: Mapping[str, object] = {
    "api_key": "ABC123",
    "secret_keys": ("a-public-key-for-tests",),
    "strict": True,
    "timeout": 1.0,
    "shutdown_timeout": 0.2,
    "inline_deadline": 0.5,
}
#: Why nothing is sent with ``enabled=False``.
DISABLED = "usercom-asgi is switched off (enabled=False, or USERCOM_ENABLED=0)"
_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def is_rest_token(value: object) -> bool:
    """Return whether a value has the form of a token of the REST API."""
    return isinstance(value, str) and _REST_TOKEN.fullmatch(value) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserComConfig:
    """Settings of one User.com workspace and of the delivery to it.

    ``api_key`` and exactly one of ``app`` and ``base_url`` must be given.

    Args:
        app: The workspace's subdomain: ``"acme"`` for ``acme.user.com``.
        base_url: The address of the API and of ``widget.js``, with its scheme:
            for the sandbox and for tests. User.com's own ``widget.js`` works
            on ``*.user.com`` alone.
        api_key: The public app key of the workspace (Settings > Workspace Settings >
            API & Integrations).
        rest_token: The secret key of the public REST API.
        channel: How the server sends: ``rest`` by the documented REST API, ``widget``
            by the undocumented endpoints of the browser's widget. Defaults to ``rest``
            with a ``rest_token``, and to ``widget`` without one.
        secret_keys: The keys that sign this library's cookies, oldest first. The last
            one signs, all verify. Each has 16 characters or more.
        cookie_domain: The ``Domain`` of the ``__ca__chat`` cookie. Defaults to the one
            that the widget itself uses.
        site: The public address of the site, ``"https://shop.example.com"``, behind a
            proxy that replaces ``Host``. Defaults to host and scheme of each request.
        reset_timeout: Seconds that a response may wait for a new visitor's key after
            ``reset_auth()``. 0 does not wait.
        timeout: Seconds that each phase of one call to User.com may take
            (connect, write, read).
        shutdown_timeout: Seconds that a shutdown may take to deliver what is queued.
        inline_deadline: Seconds for delivery behind a response, where the server
            offers no lifespan.
        max_queue_size: Commands that may be queued in memory, those in flight included.
            Further ones are dropped.
        max_concurrency: Visitors whose commands are sent at the same time.
        requests_per_second: Calls to User.com that one process may make in a second.
            Unlimited by default.
        give_up_after: Seconds after which a command that could not be delivered becomes
            a dead letter.
        anonymous: What happens to a page hit of an anonymous visitor without a user
            key. ``skip`` leaves it to the widget's own ping. ``create`` has
            User.com create the visitor, and waits up to ``reset_timeout`` for the
            key to set the cookie.
        widget_state: How the widget appears: ``simple``, ``standard``, ``hidden`` or
            ``expanded``. Defaults to the workspace's own settings.
        callbacks: The page's functions that the widget calls, as dotted paths:
            ``{"onOpen": "shop.chat.opened"}``, for ``onLoad``, ``onPayloadReceived``,
            ``onMessage``, ``onOpen`` and ``onClose``. Looked up at each call.
        rotate_on_login: Reset the visitor at a login as well. The history from
            before it is not kept, and a user key that another person planted in the
            browser ends there.
        position: Where the snippet goes: at the end of the ``body``, as User.com
            documents, or of the ``head``.
        strict: Raise :class:`InvalidCommand` for values that User.com cannot take. By
            default such a value never fails a request: a long string is truncated, an
            attribute is left out, and the log has one line. For tests and the sandbox.
        enabled: False switches everything off, for development and CI: no snippet, no
            cookie and no delivery. The visitor's methods return a skipped receipt. No
            other setting is needed then.
        bridge: Connect the page's script to handlers that it calls by ``fetch`` or
            ``XMLHttpRequest``. Commands of ``visitor.browser`` (with ``secret_keys``)
            then run at once, and ``reset_auth()`` resets the running widget.
        honour_gpc: Treat ``Sec-GPC: 1`` as a refusal of consent.

    Raises:
        ConfigurationError: If a value is missing or malformed. The text names the field
            and shows a valid value.

    """

    app: str | None = None
    base_url: str | None = None
    api_key: str = ""
    rest_token: str | None = field(default=None, repr=False)
    channel: Literal["widget", "rest"] | None = None
    secret_keys: tuple[str, ...] = field(default=(), repr=False)
    cookie_domain: str | None = None
    site: str | None = None
    reset_timeout: float = 0.25
    timeout: float = 10.0
    shutdown_timeout: float = 5.0
    inline_deadline: float = 2.0
    max_queue_size: int = 10_000
    max_concurrency: int = 8
    requests_per_second: float | None = None
    give_up_after: float = 6 * 3600.0
    position: Literal["body", "head"] = "body"
    strict: bool = False
    enabled: bool = True
    bridge: bool = False
    honour_gpc: bool = False
    rotate_on_login: bool = False
    anonymous: Literal["skip", "create"] = "skip"
    widget_state: str | None = None
    callbacks: Mapping[str, str] = field(default_factory=dict[str, str])
    #: The origin of the API, without a trailing slash. Derived.
    origin: str = field(init=False, compare=False)
    #: The address of the widget's script. Derived.
    widget_url: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("enabled", "strict", "bridge", "honour_gpc", "rotate_on_login"):
            _check_switch(name, getattr(self, name))
        # Without an address, nothing is switched on that could need one.
        is_needed = self.enabled or self.app is not None or self.base_url is not None
        origin = origin_of(app=self.app, base_url=self.base_url) if is_needed else ""
        object.__setattr__(self, "origin", origin)
        object.__setattr__(self, "widget_url", f"{origin}/widget.js")
        self._check_keys()
        self._check_channel()
        self._check_cookie_domain()
        if self.site is not None:
            site = parse_origin("site", self.site, "https://shop.example.com")
            object.__setattr__(self, "site", site)
            self._check_cookie_domain_of_site(urlsplit(site).hostname or "")
        self._check_widget()
        for name in ("reset_timeout", "shutdown_timeout", "inline_deadline"):
            _check_number(name, getattr(self, name), least=0.0)
        _check_number("timeout", self.timeout, least=0.001)
        _check_number("give_up_after", self.give_up_after, least=1.0)
        if self.requests_per_second is not None:
            _check_number("requests_per_second", self.requests_per_second, least=0.001)
        _check_number("max_queue_size", self.max_queue_size, least=1, whole=True)
        _check_number("max_concurrency", self.max_concurrency, least=1, whole=True)

    @property
    def uses_rest(self) -> bool:
        """True if the server sends by the REST API, and not as the widget does."""
        return self.channel == "rest" if self.channel else self.rest_token is not None

    @property
    def total_timeout(self) -> float:
        """Seconds that one call to User.com may take in all its phases."""
        return TOTAL_TIMEOUT_FACTOR * self.timeout

    @property
    def command_timeout(self) -> float:
        """Seconds that one command may take, which may be several calls."""
        if not self.uses_rest or self.requests_per_second is None:
            return self.total_timeout
        waits = _CALLS_OF_COMMAND * self.max_concurrency / self.requests_per_second
        return self.total_timeout + waits

    @classmethod
    def resolve(cls, config: object) -> UserComConfig:
        """Return the given configuration, or :meth:`from_env` without one.

        Raises:
            ConfigurationError: If the value is not a configuration.

        """
        if config is None:
            return cls.from_env()
        if not isinstance(config, cls):
            raise ConfigurationError(
                "config",
                "must be a UserComConfig, such as UserComConfig(**values), "
                f"got {type(config).__name__}",
            )
        return config

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **settings: Any) -> UserComConfig:
        """Read the settings from ``USERCOM_APP``, ``USERCOM_API_KEY`` and the like.

        ``USERCOM_SECRET_KEYS`` holds keys separated by commas, oldest first.
        ``USERCOM_ENABLED=0`` switches the library off; nothing else is needed then.
        ``settings`` override the environment.
        """
        environ = os.environ if environ is None else environ
        given = {
            name: environ[variable]
            for name, variable in _ENVIRONMENT.items()
            if environ.get(variable)
        }
        _warn_unread(environ)
        known = {each.name for each in fields(cls) if each.init}
        for name in sorted(settings.keys() - known):
            hint = did_you_mean(name, known)
            raise ConfigurationError(name, f"must be a setting of UserComConfig{hint}")
        values: dict[str, Any] = {**given, **settings}
        if isinstance(values.get("secret_keys"), str):
            values["secret_keys"] = tuple(
                key.strip() for key in values["secret_keys"].split(",") if key.strip()
            )
        if isinstance(values.get("enabled"), str):
            values["enabled"] = _switch("USERCOM_ENABLED", values["enabled"])
        is_needed = values.get("enabled", True)
        if is_needed and not values.get("api_key"):
            raise ConfigurationError(
                "api_key",
                "must be given; set USERCOM_API_KEY to the workspace's app key, such as ABC123",
            )
        if is_needed and not any(values.get(name) for name in ("app", "base_url")):
            raise ConfigurationError(
                "app",
                "must be given; set USERCOM_APP to the subdomain, such as acme for acme.user.com",
            )
        return cls(**values)

    @classmethod
    def sandbox(cls, base_url: str = _SANDBOX_URL, **settings: Any) -> UserComConfig:
        """Return settings for tests and a local sandbox, which ``settings`` override.

        They are strict, sign cookies with a public key, and wait for an unreachable
        sandbox for a fraction of a second. The address must be on this machine, so
        that no test reaches a real workspace.

        Raises:
            ConfigurationError: The address is not loopback, or a setting is malformed.

        """
        values: dict[str, Any] = {**_SANDBOX, **settings, "base_url": base_url}
        config = cls(**values)
        if not is_loopback(urlsplit(config.origin).hostname or ""):
            raise ConfigurationError(
                "base_url", f"must be an address of this machine, such as {_SANDBOX_URL!r}"
            )
        return config

    def _check_keys(self) -> None:
        is_missing = not self.api_key and not self.enabled
        if not is_missing and not (
            isinstance(self.api_key, str) and _API_KEY.fullmatch(self.api_key)
        ):
            raise ConfigurationError(
                "api_key",
                "must be the workspace's public app key, letters and digits such as 'ABC123'",
            )
        token = self.rest_token
        if token is not None and not is_rest_token(token):
            raise ConfigurationError(
                "rest_token",
                "must be the secret key of the REST API alone, 8 to 256 printable ASCII "
                "characters without spaces and line ends; set USERCOM_REST_TOKEN",
            )
        if token is not None and token == self.api_key:
            # The app key is part of every page, so this mistake would
            # publish the secret.
            raise ConfigurationError(
                "api_key",
                "must not equal rest_token, because the app key is public and the token secret",
            )
        object.__setattr__(self, "secret_keys", _secret_keys(self.secret_keys))

    def _check_channel(self) -> None:
        if self.channel not in (None, "widget", "rest"):
            raise ConfigurationError("channel", "must be 'widget' or 'rest'")
        if self.channel == "rest" and not self.rest_token and self.enabled:
            raise ConfigurationError(
                "rest_token", "must be given for channel='rest'; set USERCOM_REST_TOKEN"
            )
        if self.uses_rest and self.origin and not may_carry_token(self.origin):
            # The delivery could not run, and would drop every command.
            raise ConfigurationError("base_url", f"{NEEDS_HTTPS}; channel='widget' needs no token")

    def _check_widget(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigurationError(name, f"must be {choices[0]!r} or {choices[1]!r}")
        try:
            if self.widget_state is not None:
                object.__setattr__(self, "widget_state", check_state(self.widget_state))
        except ValueError as error:
            raise ConfigurationError("widget_state", str(error)) from None
        try:
            object.__setattr__(self, "callbacks", check_callbacks(self.callbacks))
        except ValueError as error:
            raise ConfigurationError("callbacks", str(error)) from None

    def _check_cookie_domain(self) -> None:
        domain = self.cookie_domain
        if domain is None:
            return
        bare = domain.removeprefix(".") if isinstance(domain, str) else ""
        if not is_host(bare):
            raise ConfigurationError(
                "cookie_domain", "must be a bare domain, such as cookie_domain='example.com'"
            )
        object.__setattr__(self, "cookie_domain", bare.lower())

    def _check_cookie_domain_of_site(self, host: str) -> None:
        domain = self.cookie_domain
        if domain is not None and not f".{host}".endswith(f".{domain}"):
            raise ConfigurationError(
                "cookie_domain",
                f"must be {host} of the site or a parent of it, as browsers refuse others, got "
                f"{domain!r}",
            )


def _secret_keys(keys: Iterable[str]) -> tuple[str, ...]:
    if isinstance(keys, str) or not isinstance(keys, Iterable):
        raise ConfigurationError(
            "secret_keys",
            "must be a sequence of keys, oldest first, such as ('<16 characters or more>',), got "
            f"{type(keys).__name__}",
        )
    keys = tuple(keys)
    if not all(isinstance(key, str) and len(key) >= 16 for key in keys):
        raise ConfigurationError("secret_keys", "must be strings of 16 characters or more")
    return keys


def _warn_unread(environ: Mapping[str, str]) -> None:
    for name in sorted(environ.keys() - set(_ENVIRONMENT.values())):
        if name.startswith("USERCOM_") and "_SANDBOX_" not in name:  # which the sandbox reads
            hint = did_you_mean(name, _ENVIRONMENT.values())
            if (setting := name.removeprefix("USERCOM_").lower()) in UserComConfig.__annotations__:
                hint = f"; write UserComConfig.from_env({setting}=...)"
            warn_once("environment_unread", f"The environment variable {name} is not read{hint}")


def _check_switch(name: str, value: object) -> None:
    # A string from the environment such as "0" would switch it on.
    if not isinstance(value, bool):
        raise ConfigurationError(name, f"must be True or False, got {type(value).__name__}")


def _switch(variable: str, value: str) -> bool:
    value = value.strip().lower()
    if value not in (*_ON, *_OFF):
        raise ConfigurationError(
            "enabled", f"must be 1 or 0; set {variable} to one of them, got {value!r}"
        )
    return value in _ON


def _check_number(name: str, value: float, *, least: float, whole: bool = False) -> None:
    kind, expected = (int, "a whole number") if whole else ((int, float), "a number")
    if isinstance(value, bool) or not isinstance(value, kind) or not least <= value < float("inf"):
        given = type(value).__name__ if not isinstance(value, (int, float)) else value
        raise ConfigurationError(name, f"must be {expected} of {least:g} or more, got {given}")
