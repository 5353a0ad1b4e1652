"""`visitor.browser`: the commands of a handler, and how the response carries them."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.asgi_client import Recorded, answers, body, call, html, lifespan, start
from helpers.browser import FakeBrowser
from helpers.fake_usercom import CONFIG, FakeUserCom
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usercom_asgi import (
    ConfigurationError,
    Event,
    InvalidCommand,
    Status,
    UserComConfig,
    UserComMiddleware,
    get_visitor,
)
from usercom_asgi.core.user_key import key_digest
from usercom_asgi.visitor.browser import MAX_BYTES, limit
from usercom_asgi.visitor.consent import NoDelivery
from usercom_asgi.visitor.session import VisitorSession
from usercom_asgi.visitor.signed_cookies import (
    FLASH_COOKIE,
    FLASH_HOST_COOKIE,
    FLASH_MAX_AGE,
    IDENTITY_COOKIE,
    FlashCookie,
    IdentityCookie,
)
from usercom_asgi.visitor.visitor import Visitor

KEYS = ("an old key, sixteen or more", "a new key, sixteen or more")
PAGE = b"<html><body>hello</body></html>"
KEY = "aaaaaaaaaaaa"
HTMX = {"hx-request": "true"}
BRIDGE = {"accept": "*/*, application/x-usercom"}
REDIRECT = (start({"location": "/"}, 303), body())
JSON = (start({"content-type": "application/json"}), body(b"{}"))

Handler = Callable[[Visitor], Awaitable[Any] | None]


def config(**settings: Any) -> UserComConfig:
    return UserComConfig(**{"app": "acme", "api_key": "ABC123", "secret_keys": KEYS, **settings})


def site(
    says: Handler | None = None, then: tuple[Message, ...] = REDIRECT, **settings: Any
) -> UserComMiddleware:
    """Return an application with one handler.

    ``/say`` calls the handler and responds with ``then``. /json, /fragment and /redirect
    record no command, and every other path is a page.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        path = scope["path"]
        if path == "/say" and says:
            said = says(get_visitor(scope))
            if said is not None:
                await said
            await answers(*then)(scope, receive, send)
        elif path == "/json":
            await answers(*JSON)(scope, receive, send)
        elif path == "/redirect":
            await answers(*REDIRECT)(scope, receive, send)
        elif path == "/fragment":
            await html(b"<p>part</p>")(scope, receive, send)
        else:
            await html(PAGE)(scope, receive, send)

    return UserComMiddleware(app, settings.pop("config", None) or config(**settings))


class Visit(FakeBrowser):
    def __init__(self, app: ASGIApp, **cookies: str) -> None:
        super().__init__(**{"__ca__chat": KEY, **cookies})
        self.app = app

    async def go(
        self, path: str = "/", headers: Mapping[str, str] | None = None, **scope: Any
    ) -> Recorded:
        got = await call(self.app, path, headers={**self.headers, **(headers or {})}, **scope)
        self.keep(got)
        for line in [*got.set_cookies(FLASH_COOKIE), *got.set_cookies(IDENTITY_COOKIE)]:
            assert "HttpOnly" in line
            name, _, value = line.partition(";")[0].partition("=")
            self.jar.pop(name, None)
            if value:
                self.jar[name] = value
        return got


def in_page(got: Recorded) -> list[list[Any]]:
    """Return the commands in the snippet of a page, without their ids, which all differ."""
    found = re.search(r"usercom\.run\((\[.*?\])\);</script>", got.text)
    commands = json.loads(found[1]) if found else []
    assert len({each[0] for each in commands}) == len(commands)
    return [each[1:] for each in commands]


def in_trigger(got: Recorded) -> list[list[Any]]:
    given = json.loads(got.header("hx-trigger") or "{}")
    return [each[1:] for each in given.get("usercom", {}).get("commands", [])]


def in_bridge(got: Recorded) -> list[list[Any]]:
    return [each[1:] for each in json.loads(got.header("usercom-commands") or "[]")]


def civchat(got: Recorded) -> dict[str, Any]:
    found = re.search(r"window\.civchat = (\{.*?\});", got.text)
    assert found
    return dict(json.loads(found[1]))


def open_widget(visitor: Visitor) -> None:
    visitor.browser.open()


def send_everything(visitor: Visitor) -> None:
    said = visitor.browser
    said.page_hit(Event("purchase", {"total": 19.9}), plan="gold")
    said.event("seen", where="</script><b>")
    said.product_event(
        "sku-1", "purchase", name="Cup", description="A cup", custom_data={"n": 1}, price=2.5
    )
    said.update(first_name="Zoë")
    said.open()
    said.close()
    said.show()
    said.hide()
    said.destroy()


EVERYTHING: list[list[Any]] = [
    ["UE.pageHit", {"plan": "gold", "event": {"event_name": "purchase", "total": 19.9}}],
    ["userengage", "event.seen", {"where": "</script><b>"}],
    [
        "userengage",
        "product_event",
        {
            "product_id": "sku-1",
            "event_type": "purchase",
            "name": "Cup",
            "description": "A cup",
            "price": 2.5,
            "custom_data": {"n": 1},
        },
    ],
    ["userengage", "client.update", {"first_name": "Zoë"}],
    ["userengage", "widget.open"],
    ["userengage", "widget.close"],
    ["userengage", "widget.show"],
    ["userengage", "widget.hide"],
    ["UE.destroy"],
]


async def test_browser_command_on_a_page_is_in_the_snippet_and_not_cached() -> None:
    visit = Visit(site(send_everything, (start(), body(PAGE))))
    got = await visit.go("/say")
    assert in_page(got) == EVERYTHING
    assert "</script><b>" not in got.text
    assert got.header("cache-control") == "no-store"
    assert not got.set_cookies(FLASH_COOKIE)
    assert in_page(await visit.go()) == []


