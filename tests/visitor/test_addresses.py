"""The public site of a request, and user keys in addresses."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest
from helpers.apps import app_with
from helpers.asgi_client import call
from helpers.fake_usercom import FakeUserCom

from usercom_asgi import UserComMiddleware
from usercom_asgi.visitor.addresses import holds_key, keys_in, without_key


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/?__ca__chat=abc123", "/"),
        ("/?a=1&__ca__chat=abc123&b=2", "/?a=1&b=2"),
        ("/?a=1;__ca__chat=abc123;b=2", "/?a=1;b=2"),
        ("/?next=%2F%3F__ca__chat%3Dabc123&q=1", "/?next=%2F&q=1"),
        ("/?next=%2F%3F__ca__chat%3Dabc123%26z%3D1&q=1", "/?next=%2F%3Fz%3D1&q=1"),
        ("/?next=%252F%253F__ca__chat%253Dabc123&q=1", "/?next=%252F&q=1"),
        ("/?next=%25252F%25253F%25255f_ca__chat%25253Dabc123&q=1", "/?next=%25252F&q=1"),
        ("/?%5F%5Fca__chat=abc123", "/"),
        ("/?a=1#__ca__chat=abc123", "/?a=1"),
        ("/__ca__chat=abc123?q=1", "/"),
        ("/?__ca__chat=abc123#part", "/#part"),
        ("/?a=%20b&c", "/?a=%20b&c"),
    ],
)
def test_without_key_of_a_key_at_any_depth_removes_the_key(url: str, expected: str) -> None:
    assert without_key(f"https://shop.example.com{url}") == f"https://shop.example.com{expected}"
    assert not holds_key(without_key(url))
    assert set(keys_in(url)) <= {"abc123"}


async def buy_and_log_out(visitor: Any) -> None:
    await visitor.event("bought")
    await visitor.reset_auth()


BACKEND = "backend.internal:8000"
SITE = "https://shop.example.com:8443"


async def test_site_behind_a_proxy_counts_for_pages_and_cookies(usercom: FakeUserCom) -> None:
    key = usercom.new_user()
    config = usercom.config(site=SITE, reset_timeout=5)
    middleware = UserComMiddleware(app_with(buy_and_log_out), config)
    got = await call(
        middleware,
        "/cart",
        host=BACKEND,
        query="n=1",
        headers={"cookie": f"__ca__chat={key}", "x-forwarded-host": "evil.test"},
    )
    await call(
        middleware,
        "/buy",
        method="POST",
        host=BACKEND,
        headers={"cookie": f"__ca__chat={key}", "referer": f"{SITE}/form"},
    )
    assert [each.domain for each in usercom.store.events] == ["shop.example.com"] * 2
    assert sorted(each.payload["url"] for each in usercom.store.hits) == [
        f"{SITE}/cart?n=1",
        f"{SITE}/form",
    ]
    keys = got.set_cookies("__ca__chat")
    assert "Domain=example.com" in keys[-1]
    assert all("; Secure" in each for each in keys)
    assert "internal" not in str(got.headers)


SAME = {"sec-fetch-site": "same-origin"}


@pytest.mark.parametrize(
    ("headers", "host", "lines"),
    [
        ({"origin": "https://shop.example.com", **SAME}, BACKEND, 1),
        ({"referer": "https://shop.example.com/a", **SAME}, BACKEND, 1),
        ({"origin": "null", "referer": "https://shop.example.com/", **SAME}, BACKEND, 1),
        (
            {"referer": "http://shop.example.com/", "x-forwarded-host": "shop.example.com, b"},
            BACKEND,
            1,
        ),
        # TLS ends at the proxy, and the server does not trust its X-Forwarded-Proto.
        ({"origin": "https://shop.example.com", **SAME}, "shop.example.com", 1),
        ({"origin": "http://shop.example.com", **SAME}, "Shop.example.com:80", 0),
        # A click on another site, or a form of a payment provider.
        ({"referer": "https://mail.test/", "sec-fetch-site": "cross-site"}, "shop.example.com", 0),
        ({"origin": "https://bank.test"}, "shop.example.com", 0),
        ({"referer": "//[", "origin": "x", **SAME}, BACKEND, 0),
        ({}, BACKEND, 0),
    ],
)
async def test_host_that_a_proxy_replaces_warns_once_what_to_set(
    headers: dict[str, str],
    host: str,
    lines: int,
    usercom: FakeUserCom,
    caplog: pytest.LogCaptureFixture,
) -> None:
    middleware = UserComMiddleware(app_with(buy_and_log_out), usercom.config())
    for _ in range(2):
        await call(
            middleware,
            host=host,
            headers={"cookie": f"__ca__chat={usercom.new_user()}", **headers},
        )
    assert len(caplog.messages) == lines
    for line in caplog.messages:
        assert "Set UserComConfig(site='https://shop.example.com') to the public address" in line


async def test_host_that_differs_from_a_configured_site_does_not_warn(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    config = usercom.config(site="https://shop.example.com")
    middleware = UserComMiddleware(app_with(buy_and_log_out), config)
    headers = {"origin": "https://shop.example.com", **SAME}
    await call(middleware, host=BACKEND, headers=headers)
    assert not caplog.messages


@pytest.mark.parametrize("text", ["%25" * 20_000, "%" + "25" * 30_000, "%2525" * 12_000])
def test_keys_in_a_nest_of_percent_signs_are_found_in_linear_time(text: str) -> None:
    """A client chooses its referrer; one level a turn took seconds for 32 KB."""
    began = time.process_time()
    url = f"http://x/?a={text}&{quote(quote('__ca__chat=abc123'))}"
    assert list(keys_in(url)).count("abc123") >= 1
    assert time.process_time() - began < 1
