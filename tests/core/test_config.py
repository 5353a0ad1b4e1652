from __future__ import annotations

import pickle
from typing import Any

import pytest

from usercom_asgi import ConfigurationError, UserComConfig

TOKEN = "t0ken-" * 10


@pytest.mark.parametrize(
    ("place", "origin"),
    [
        ({"app": "acme"}, "https://acme.user.com"),
        ({"app": "Acme-2"}, "https://acme-2.user.com"),
        ({"base_url": "http://127.0.0.1:8900"}, "http://127.0.0.1:8900"),
        ({"base_url": "http://127.0.0.1:8900/"}, "http://127.0.0.1:8900"),
        ({"base_url": "https://[::1]:8900"}, "https://[::1]:8900"),
    ],
)
def test_config_app_or_base_url_gives_the_origin(place: dict[str, str], origin: str) -> None:
    config = UserComConfig(api_key="ABC123", **place)  # type: ignore[arg-type]
    assert config.origin == origin
    assert config.widget_url == f"{origin}/widget.js"


@pytest.mark.parametrize(
    ("settings", "field", "shown"),
    [
        ({}, "app", "app='acme'"),
        ({"app": ""}, "app", "app='acme'"),
        ({"app": "https://acme.user.com"}, "app", "app='acme' for acme.user.com"),
        ({"app": "https://shop.user.com/widget.js"}, "app", "app='shop'"),
        ({"app": "acme.user.com"}, "app", "app='acme'"),
        ({"app": "-acme"}, "app", "subdomain"),
        ({"app": 'acme"><script>'}, "app", "subdomain"),
        ({"app": 7}, "app", "subdomain"),
        ({"app": "acme", "base_url": "http://127.0.0.1:8900"}, "base_url", "beside app"),
        ({"base_url": "127.0.0.1:8900"}, "base_url", "has no scheme"),
        ({"base_url": "ftp://example.com"}, "base_url", "another scheme"),
        ({"base_url": ""}, "base_url", "is empty"),
        ({"base_url": 8900}, "base_url", "of type int"),
        ({"base_url": "http://example.com:0"}, "base_url", "port 0"),
        ({"base_url": "http://user:pw@example.com"}, "base_url", "credentials"),
        ({"base_url": "http://example.com/path"}, "base_url", "such as a path"),
        ({"base_url": "http://example.com:99999"}, "base_url", "is not an address"),
        ({"base_url": 'http://example.com"'}, "base_url", "no valid host"),
        ({"app": "acme", "api_key": ""}, "api_key", "ABC123"),
        ({"app": "acme", "api_key": None}, "api_key", "ABC123"),
        ({"app": "acme", "api_key": "ABC 123"}, "api_key", "letters and digits"),
        ({"app": "acme", "api_key": "<script>"}, "api_key", "letters and digits"),
        ({"app": "acme", "rest_token": "short"}, "rest_token", "REST API"),
        ({"app": "acme", "rest_token": "with a space in it"}, "rest_token", "without spaces"),
        ({"app": "acme", "rest_token": f"{TOKEN}\n"}, "rest_token", "USERCOM_REST_TOKEN"),
        ({"app": "acme", "api_key": TOKEN, "rest_token": TOKEN}, "api_key", "public"),
        ({"app": "acme", "channel": "rest"}, "rest_token", "USERCOM_REST_TOKEN"),
        ({"app": "acme", "channel": "email"}, "channel", "'widget' or 'rest'"),
        ({"app": "acme", "secret_keys": "one-long-secret-key"}, "secret_keys", "sequence"),
        ({"app": "acme", "secret_keys": ("short",)}, "secret_keys", "16 characters"),
        ({"app": "acme", "cookie_domain": "https://example.com"}, "cookie_domain", "bare domain"),
        ({"app": "acme", "cookie_domain": "example.com; HttpOnly"}, "cookie_domain", "bare domain"),
        ({"app": "acme", "site": ""}, "site", "site='https://shop.example.com'"),
        (
            {"app": "acme", "site": "https://shop.example.com", "cookie_domain": "ample.com"},
            "cookie_domain",
            "must be shop.example.com of the site or a parent of it",
        ),
        ({"app": "acme", "site": "shop.example.com"}, "site", "site='https://shop.example.com'"),
        (
            {"app": "acme", "site": "https://shop.example.com/en"},
            "site",
            "must be a scheme and a host",
        ),
        (
            {"app": "acme", "site": b"https://shop.example.com"},
            "site",
            "must be a scheme and a host",
        ),
        ({"app": "acme", "widget_state": "open"}, "widget_state", "standard"),
        ({"app": "acme", "widget_state": "hide"}, "widget_state", "did you mean 'hidden'?"),
        ({"app": "acme", "callbacks": {"onopen": "f"}}, "callbacks", "did you mean 'onOpen'?"),
        ({"app": "acme", "enabled": "0"}, "enabled", "True or False, got str"),
        ({"app": "acme", "strict": 1}, "strict", "True or False, got int"),
        ({"enabled": False, "app": "https://x.user.com"}, "app", "app='x'"),
        ({"enabled": False, "app": "acme", "api_key": "A B"}, "api_key", "letters and digits"),
        ({"app": "acme", "callbacks": {"onClick": "f"}}, "callbacks", "onPayloadReceived"),
        ({"app": "acme", "callbacks": {"onOpen": "alert(1)"}}, "callbacks", "dotted path"),
        ({"app": "acme", "callbacks": {"onOpen": "a..b"}}, "callbacks", "dotted path"),
        ({"app": "acme", "callbacks": {"onOpen": "f\n"}}, "callbacks", "dotted path"),
        ({"app": "acme", "callbacks": {"onOpen": 7}}, "callbacks", "dotted path"),
        (
            {"app": "acme", "callbacks": {"onPayloadReceived": "window.eval"}},
            "callbacks",
            "run its argument as code",
        ),
        (
            {"app": "acme", "callbacks": {"onOpen": "shop.constructor.constructor"}},
            "callbacks",
            "run its argument as code",
        ),
        ({"app": "acme", "callbacks": "onOpen"}, "callbacks", "mapping"),
        ({"app": "acme", "reset_timeout": -1}, "reset_timeout", "0 or more"),
        ({"app": "acme", "reset_timeout": float("nan")}, "reset_timeout", "number"),
        ({"app": "acme", "timeout": 0}, "timeout", "number"),
        ({"app": "acme", "max_queue_size": 0}, "max_queue_size", "whole number of 1"),
        ({"app": "acme", "max_queue_size": 1.5}, "max_queue_size", "whole number"),
        ({"app": "acme", "max_concurrency": True}, "max_concurrency", "whole number"),
    ],
)
def test_config_invalid_setting_is_named_with_its_remedy(
    settings: dict[str, Any], field: str, shown: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        UserComConfig(**{"api_key": "ABC123", **settings})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"UserComConfig.{field}: ")
    assert shown in str(caught.value)