async def test_flash_after_redirects_and_json_runs_once_on_the_next_page() -> None:
    visit = Visit(site(send_everything))
    got = await visit.go("/say", method="POST")
    assert got.header("cache-control") == "private"
    for path in ("/redirect", "/json", "/fragment", "/redirect"):
        assert not (await visit.go(path)).set_cookies(FLASH_COOKIE)
    got = await visit.go("/")
    assert in_page(got) == EVERYTHING
    assert got.header("cache-control") == "no-store"
    assert "Max-Age=0" in got.set_cookies(FLASH_COOKIE)[0]
    assert in_page(await visit.go("/")) == []


async def test_flash_of_several_responses_runs_in_order() -> None:
    n = 0

    def counts(visitor: Visitor) -> None:
        nonlocal n
        n += 1
        visitor.browser.event("step", n=n)

    visit = Visit(site(counts))
    for _ in range(3):
        await visit.go("/say")
    assert [each[2] for each in in_page(await visit.go())] == [{"n": 1}, {"n": 2}, {"n": 3}]


@pytest.mark.parametrize(
    ("path", "headers", "method"),
    [
        ("/", {"sec-purpose": "prefetch"}, "GET"),
        ("/", {"x-sec-purpose": "prefetch", "x-turbo-request-id": "1"}, "GET"),
        ("/", {"purpose": "prefetch"}, "GET"),
        ("/", {"x-moz": "prefetch"}, "GET"),
        ("/", {"hx-preloaded": "true", "hx-request": "true", "hx-boosted": "true"}, "GET"),
        ("/", {"sec-fetch-dest": "image"}, "GET"),
        ("/", {}, "HEAD"),
        ("/fragment", {}, "GET"),
        ("/fragment", {"hx-request": "true", "hx-history-restore-request": "true"}, "GET"),
    ],
)
async def test_flash_in_a_response_that_is_not_displayed_is_kept(
    path: str, headers: dict[str, str], method: str
) -> None:
    visit = Visit(site(open_widget))
    await visit.go("/say")
    got = await visit.go(path, headers, method=method)
    assert in_page(got) == []
    assert not got.set_cookies(FLASH_COOKIE)
    assert in_page(await visit.go()) == [["userengage", "widget.open"]]


@pytest.mark.parametrize(
    "headers", [{"hx-request": "true", "hx-boosted": "true"}, {"x-turbo-request-id": "1"}]
)
async def test_flash_on_a_page_fetched_by_htmx_or_turbo_runs(headers: dict[str, str]) -> None:
    visit = Visit(site(open_widget))
    await visit.go("/say")
    got = await visit.go("/", {"sec-fetch-dest": "empty", **headers})
    assert in_page(got) == [["userengage", "widget.open"]]
    assert FLASH_COOKIE not in visit.jar


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-dest": "empty", "sec-fetch-mode": "cors", "accept": "*/*"},
        {"sec-fetch-dest": "empty", "sec-fetch-mode": "same-origin", "accept": "text/html"},
        {"sec-fetch-dest": "empty", "x-turbo-request-id": "1", "turbo-frame": "bar"},
        {"accept": "text/html, application/xhtml+xml", "turbo-frame": "bar"},
        {"accept": "text/html, application/xhtml+xml"},
        {"accept": "text/html, */*; q=0.01", "x-requested-with": "XMLHttpRequest"},
        {"accept": "*/*"},
    ],
)
async def test_flash_on_a_page_fetched_by_a_script_runs_there_or_on_the_next_page(
    headers: dict[str, str],
) -> None:
    """The id makes it run once in the browser, whichever page runs its scripts."""
    visit = Visit(site(open_widget))
    await visit.go("/say", headers)
    got = await visit.go("/", headers)
    assert in_page(got) == [["userengage", "widget.open"]]
    assert not got.set_cookies(FLASH_COOKIE)
    ids = re.findall(r"usercom\.run\(\[\[\"(.*?)\"", got.text + (await visit.go()).text)
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert FLASH_COOKIE not in visit.jar


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-dest": "empty", "sec-fetch-mode": "navigate"},  # of a service worker
        {"sec-fetch-dest": "document", "sec-fetch-mode": "navigate"},
        {"sec-fetch-dest": "iframe", "sec-fetch-mode": "navigate"},
        {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "upgrade-insecure-requests": "1"},
    ],
)
async def test_flash_on_a_page_for_a_window_runs_and_ends(headers: dict[str, str]) -> None:
    visit = Visit(site(open_widget))
    await visit.go("/say", headers)
    assert in_page(await visit.go("/", headers)) == [["userengage", "widget.open"]]
    assert FLASH_COOKIE not in visit.jar


@pytest.mark.parametrize("position", ["body", "head"])
@pytest.mark.parametrize(
    ("more", "status", "name"),
    [
        ({}, 200, "hx-trigger-after-swap"),
        ({}, 422, "hx-trigger"),
        ({"hx-request-type": "full"}, 200, "hx-trigger"),
        (BRIDGE, 200, "hx-trigger-after-swap"),
    ],
)
async def test_browser_command_on_a_boosted_link_is_in_a_trigger_after_the_swap_as_well(
    more: dict[str, str], status: int, name: str, position: str
) -> None:
    """`hx-select` takes a part without the snippet, and htmx 2 runs no script of the head."""
    page = b"<html><head></head><body>hello</body></html>"
    own = {"content-type": "text/html", name: "mine"}
    visit = Visit(site(open_widget, (start(own, status), body(page)), position=position))
    got = await visit.go("/say", {"hx-request": "true", "hx-boosted": "true", **more})
    trigger = json.loads(got.header(name) or "")
    assert trigger["mine"] == ""
    [call] = trigger["usercom"]["commands"]
    assert call[1:] == ["userengage", "widget.open"]
    assert f'usercom.run([["{call[0]}"' in got.text
    assert got.header("cache-control") == "no-store"
    assert got.header("usercom-commands") is None
    assert FLASH_COOKIE not in visit.jar


