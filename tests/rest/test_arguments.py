"""Guards ``rest/arguments.py``: what an error of configuration names."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from helpers.rest_server import TOKEN

from usercom_asgi import ConfigurationError
from usercom_asgi.rest import UserComRest


@pytest.mark.parametrize(
    ("arguments", "field", "text"),
    [
        ({}, "subdomain", "must be the workspace's subdomain, such as subdomain='acme'"),
        ({"subdomain": "a", "base_url": "https://a.user.com"}, "subdomain", "got both"),
        ({"subdomain": "acme.user.com"}, "subdomain", "such as subdomain='acme'"),
        ({"base_url": "http://acme.user.com"}, "base_url", "must begin with https"),
        ({"base_url": "http://127.0.0.1.evil.example"}, "base_url", "must begin with https"),
        ({"base_url": "https://a.example/path"}, "base_url", "must be"),
        ({"base_url": "ftp://a.example"}, "base_url", "must be"),
        ({"subdomain": "acme", "token": ""}, "token", "got 0 characters"),
        ({"subdomain": "acme", "token": None}, "token", "got NoneType"),
        ({"subdomain": "acme", "token": f"{TOKEN}\n"}, "token", "without spaces"),
        ({"subdomain": "acme", "timeout": 0}, "timeout", "must be seconds"),
        ({"subdomain": "acme", "timeout": "10"}, "timeout", "got str"),
        ({"subdomain": "acme", "timeout": float("nan")}, "timeout", "got nan"),
        ({"subdomain": "acme", "retries": -1}, "retries", "from 0 to 10, got -1"),
        ({"subdomain": "acme", "retries": True}, "retries", "got bool"),
        ({"subdomain": "acme", "concurrency": 0}, "concurrency", "from 1 to 1000"),
        ({"subdomain": "acme", "on_call": 5}, "on_call", "must be a function, got int"),
        ({"subdomain": "acme", "transport": object()}, "transport", "AsyncBaseTransport"),
    ],
)
def test_client_argument_malformed_raises_with_the_remedy(
    arguments: dict[str, Any], field: str, text: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        UserComRest(**{"token": TOKEN, **arguments})
    assert raised.value.field == field
    assert text in str(raised.value)
    assert "UserComConfig" not in str(raised.value)
    assert TOKEN not in f"{raised.value!r} {raised.value.__dict__}"
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


@pytest.mark.parametrize(
    "where",
    [
        {"subdomain": "acme"},
        {"base_url": "https://usercom.example"},
        {"base_url": "http://127.0.0.1:8900"},
        {"base_url": "http://localhost:8900"},
        {"base_url": "http://[::1]:8900"},
    ],
)
def test_client_is_made_without_a_loop(where: dict[str, Any]) -> None:
    rest = UserComRest(token=TOKEN, **where)
    assert "acme" in repr(rest) or where["base_url"] in repr(rest)
    assert TOKEN not in repr(rest)


@pytest.mark.parametrize("value", [0, -1, True, "5", float("inf"), float("nan")])
def test_client_with_a_malformed_rate_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match="requests_per_second"):
        UserComRest(subdomain="acme", token="abcdefgh12345", requests_per_second=value)  # type: ignore[arg-type]