def test_config_secrets_are_in_no_repr_and_no_error() -> None:
    secret = "s3cret-s3cret-s3cret"
    config = UserComConfig(app="acme", api_key="ABC123", rest_token=secret, secret_keys=(secret,))
    assert secret not in repr(config)
    for settings in (
        {"rest_token": secret + " "},
        {"secret_keys": secret},
        {"api_key": secret + "!"},
        {"app": secret + "!"},
    ):
        with pytest.raises(ConfigurationError) as caught:
            UserComConfig(**{"app": "acme", "api_key": "ABC123", **settings})  # type: ignore[arg-type]
        assert secret not in str(caught.value)


def test_config_is_immutable() -> None:
    config = UserComConfig(app="acme", api_key="ABC123")
    with pytest.raises(AttributeError):
        config.api_key = "OTHER1"  # type: ignore[misc]
    assert config == UserComConfig(app="acme", api_key="ABC123")


def test_from_env_reads_the_variables_and_arguments_win() -> None:
    environ = {
        "USERCOM_APP": "acme",
        "USERCOM_API_KEY": "ABC123",
        "USERCOM_REST_TOKEN": TOKEN,
        "USERCOM_SECRET_KEYS": "old-old-old-old-old, new-new-new-new-new",
        "USERCOM_COOKIE_DOMAIN": ".example.com",
        "USERCOM_SITE": "https://Shop.example.com/",
    }
    config = UserComConfig.from_env(environ, reset_timeout=0)
    assert config.origin == "https://acme.user.com"
    assert config.rest_token == TOKEN
    assert config.secret_keys == ("old-old-old-old-old", "new-new-new-new-new")
    assert config.cookie_domain == "example.com"
    assert config.site == "https://shop.example.com"
    assert config.reset_timeout == 0


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"USERCOM_APP": "acme"}, "USERCOM_API_KEY"),
        ({"USERCOM_API_KEY": "ABC123"}, "USERCOM_APP"),
        ({}, "USERCOM_API_KEY"),
    ],
)
def test_from_env_missing_variable_is_named(environ: dict[str, str], variable: str) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        UserComConfig.from_env(environ)


@pytest.mark.parametrize("value", ["0", "false", "No", " off "])
def test_from_env_switched_off_needs_nothing_else(value: str) -> None:
    config = UserComConfig.from_env({"USERCOM_ENABLED": value})
    assert not config.enabled
    assert not UserComConfig.from_env({}, enabled=False).enabled