async def test_browser_command_in_a_fragment_or_chunked_page_is_kept_in_the_flash() -> None:
    said = Visit(site(open_widget, (start(), body(b"<p>part</p>"))))
    got = await said.go("/say")
    assert got.text == "<p>part</p>"
    assert in_page(await said.go()) == [["userengage", "widget.open"]]
    # The response starts before the middleware knows whether it is a page. The command goes into
    # the page and the flash, with one id, so that the browser runs it once.
    late = Visit(
        site(
            open_widget,
            (start(), body(b"<!doctype html>", more=True), body(b"<html><body>x</body></html>")),
        )
    )
    got = await late.go("/say")
    assert in_page(got) == [["userengage", "widget.open"]]
    ids = re.search(r"usercom\.run\(\[\[\"(.*?)\"", got.text)
    again = re.search(r"usercom\.run\(\[\[\"(.*?)\"", (await late.go()).text)
    assert ids
    assert again
    assert ids[1] == again[1]


async def test_browser_command_on_a_suppressed_page_runs_on_the_next_page() -> None:
    def quiet(visitor: Visitor) -> None:
        visitor.browser.open()
        visitor.suppress()

    visit = Visit(site(quiet, (start(), body(PAGE))))
    assert (await visit.go("/say")).body == PAGE
    assert in_page(await visit.go()) == [["userengage", "widget.open"]]


@pytest.mark.parametrize(
    ("own", "events"),
    [
        ([], {}),
        (["cart, saved"], {"cart": "", "saved": ""}),
        (["cart", "saved"], {"cart": "", "saved": ""}),
        (['{"cart":{"n":1,"target":"#a"}}'], {"cart": {"n": 1, "target": "#a"}}),
    ],
)
async def test_htmx_trigger_with_application_events_keeps_them_and_adds_the_commands(
    own: list[str], events: dict[str, Any]
) -> None:
    headers = [(b"content-type", b"text/html"), *((b"HX-Trigger", each.encode()) for each in own)]
    visit = Visit(site(send_everything, (start(headers), body(b"<p>part</p>"))))
    got = await visit.go("/say", HTMX)
    assert in_trigger(got) == EVERYTHING
    trigger = json.loads(got.header("hx-trigger") or "")
    assert list(trigger) == [*events, "usercom"]
    assert {name: trigger[name] for name in events} == events
    assert got.header("cache-control") == "no-store"
    assert got.text == "<p>part</p>"
    assert not got.set_cookies(FLASH_COOKIE)


@pytest.mark.parametrize(
    "headers",
    [
        {"hx-redirect": "/"},
        {"HX-Refresh": "true"},
        {"hx-trigger": "{broken"},
        {"hx-trigger": '{"usercom":1}'},
    ],
)
async def test_htmx_response_that_navigates_or_has_an_unusable_trigger_defers_commands(
    headers: dict[str, str],
) -> None:
    visit = Visit(site(open_widget, (start({"content-type": "text/html", **headers}), body())))
    got = await visit.go("/say", HTMX)
    assert got.header("hx-trigger") == headers.get("hx-trigger") or "usercom" not in str(
        got.header("hx-trigger")
    )
    assert in_page(await visit.go()) == [["userengage", "widget.open"]]


@pytest.mark.parametrize("path", ["/fragment", "/json"])
async def test_flash_on_a_request_of_htmx_or_the_bridge_is_sent_in_a_header(path: str) -> None:
    for headers in (HTMX, BRIDGE):
        visit = Visit(site(open_widget))
        await visit.go("/say", headers)  # a redirect: the script does not see its headers
        got = await visit.go(path, headers)
        if headers is HTMX:
            assert in_trigger(got) == [["userengage", "widget.open"]]
        else:
            assert [each[1:] for each in json.loads(got.header("usercom-commands") or "")] == [
                ["userengage", "widget.open"]
            ]
        assert FLASH_COOKIE not in visit.jar


async def test_bridge_request_gets_the_commands_in_a_response_header() -> None:
    got = await Visit(site(send_everything, JSON)).go("/say", BRIDGE)
    assert [each[1:] for each in json.loads(got.header("usercom-commands") or "")] == EVERYTHING
    assert got.body == b"{}"


async def test_browser_without_secret_keys_raises_configuration_error() -> None:
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    visitor = Visitor(VisitorSession(scope, NoDelivery(), CONFIG))
    with pytest.raises(
        ConfigurationError, match=r"secret_keys: visitor\.browser needs a key to sign with"
    ) as raised:
        visitor.browser.open()
    assert "secret_keys=('<16 characters or more>',), with the bridge as well" in str(raised.value)


def flood(visitor: Visitor) -> None:
    for n in range(12):
        visitor.browser.event("many", n=n, text="x" * 200)
    visitor.browser.event("too large for any cookie", **{f"a{n}": "x" * 250 for n in range(9)})
    visitor.browser.event("last")


