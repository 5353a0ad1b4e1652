"""The epoch cookie: what a request and its answer do about an identity that has ended."""

from __future__ import annotations

import pytest
from helpers.asgi_client import call, html, lifespan
from helpers.fake_usercom import FakeUserCom
from starlette.types import Receive, Scope, Send

from usercom_asgi import UserComConfig, UserComMiddleware, get_visitor
from usercom_asgi.visitor.cookies import Epoch, key_mark

PAGE = b"<html><body>hello</body></html>"
CONFIG = UserComConfig(app="acme", api_key="ABC123", inline_deadline=0)


def test_epoch_parse_of_its_own_text_returns_the_same_epoch() -> None:
    epoch = Epoch("abc").with_ended([f"key{n}" for n in range(9)])
    assert Epoch.parse(str(epoch)) == epoch
    assert len(epoch.ended) == 6
    assert epoch.has_ended("key8")
    assert not epoch.has_ended("key0")
    assert not epoch.with_revived("key8").has_ended("key8")
    assert key_mark("abc123") in str(Epoch().with_ended(["abc123"]))


@pytest.mark.parametrize(
    "value", [None, "", "a b", "é", "x" * 40, "a.g", "a" + ".1" * 9, 'a"<script>']
)
def test_epoch_parse_of_an_invalid_value_returns_the_empty_epoch(value: str | None) -> None:
    assert Epoch.parse(value) == Epoch.NONE


async def test_anonymous_page_with_an_epoch_cookie_is_unchanged() -> None:
    middleware = UserComMiddleware(html(PAGE), CONFIG)
    plain = await call(middleware)
    ended = Epoch("abc").with_ended(["other1"])
    later = await call(middleware, headers={"cookie": f"__ca__chat=abc123; __ca__epoch={ended}"})
    assert later.body == plain.body
    assert later.headers == plain.headers
    assert later.all("set-cookie") == []


async def test_page_of_a_person_names_its_epoch() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        get_visitor(scope).identify(user_id="42")
        await html(PAGE)(scope, receive, send)

    page = await call(
        UserComMiddleware(app, CONFIG), headers={"cookie": "__ca__epoch=abc_DEF.12ab"}
    )
    assert b'"abc_DEF",false);' in page.body


@pytest.mark.parametrize(
    "query", [b"__ca__chat=abc123", b"a=1&%5f_ca__chat=abc123", b"next=%2F%3F__ca__chat%3Dabc123"]
)
async def test_page_with_a_key_in_its_url_is_private(query: bytes) -> None:
    page = await call(UserComMiddleware(html(PAGE), CONFIG), query_string=query)
    assert page.header("cache-control") == "private"


async def test_ended_key_is_ignored_and_expired(usercom: FakeUserCom) -> None:
    keys: list[str | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        keys.append(get_visitor(scope).key)
        await html(PAGE)(scope, receive, send)

    ended = Epoch("abc").with_ended(["abc123"])
    middleware = UserComMiddleware(app, usercom.config())
    async with lifespan(middleware) as state:
        page = await call(
            middleware,
            headers={"cookie": f"__ca__chat=abc123; __ca__epoch={ended}"},
            state=dict(state),
        )
        twins = f"__ca__chat=abc123; __ca__chat=live99; __ca__epoch={ended}"
        both = await call(middleware, headers={"cookie": twins}, state=dict(state))
    assert any(line.startswith("__ca__chat=live99;") for line in both.set_cookies("__ca__chat"))
    assert keys == [None, "live99"]
    assert all("Max-Age=0" in line for line in page.set_cookies("__ca__chat"))
    assert page.set_cookies("__ca__chat")


async def test_reset_ends_every_key_of_the_request(usercom: FakeUserCom) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await get_visitor(scope).reset_auth()
        await html(PAGE)(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config(reset_timeout=5))
    headers = {
        "cookie": "__ca__chat=cookie1; __ca__chat=twin22",
        "referer": "http://h/?next=%2F%3F__ca__chat%3Dmail33",
    }
    async with lifespan(middleware) as state:
        page = await call(middleware, headers=headers, state=dict(state))
    [line] = [each for each in page.set_cookies("__ca__epoch") if "Max-Age=0" not in each]
    epoch = Epoch.parse(line.partition(";")[0].partition("=")[2])
    assert epoch.id
    assert [epoch.has_ended(key) for key in ("cookie1", "twin22", "mail33", "other4")] == [
        True,
        True,
        True,
        False,
    ]
    assert f'"{epoch.id}",false);'.encode() in page.body