def test_from_env_switched_on_is_the_default() -> None:
    environ = {"USERCOM_APP": "acme", "USERCOM_API_KEY": "ABC123"}
    for more in ({}, {"USERCOM_ENABLED": "1"}, {"USERCOM_ENABLED": ""}):
        assert UserComConfig.from_env({**environ, **more}).enabled
    with pytest.raises(ConfigurationError, match="USERCOM_ENABLED to one of them, got 'maybe'"):
        UserComConfig.from_env({**environ, "USERCOM_ENABLED": "maybe"})
    with pytest.raises(ConfigurationError, match="did you mean 'secret_keys'"):
        UserComConfig.from_env(environ, secret_key="x")


def test_from_env_variable_that_is_not_read_is_named(caplog: pytest.LogCaptureFixture) -> None:
    environ = {"USERCOM_APP": "acme", "USERCOM_API_KEY": "ABC123", "USERCOM_SECRET_KEY": "x" * 16}
    UserComConfig.from_env(environ)
    assert caplog.messages == [
        "The environment variable USERCOM_SECRET_KEY is not read; did you mean 'USERCOM_SECRET_KEYS'? (logged once)"
    ]


def test_from_env_variable_of_a_setting_without_one_names_the_argument(
    caplog: pytest.LogCaptureFixture,
) -> None:
    UserComConfig.from_env(
        {"USERCOM_TIMEOUT": "3", "USERCOM_APP": "a", "USERCOM_API_KEY": "ABC123"}
    )
    assert "not read; write UserComConfig.from_env(timeout=...)" in caplog.text


def test_from_env_variable_of_the_sandbox_is_not_named(caplog: pytest.LogCaptureFixture) -> None:
    UserComConfig.from_env(
        {"USERCOM_SANDBOX_ACCESS_TOKEN": "x", "USERCOM_APP": "a", "USERCOM_API_KEY": "ABC123"}
    )
    assert not caplog.messages


def test_from_env_unknown_setting_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="must be a setting"):
        UserComConfig.from_env({"USERCOM_APP": "acme", "USERCOM_API_KEY": "ABC123"}, colour="red")


def test_config_host_of_its_own_is_refused() -> None:
    """User.com's widget.js does not start there: it looks for `user.com/widget` in its address."""
    with pytest.raises(ConfigurationError, match=r"host: must be a setting"):
        UserComConfig.from_env(
            {"USERCOM_APP": "acme", "USERCOM_API_KEY": "ABC123"}, host="chat.example.com"
        )
    with pytest.raises(TypeError, match="host"):
        UserComConfig(host="chat.example.com", api_key="ABC123")  # type: ignore[call-arg]


def test_errors_pickled_and_loaded_are_equal() -> None:
    error = ConfigurationError("app", "is wrong")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.field) == (str(error), "app")


@pytest.mark.parametrize(
    ("settings", "uses_rest"),
    [
        ({}, False),
        ({"rest_token": TOKEN}, True),
        ({"rest_token": TOKEN, "channel": "widget"}, False),
        ({"rest_token": TOKEN, "channel": "rest"}, True),
        ({"enabled": False, "channel": "rest"}, True),
    ],
)
def test_config_channel_defaults_to_rest_where_there_is_a_token(
    settings: dict[str, Any], uses_rest: bool
) -> None:
    assert UserComConfig(app="acme", api_key="ABC123", **settings).uses_rest is uses_rest


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({}, 30),
        ({"requests_per_second": 2}, 30),
        ({"rest_token": "abcdefgh12345"}, 30),
        ({"rest_token": "abcdefgh12345", "requests_per_second": 2}, 30 + 32),
    ],
)
def test_config_command_timeout_by_rest_includes_the_wait_for_the_limit(
    settings: dict[str, Any], seconds: float
) -> None:
    assert UserComConfig(app="acme", api_key="ABC123", **settings).command_timeout == seconds


def test_sandbox_is_strict_quick_and_local() -> None:
    config = UserComConfig.sandbox()
    assert (config.origin, config.api_key) == ("http://127.0.0.1:8900", "ABC123")
    assert config.strict
    assert config.secret_keys
    assert config.total_timeout + config.shutdown_timeout + config.inline_deadline < 4


def test_sandbox_takes_other_settings() -> None:
    config = UserComConfig.sandbox("http://localhost:1234", strict=False, api_key="XYZ")
    assert (config.origin, config.strict, config.api_key) == ("http://localhost:1234", False, "XYZ")


@pytest.mark.parametrize("address", ["https://acme.user.com", "http://192.0.2.1", "http://sandbox"])
def test_sandbox_of_another_machine_raises(address: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url: must be an address of this machine"):
        UserComConfig.sandbox(address)


def test_sandbox_with_an_app_raises() -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        UserComConfig.sandbox(app="acme")


@pytest.mark.parametrize("keys", [None, 7, "sixteen characters or more"])
def test_config_secret_keys_of_a_wrong_type_name_the_field(keys: Any) -> None:
    with pytest.raises(ConfigurationError, match="secret_keys: must be a sequence of keys"):
        UserComConfig(app="acme", api_key="ABC123", secret_keys=keys)