@pytest.mark.parametrize("headers", [{}, HTMX, BRIDGE])
async def test_browser_commands_over_the_size_limit_drop_the_oldest_with_one_warning(
    headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    then = (start(), body(b"<p>part</p>")) if headers else REDIRECT
    visit = Visit(site(flood, then))
    for _ in range(2):
        got = await visit.go("/say", headers)
    if not headers:
        [cookie] = got.set_cookies(FLASH_COOKIE)
        assert len(cookie.partition(";")[0]) < 2_300
    said = in_trigger(got) or in_bridge(got) or in_page(await visit.go())
    assert said[-1][1] == "event.last"
    assert [each[2]["n"] for each in said[:-1]] == [7, 8, 9, 10, 11]
    [line] = caplog.messages
    assert line.startswith("Commands of visitor.browser exceed the 1500 bytes that can wait")


async def test_browser_commands_over_the_size_limit_on_a_page_all_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert len(in_page(await Visit(site(flood, (start(), body(PAGE)))).go("/say"))) == 14
    assert not caplog.messages


async def test_browser_commands_over_the_size_limit_keep_those_of_the_visitors_own_methods() -> (
    None
):
    """After a reset that the page makes, its receipt promises that the page records them."""

    async def reset_and_flood(visitor: Visitor) -> None:
        await visitor.reset_auth()
        receipt = await visitor.event("purchase", price=19.9)
        assert receipt.status is Status.SKIPPED
        flood(visitor)

    got = await Visit(site(reset_and_flood, (start(), body(b"<p>part</p>")))).go("/say", HTMX)
    names = [each[1] for each in in_trigger(got) if each[0] == "userengage"]
    assert names[0] == "event.purchase"
    assert names[-1] == "event.last"


async def test_browser_commands_of_many_responses_drop_the_oldest() -> None:
    n = 0

    def much(visitor: Visitor) -> None:
        nonlocal n
        n += 1
        visitor.browser.event("much", n=n, text="x" * 250, more=["y" * 250, "z" * 250])

    visit = Visit(site(much))
    for _ in range(30):
        assert (await visit.go("/say")).status == 303
    assert [each[2]["n"] for each in in_page(await visit.go())] == [30]


@pytest.mark.slow
@given(data=st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=250), max_size=8))
async def test_flash_cookie_with_any_data_is_bounded_and_loads_again(data: dict[str, str]) -> None:
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    session = VisitorSession(scope, NoDelivery(), config(), flash=FlashCookie(KEYS, "example.com"))
    visitor = Visitor(session)
    with suppress(InvalidCommand):  # the name of an attribute that User.com does not take
        for _ in range(50):
            visitor.browser.event(
                "e", **{name: value for name, value in data.items() if name.isidentifier()}
            )
            visitor.browser.update(**data)
    calls = limit(session.browser_calls())
    cookie = FlashCookie(KEYS, None).set_cookie(calls, KEY, secure=True)
    assert len(cookie) < 2_400
    assert (
        FlashCookie(KEYS, None).load(
            cookie.decode().partition(";")[0].partition("=")[2], KEY, secure=True
        )
        == calls
    )


