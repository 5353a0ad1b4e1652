from __future__ import annotations

import time

import pytest
from helpers.asgi_client import call, html
from hypothesis import given
from hypothesis import strategies as st

from usercom_asgi import UserComConfig, UserComMiddleware
from usercom_asgi.core.user_key import COOKIE, ResetMarker, is_user_key, key_digest
from usercom_asgi.visitor.cookies import (
    CookieWriter,
    cookie_domains,
    read_cookies,
    widget_domain,
)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("example.com", "example.com"),
        ("shop.example.com", "example.com"),
        ("www.example.co.uk", "example.co.uk"),
        ("shop.example.com.pl", "example.com.pl"),
        # The widget mistakes these for such endings; so must we.
        ("www.foo.co", "www.foo.co"),
        ("app.abc.io", "app.abc.io"),
        ("foo.co", "foo.co"),
        ("foo.herokuapp.com", "herokuapp.com"),
        ("localhost", None),
        ("127.0.0.1", None),
        ("::1", None),
        ("", None),
        ("evil.com; domain=example.com", None),
        ("a\r\nset-cookie: x=y.com", None),
    ],
)
def test_the_domain_of_the_widget_s_cookie(host: str, domain: str | None) -> None:
    assert widget_domain(host) == domain


def test_every_home_of_a_cookie() -> None:
    assert cookie_domains("a.shop.example.com", None) == [
        None,
        "a.shop.example.com",
        "shop.example.com",
        "example.com",
    ]
    assert cookie_domains("localhost", None) == [None]
    assert cookie_domains("10.0.0.1", None) == [None]


@pytest.mark.parametrize(
    ("value", "is_key"),
    [
        ("abcdef123456", True),
        ("A", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("", False),
        ("abc def", False),
        ("ключ", False),
        ("abc\n", False),
        ("a;b", False),
        (None, False),
        (12, False),
        ("١٢٣", False),
    ],
)
def test_what_is_a_user_key(value: object, is_key: bool) -> None:
    assert is_user_key(value) is is_key


def test_the_cookie_among_garbage() -> None:
    headers = [
        (b"Cookie", b'=; ;;; bad"quote="; x=y=z; {json: "a;b"}; \xff\xfe=1'),
        (b"accept", b"__ca__chat=notthis"),
        (b"cookie", b" __ca__chat = abc123 ; __ca__chat=second; x__ca__chat=third"),
    ]
    assert read_cookies(headers, COOKIE) == {COOKIE: ["abc123", "second"]}


def test_eight_kilobytes_of_junk() -> None:
    junk = b"; ".join(b"k%d=%s" % (n, b'\x80"\\,{}' * 20) for n in range(60))
    assert len(junk) > 7_000
    assert read_cookies([(b"cookie", junk + b"; __ca__chat=abc123")], COOKIE) == {
        COOKIE: ["abc123"]
    }


@given(st.lists(st.tuples(st.sampled_from([b"cookie", b"Cookie", b"x"]), st.binary(max_size=200))))
def test_no_cookie_header_breaks_the_parser(headers: list[tuple[bytes, bytes]]) -> None:
    for value in read_cookies(headers, COOKIE).values():
        assert isinstance(value, str)


@given(st.text(max_size=100))
def test_no_marker_breaks_the_parser(value: str) -> None:
    assert ResetMarker.parse(value) is None


def test_a_marker_recognises_the_old_key_and_does_not_hold_it() -> None:
    marker = ResetMarker.new(key_digest("oldkey123456"))
    again = ResetMarker.parse(str(marker))
    assert again == marker
    assert marker.matches("oldkey123456")
    assert not marker.matches("newkey123456")
    assert "oldkey123456" not in str(marker)
    assert abs(marker.at - time.time()) < 5
    assert ResetMarker.new("-").token != ResetMarker.new("-").token


def test_a_key_is_set_in_one_place_and_expired_in_all_others() -> None:
    cookies = [
        each.decode()
        for each in CookieWriter(host="shop.example.com", secure=True).set_key("newkey123456")
    ]
    assert cookies == [
        "__ca__chat=; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; SameSite=Lax; Secure",
        "__ca__chat=; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Domain=shop.example.com; SameSite=Lax; Secure",
        "__ca__chat=newkey123456; Path=/; Max-Age=31536000; Domain=example.com; SameSite=Lax; Secure",
    ]


def test_on_plain_http_and_a_single_host() -> None:
    assert CookieWriter(host="localhost", secure=False).set_key("newkey123456") == [
        b"__ca__chat=newkey123456; Path=/; Max-Age=31536000; SameSite=Lax"
    ]
    assert len(CookieWriter(host="localhost", secure=False).set_key(None)) == 1


def test_a_configured_domain_wins() -> None:
    cookies = [
        each.decode()
        for each in CookieWriter(
            host="a.shop.example.com", secure=False, domain="shop.example.com"
        ).set_key("k")
    ]
    assert [each for each in cookies if each.startswith("__ca__chat=k;")] == [
        "__ca__chat=k; Path=/; Max-Age=31536000; Domain=shop.example.com; SameSite=Lax"
    ]
    assert len(cookies) == 4


def test_the_widget_can_read_its_cookie_and_nobody_can_read_the_marker() -> None:
    for cookie in (
        *CookieWriter(host="example.com", secure=True).set_key("k"),
        *CookieWriter(host="a.b", secure=True).set_key(None),
    ):
        assert b"httponly" not in cookie.lower()
    assert b"HttpOnly" in CookieWriter(host="a.b", secure=True).set_reset_marker(
        ResetMarker.new("-")
    )


PAGE = b"<html><body>hello</body></html>"


async def test_cookie_domains_of_a_long_host_keep_the_response_small() -> None:
    host = ".".join("a" * 7000)
    marker = ResetMarker(key_digest("abc123"), "a" * 22, 1)
    middleware = UserComMiddleware(
        html(PAGE), UserComConfig(app="acme", api_key="ABC123", inline_deadline=0)
    )
    page = await call(middleware)
    got = await call(
        middleware, host=host, headers={"cookie": f"__ca__chat=abc123; __ca__reset={marker}"}
    )
    assert (
        sum(len(name) + len(value) for name, value in got.headers) + len(got.body)
        < len(page.body) + 1_500
    )
    assert len(cookie_domains(".".join("abcdefghijklmnop"), None)) <= 9