@pytest.mark.parametrize("strict", [False, True])
async def test_browser_command_after_the_response_started_is_dropped_or_raises(
    strict: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        visitor.browser.open()
        await html(PAGE)(scope, receive, send)
        with (
            pytest.raises(InvalidCommand, match="before the response starts")
            if strict
            else nullcontext()
        ):
            visitor.browser.close()

    got = await call(UserComMiddleware(app, config(strict=strict)))
    assert in_page(got) == [["userengage", "widget.open"]]
    dropped = "Dropping a browser command: the response has started, so its page cannot change"
    assert caplog.messages == ([] if strict else [dropped])


async def test_browser_command_with_an_invalid_field_raises_and_is_not_sent() -> None:
    def wrong(visitor: Visitor) -> None:
        with pytest.raises(InvalidCommand, match="event_type"):
            visitor.browser.product_event("sku", "bought")  # type: ignore[arg-type]
        with pytest.raises(InvalidCommand, match="apiKey"):
            visitor.browser.update(apiKey="other")
        with pytest.raises(InvalidCommand, match="phone_number"):
            visitor.browser.page_hit(phone_number=12)

    assert in_page(await Visit(site(wrong, (start(), body(PAGE)))).go("/say")) == []


async def test_browser_command_without_consent_is_skipped() -> None:
    app = UserComMiddleware(site(open_widget).app, config(), consent=lambda _: False)
    got = await Visit(app).go("/say")
    assert got.status == 303
    assert not got.all("set-cookie")
    no_keys = UserComMiddleware(site(open_widget).app, CONFIG, consent=lambda _: False)
    assert (await Visit(no_keys).go("/say")).status == 303


async def test_browser_on_a_websocket_raises_invalid_command() -> None:
    scope = {"type": "websocket", "path": "/", "headers": []}
    visitor = Visitor(VisitorSession(scope, NoDelivery(), config()))
    with pytest.raises(InvalidCommand, match="websocket"):
        _ = visitor.browser


# ---- whose it is ----


async def test_flash_under_the_key_of_another_visitor_is_dropped() -> None:
    visit = Visit(site(open_widget))
    await visit.go("/say")
    visit.jar["__ca__chat"] = "bbbbbbbbbbbb"  # another visitor, without a reset
    assert in_page(await visit.go()) == []
    assert FLASH_COOKIE not in visit.jar


async def test_flash_of_a_browser_without_a_key_runs_in_a_page_without_a_key() -> None:
    visit = Visit(site(open_widget))
    del visit.jar["__ca__chat"]
    await visit.go("/say")
    assert in_page(await visit.go()) == [["userengage", "widget.open"]]


async def test_flash_of_a_browser_without_a_key_on_http_does_not_run_under_a_key() -> None:
    """A sibling subdomain can plant the cookie of a stranger's browser in any other one."""
    visit = Visit(site(open_widget))
    del visit.jar["__ca__chat"]
    await visit.go("/say")
    visit.jar["__ca__chat"] = KEY
    assert in_page(await visit.go()) == []
    assert FLASH_COOKIE not in visit.jar


@pytest.mark.parametrize(
    ("domain", "name", "runs"),
    [
        (None, FLASH_HOST_COOKIE, [["userengage", "widget.open"]]),
        (None, FLASH_COOKIE, []),
        ("example.com", FLASH_COOKIE, []),
    ],
)
async def test_flash_on_https_without_a_key_runs_under_the_first_key_from_a_host_cookie(
    domain: str | None, name: str, runs: list[list[str]]
) -> None:
    visit = Visit(site(open_widget, cookie_domain=domain))
    del visit.jar["__ca__chat"]
    got = await visit.go("/say", scheme="https")
    [line] = got.set_cookies(FLASH_HOST_COOKIE if domain is None else FLASH_COOKIE)
    assert ("Domain=" in line) == (domain is not None)
    assert "; Secure" in line
    visit.jar = {name: line.partition(";")[0].partition("=")[2], "__ca__chat": KEY}
    assert in_page(await visit.go(scheme="https")) == runs


@pytest.mark.parametrize("value", ["", "x", "a.b.c", "W10.x.y", "💥".encode().decode("latin-1")])
async def test_flash_cookie_with_an_invalid_value_is_ignored(value: str) -> None:
    assert in_page(await Visit(site(), **{FLASH_COOKIE: value}).go()) == []


async def test_flash_cookie_of_a_removed_key_or_past_its_max_age_is_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, both, new = (
        FlashCookie(KEYS[:1], None),
        FlashCookie(KEYS, None),
        FlashCookie(KEYS[1:], None),
    )
    value = (
        old.set_cookie([["i", "UE.destroy"]], KEY, secure=True)
        .decode()
        .partition(";")[0]
        .partition("=")[2]
    )
    assert both.load(value, KEY, secure=True) == [["i", "UE.destroy"]]
    assert new.load(value, KEY, secure=True) == []
    now = time.time()
    clock = SimpleNamespace(time=lambda: now + FLASH_MAX_AGE + 2)
    monkeypatch.setattr("usercom_asgi.visitor.signing.time", clock)
    assert both.load(value, KEY, secure=True) == []


async def test_flash_cookie_holding_an_identity_cookie_is_ignored() -> None:
    identity_cookie = IdentityCookie(KEYS, None)
    cookie = (
        identity_cookie.set_cookie("who", secure=False).decode().partition(";")[0].partition("=")[2]
    )
    assert FlashCookie(KEYS, None).load(cookie, KEY, secure=False) == []


# ---- a reset ----


async def test_reset_after_browser_commands_drops_them_and_keeps_later_ones(
    usercom: FakeUserCom,
) -> None:
    async def log_out(visitor: Visitor) -> None:
        visitor.browser.event("of-alice")
        await visitor.reset_auth()
        visitor.browser.event("of-nobody")

    async def says(visitor: Visitor) -> None:
        await (
            log_out(visitor)
            if visitor.key == key and FLASH_COOKIE in visit.jar
            else send_event(visitor)
        )

    async def send_event(visitor: Visitor) -> None:
        visitor.browser.event("of-alice-too")

    key = usercom.new_user()
    app = site(says, config=usercom.config(secret_keys=KEYS, reset_timeout=5))
    async with lifespan(app) as state:
        visit = Visit(app, __ca__chat=key)
        await visit.go("/say", state=dict(state))
        await visit.go("/say", state=dict(state))
        got = await visit.go(state=dict(state))
    assert in_page(got) == [["userengage", "event.of-nobody", {}]]


@pytest.mark.parametrize("asks", [HTMX, BRIDGE])
async def test_reset_on_a_request_of_htmx_or_the_bridge_is_done_by_the_widget(
    asks: dict[str, str], usercom: FakeUserCom
) -> None:
    receipts = []

    async def log_out(visitor: Visitor) -> None:
        visitor.browser.event("before")
        receipts.append(await visitor.reset_auth(plan="free"))
        receipts.append(await visitor.event("after", n=1))
        receipts.append(await visitor.page_hit(url="http://shop.example.com/x"))
        receipts.append(await visitor.reset_auth())

    key = usercom.new_user()
    app = site(
        log_out,
        (start({"content-type": "text/html"}), body(b"<p>bye</p>")),
        config=usercom.config(secret_keys=KEYS),
    )
    async with lifespan(app) as state:
        visit = Visit(app, __ca__chat=key)
        got = await visit.go("/say", asks, state=dict(state))
        # The page that follows at once is not waiting for any answer of ours.
        page = await visit.go(state=dict(state))
    said = in_trigger(got) or [
        each[1:] for each in json.loads(got.header("usercom-commands") or "[]")
    ]
    assert said == [
        ["userengage", "event.before", {}],
        ["UE.resetAuth", {"plan": "free", "apiKey": "ABC123"}],
        ["userengage", "event.after", {"n": 1}],
        ["UE.pageHit", {"plan": "free"}],
    ]
    assert [each.status for each in receipts] == [Status.SKIPPED] * 4
    assert not usercom.store.hits, "the widget makes the one new visitor"
    assert "__ca__chat" not in visit.jar
    assert got.set_cookies("__ca__reset")[0].startswith(f"__ca__reset={key_digest(key)}")
    assert b"widget.js" in page.body


async def test_reset_by_htmx_with_a_redirect_is_done_by_the_next_response(
    usercom: FakeUserCom,
) -> None:
    async def log_out(visitor: Visitor) -> None:
        visitor.browser.event("before")
        await visitor.reset_auth(plan="free")
        await visitor.event("after")

    app = site(log_out, config=usercom.config(secret_keys=KEYS))
    async with lifespan(app) as state:
        visit = Visit(app, __ca__chat=usercom.new_user())
        await visit.go("/say", HTMX, state=dict(state))
        page = await visit.go(state=dict(state))
        assert in_page(page) == [["userengage", "event.after", {}]]
        assert civchat(page) == {"apiKey": "ABC123", "plan": "free"}
        assert page.header("cache-control") == "no-store"
        # Where the redirect is followed by htmx itself, the page is not left.
        visit = Visit(app, __ca__chat=usercom.new_user())
        await visit.go("/say", HTMX, state=dict(state))
        assert [
            each[0] for each in in_trigger(await visit.go("/fragment", HTMX, state=dict(state)))
        ] == [
            "UE.resetAuth",
            "userengage",
        ]
    assert not usercom.store.hits


async def test_reset_by_htmx_without_secret_keys_warns_only_about_a_lost_command(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    async def log_out(visitor: Visitor) -> None:
        await visitor.reset_auth()

    async def log_out_and_send_event(visitor: Visitor) -> None:
        await visitor.reset_auth()
        await visitor.event("after")

    caplog.set_level(logging.WARNING, "usercom_asgi")
    for says, then, lines in (
        (log_out, (start(), body(b"<p>bye</p>")), 0),
        (log_out, REDIRECT, 0),
        (log_out_and_send_event, REDIRECT, 1),
    ):
        caplog.clear()
        app = site(says, then, config=usercom.config())
        async with lifespan(app) as state:
            got = await Visit(app, __ca__chat=usercom.new_user()).go(
                "/say", HTMX, state=dict(state)
            )
        assert len(caplog.messages) == lines, caplog.messages
        assert in_trigger(got) == (
            [["UE.resetAuth", {"apiKey": "ABC123"}]] if then is not REDIRECT else []
        )


async def test_reset_with_attributes_over_the_size_limit_keeps_the_user_id(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    async def log_out(visitor: Visitor) -> None:
        await visitor.reset_auth(user_id="u-2", **{f"a{n}": "x" * 200 for n in range(20)})
        assert (
            await visitor.event("huge", **{f"a{n}": "x" * 200 for n in range(20)})
        ).status is Status.DROPPED

    app = site(log_out, (start(), body(b"<p>bye</p>")), config=usercom.config(secret_keys=KEYS))
    async with lifespan(app) as state:
        got = await Visit(app, __ca__chat=usercom.new_user()).go("/say", HTMX, state=dict(state))
    assert in_trigger(got) == [["UE.resetAuth", {"apiKey": "ABC123", "user_id": "u-2"}]]
    assert any("do not fit" in message for message in caplog.messages)


@pytest.mark.parametrize(("who", "said"), [("bob", ["event.welcome"]), ("", [])])
async def test_browser_command_in_a_detected_login_is_kept_and_in_a_logout_dropped(
    who: str, said: list[str], usercom: FakeUserCom
) -> None:
    """A browser command does not wait for the hook.

    In a login it is kept for the person who logs in; in a logout it is dropped.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/login":
            get_visitor(scope).browser.event("welcome")
            scope["state"]["user"] = who
            await answers(start({"location": "/", "set-cookie": f"user={who}"}, 303), body())(
                scope, receive, send
            )
        else:
            await html(PAGE)(scope, receive, send)

    def hook(connection: Any) -> dict[str, str] | None:
        user = connection.scope["state"].get("user", connection.cookies.get("user"))
        return {"user_id": user} if user else None

    middleware = UserComMiddleware(
        app, usercom.config(secret_keys=KEYS, reset_timeout=5), identify=hook
    )
    async with lifespan(middleware) as state:
        visit = Visit(middleware, __ca__chat=usercom.new_user(), user="alice")

        async def go(path: str) -> Recorded:
            got = await visit.go(path, state=dict(state))
            for line in got.set_cookies("user"):
                visit.jar["user"] = line.partition("=")[2]
            return got

        await go("/")
        await go("/login")
        assert [each[1] for each in in_page(await go("/"))] == said


async def test_browser_command_with_long_strings_is_truncated() -> None:
    long = "x" * 300

    def says(visitor: Visitor) -> None:
        visitor.identify(first_name=long, company={"name": long})
        visitor.browser.event("e", text=long, price=float("nan"))
        visitor.browser.product_event(long, "view")  # another product would be wrong

    got = await Visit(site(says, (start(), body(PAGE)))).go("/say")
    assert civchat(got)["first_name"] == "x" * 40
    assert civchat(got)["company"] == {"name": "x" * 255}
    assert in_page(got) == [["userengage", "event.e", {"text": "x" * 255}]]


# ---- found by an attack on the channel ----


def hook(connection: Any) -> dict[str, str] | None:
    user = connection.cookies.get("user")
    return {"user_id": user} if user else None


@pytest.mark.parametrize("asks", [HTMX, BRIDGE])
@pytest.mark.parametrize("waits", [False, True])
async def test_login_change_on_a_request_of_htmx_or_the_bridge_sends_the_reset_first(
    asks: dict[str, str], waits: bool, usercom: FakeUserCom
) -> None:
    """Neither a browser command nor a GET by htmx calls the hook before the response."""

    def says(visitor: Visitor) -> None:
        visitor.browser.update(first_name="Bob")

    fragment = (start(), body(b"<p>part</p>"))
    app = UserComMiddleware(
        site(says, fragment).app, usercom.config(secret_keys=KEYS), identify=hook
    )
    async with lifespan(app) as state:
        visit = Visit(app, __ca__chat=usercom.new_user(), user="alice")
        await visit.go(state=dict(state))
        if waits:  # a command for Alice must not run in Bob's page
            await visit.go("/say", {"hx-redirect": ""}, state=dict(state))
            assert FLASH_COOKIE in visit.jar
        visit.jar["user"] = "bob"
        got = await visit.go("/fragment" if waits else "/say", asks, state=dict(state))
    said = in_trigger(got) or [
        each[1:] for each in json.loads(got.header("usercom-commands") or "[]")
    ]
    assert said == [
        ["UE.resetAuth", {"user_id": "bob", "apiKey": "ABC123"}],
        *([] if waits else [UPDATE_OF_BOB]),
    ]


UPDATE_OF_BOB = ["userengage", "client.update", {"first_name": "Bob"}]


async def test_reset_by_a_double_click_has_one_id_in_both_responses(
    usercom: FakeUserCom,
) -> None:
    async def log_out(visitor: Visitor) -> None:
        visitor.browser.event("of-alice")
        await visitor.reset_auth()
        await visitor.event("of-nobody")

    app = site(log_out, (start(), body(b"<p>bye</p>")), config=usercom.config(secret_keys=KEYS))
    async with lifespan(app) as state:
        cookies = {"cookie": f"session=s1; __ca__chat={usercom.new_user()}", **HTMX}
        answers = [await call(app, "/say", headers=cookies, state=dict(state)) for _ in range(2)]
    first, second = (
        json.loads(each.header("hx-trigger") or "")["usercom"]["commands"] for each in answers
    )
    assert [each[1:3] for each in first[:2]] == [
        ["userengage", "event.of-alice"],
        ["UE.resetAuth", {"apiKey": "ABC123"}],
    ]
    # Whichever of them is heard first, or alone: the id is the same, and nothing of Alice's comes after it.
    assert second[0] == first[1]
    assert [each[2] for each in second[1:]] == ["event.of-nobody"]


async def test_reset_by_form_and_then_by_htmx_still_resets_the_running_widget(
    usercom: FakeUserCom,
) -> None:
    async def log_out(visitor: Visitor) -> None:
        await visitor.reset_auth()
        await visitor.event("of-nobody")

    app = site(
        log_out,
        (start(), body(b"<p>bye</p>")),
        config=usercom.config(secret_keys=KEYS, reset_timeout=5),
    )
    async with lifespan(app) as state:
        cookies = {"cookie": f"session=s1; __ca__chat={usercom.new_user()}"}
        await call(app, "/say", headers=cookies, state=dict(state))
        got = await call(app, "/say", headers={**cookies, **HTMX}, state=dict(state))
    assert [each[0] for each in in_trigger(got)] == ["UE.resetAuth", "userengage"]


@pytest.mark.parametrize("user_id", ["b" * 100, "Ж" * 250])
async def test_reset_with_a_full_flash_is_still_sent(user_id: str, usercom: FakeUserCom) -> None:
    def much(visitor: Visitor) -> None:
        visitor.browser.event(
            "much", text="x" * 250, more=["y" * 250, "z" * 250, "w" * 250, "v" * 250]
        )

    async def says(visitor: Visitor) -> None:
        if visitor._session.request.is_htmx:
            visitor.browser.event("before", text="x" * 50)
            await visitor.reset_auth(user_id=user_id, email="b@example.com", note="n" * 200)
        else:
            much(visitor)

    app = site(
        says,
        (start({"content-type": "text/html"}), body(b"<p>bye</p>")),
        config=usercom.config(secret_keys=KEYS),
    )
    async with lifespan(app) as state:
        visit = Visit(app, __ca__chat=usercom.new_user())
        await visit.go("/say", state=dict(state))
        assert FLASH_COOKIE in visit.jar
        got = await visit.go("/say", HTMX, state=dict(state))
    assert in_trigger(got)[-1][0] == "UE.resetAuth"


async def test_reset_with_a_full_flash_frees_room_for_later_commands(usercom: FakeUserCom) -> None:
    async def says(visitor: Visitor) -> None:
        if FLASH_COOKIE in visit.jar:
            _ = visitor.browser
            await visitor.reset_auth()
        visitor.browser.event("much", text="x" * 250, more=["y" * 250, "z" * 250, "w" * 250])

    app = site(says, config=usercom.config(secret_keys=KEYS, reset_timeout=5))
    async with lifespan(app) as state:
        visit = Visit(app, __ca__chat=usercom.new_user())
        await visit.go("/say", state=dict(state))
        await visit.go("/say", state=dict(state))
        assert len(in_page(await visit.go(state=dict(state)))) == 1


async def test_detected_login_with_large_attributes_stays_within_the_size_limit(
    usercom: FakeUserCom,
) -> None:
    def says(visitor: Visitor) -> None:
        visitor.browser.event("much", text="x" * 250, more=["y" * 250, "z" * 250, "w" * 250])

    def big(connection: Any) -> dict[str, str]:
        user = str(connection.cookies.get("user"))
        return {"user_id": user, **{f"a{n}": user * 40 for n in range(8)}}

    app = UserComMiddleware(
        site(says, (start(), body(b"<p>x</p>"))).app, usercom.config(secret_keys=KEYS), identify=big
    )
    async with lifespan(app) as state:
        visit = Visit(app, __ca__chat=usercom.new_user(), user="alice")
        await visit.go(state=dict(state))
        visit.jar["user"] = "bob"
        got = await visit.go("/say", HTMX, state=dict(state))
    assert len(got.header("hx-trigger") or "") < MAX_BYTES + 100
    assert in_trigger(got)[0][0] == "UE.resetAuth"
    assert in_trigger(got)[0][1]["user_id"] == "bob"


@pytest.mark.parametrize("then", [JSON, (start(), body(PAGE)), REDIRECT])
async def test_browser_first_used_after_the_response_started_drops_the_command(
    then: tuple[Message, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answers(*then)(scope, receive, send)
        visitor = get_visitor(scope)
        visitor.browser.close()
        assert "Dropping a browser command" in caplog.text
        # The page cannot get the reset either, so the reset goes to User.com.
        assert (await visitor.reset_auth()).reason != "it is left to the widget in the page"

    await call(UserComMiddleware(app, config(inline_deadline=0)), headers=HTMX)


@pytest.mark.parametrize(
    "asks", [{"hx-request": "true", "hx-boosted": "true"}, {"x-turbo-request-id": "1"}]
)
async def test_reset_before_a_page_swapped_by_htmx_or_turbo_resets_its_widget(
    asks: dict[str, str], usercom: FakeUserCom
) -> None:
    async def log_out(visitor: Visitor) -> None:
        await visitor.reset_auth(plan="free")
        await visitor.event("after")

    app = site(log_out, config=usercom.config(secret_keys=KEYS))
    async with lifespan(app) as state:
        visit = Visit(app, __ca__chat=usercom.new_user())
        await visit.go("/say", asks, state=dict(state))
        page = await visit.go("/", asks, state=dict(state))
    assert in_page(page) == [
        ["UE.resetAuth", {"plan": "free", "apiKey": "ABC123"}],
        ["userengage", "event.after", {}],
    ]
    assert not usercom.store.hits
    if "hx-boosted" in asks:  # `hx-select` may drop the scripts, and with them the reset
        trigger = json.loads(page.header("hx-trigger-after-swap") or "")
        for call in trigger["usercom"]["commands"]:
            assert f'["{call[0]}","{call[1]}"' in page.text


@pytest.mark.parametrize("asks", [{}, BRIDGE])
async def test_reset_in_a_turbo_frame_is_done_by_the_server_or_the_bridge(
    asks: dict[str, str], usercom: FakeUserCom
) -> None:
    """The frame drops the scripts of the page, so that its widget would never hear of it."""

    async def log_out(visitor: Visitor) -> None:
        await visitor.reset_auth()

    app = site(log_out, config=usercom.config(secret_keys=KEYS, reset_timeout=5))
    frame = {"turbo-frame": "bar", "x-turbo-request-id": "1", "sec-fetch-dest": "empty", **asks}
    async with lifespan(app) as state:
        visit = Visit(app, __ca__chat=usercom.new_user())
        await visit.go("/say", frame, state=dict(state))
        got = await visit.go("/", frame, state=dict(state))
    assert [each[0] for each in in_bridge(got)] == (["UE.resetAuth"] if asks else [])
    assert in_page(got) == []
    assert len(usercom.store.hits) == (0 if asks else 1)
    assert "__ca__reset" in visit.jar, "a page that runs its scripts has not come yet"


async def test_reset_that_waits_is_not_in_a_page_that_a_script_fetches(
    usercom: FakeUserCom,
) -> None:
    async def log_out(visitor: Visitor) -> None:
        await visitor.reset_auth()
        await visitor.event("after")

    app = site(log_out, config=usercom.config(secret_keys=KEYS))
    async with lifespan(app) as state:
        visit = Visit(app, __ca__chat=usercom.new_user())
        await visit.go("/say", HTMX, state=dict(state))
        fetched = await visit.go("/", {"sec-fetch-dest": "empty"}, state=dict(state))
        shown = await visit.go("/", state=dict(state))
    assert in_page(fetched) == []
    assert in_page(shown) == [["userengage", "event.after", {}]]


async def test_reset_by_the_bridge_without_secret_keys_is_done_by_the_widget(
    usercom: FakeUserCom,
) -> None:
    async def log_out(visitor: Visitor) -> None:
        await visitor.reset_auth(plan="free")

    app = site(log_out, JSON, config=usercom.config(bridge=True))
    async with lifespan(app) as state:
        got = await Visit(app, __ca__chat=usercom.new_user()).go("/say", BRIDGE, state=dict(state))
    [reset] = json.loads(got.header("usercom-commands") or "")
    assert reset[1:] == ["UE.resetAuth", {"plan": "free", "apiKey": "ABC123"}]
    assert not usercom.store.hits, "the widget makes the one new visitor"


async def test_visitor_calls_in_the_nonce_hook_apply_to_its_response(usercom: FakeUserCom) -> None:
    async def nonce(connection: HTTPConnection) -> str:
        visitor = get_visitor(connection)
        if connection.url.path == "/leave":
            await visitor.reset_auth()
        elif connection.url.path == "/none":
            visitor.suppress()
        else:
            visitor.browser.event("in time")
        return "abc"

    app = UserComMiddleware(html(PAGE), usercom.config(secret_keys=KEYS), nonce=nonce)
    cookies = {"cookie": f"__ca__chat={usercom.new_user()}"}
    async with lifespan(app) as state:
        said = await call(app, headers=cookies, state=dict(state))
        left = await call(app, "/leave", headers=cookies, state=dict(state))
        none = await call(app, "/none", headers=cookies, state=dict(state))
    assert said.body.count(b'nonce="abc"') == 2
    assert b'"event.in time"' in said.body
    assert left.set_cookies("__ca__reset")
    assert none.body == PAGE


async def test_reset_after_the_response_started_is_skipped_and_logged(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    receipts = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        await html(PAGE)(scope, receive, send)
        receipts.append(await get_visitor(scope).reset_auth(user_id="7"))
        receipts.append(await get_visitor(scope).event("of the next one"))

    middleware = UserComMiddleware(app, usercom.config())
    key = usercom.new_user()
    async with lifespan(middleware) as state:
        await call(middleware, headers={"cookie": f"__ca__chat={key}"}, state=dict(state))
    assert receipts[0].status is Status.SKIPPED
    assert "the response has started" in receipts[0].reason
    assert "The visitor cannot be reset" in caplog.text
    [event] = usercom.store.events
    assert event.key != key
    assert len(usercom.store.users) == 2, "nobody was made but the one with the id"


async def test_logout_detected_after_the_response_started_creates_no_user(
    usercom: FakeUserCom,
) -> None:
    signed = IdentityCookie(KEYS, None)
    who = (
        signed.set_cookie(signed.fingerprint({"user_id": "7"}), secure=False)
        .partition(b";")[0]
        .decode()
    )
    receipts = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        await answers(*JSON)(scope, receive, send)
        receipts.append(await get_visitor(scope).event("later"))

    middleware = UserComMiddleware(app, usercom.config(secret_keys=KEYS), identify=lambda _: None)
    async with lifespan(middleware) as state:
        cookies = f"__ca__chat={usercom.new_user()}; {who}"
        await call(middleware, headers={"cookie": cookies}, state=dict(state))
    assert receipts[0].status is Status.SKIPPED
    assert len(usercom.store.users) == 1
    assert not usercom.store.hits
