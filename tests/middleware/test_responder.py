"""Responses that the middleware changes: headers, caches and cookies."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from helpers.apps import app_with, make_app
from helpers.asgi_client import answers, body, call, html, start
from helpers.fake_usercom import FakeUserCom
from starlette.types import Message, Receive, Scope, Send

from usercom_asgi import UserComConfig, UserComMiddleware, get_visitor
from usercom_asgi.core.user_key import ResetMarker

PAGE = b"<html><body>hello</body></html>"


async def test_responder_page_of_a_person_drops_cache_headers_of_cdns() -> None:
    async def who(visitor: Any) -> None:
        visitor.identify(email="a@example.com")

    asked = {
        "cdn-cache-control": "max-age=600",
        "Cloudflare-CDN-Cache-Control": "max-age=600",
        "surrogate-control": "max-age=600",
        "x-accel-expires": "600",
        "cache-control": 'max-age=600, private="x-foo"',
    }
    middleware = UserComMiddleware(
        app_with(who, html(PAGE, headers=asked)), UserComConfig(app="acme", api_key="ABC123")
    )
    got = await call(middleware)
    assert b"a@example.com" in got.body
    assert {name.lower() for name, _ in got.headers} == {
        b"content-type",
        b"content-length",
        b"cache-control",
        b"vary",
    }
    assert (got.header("cache-control") or "").startswith("private, ")


async def test_responder_page_without_its_widget_is_private(usercom: FakeUserCom) -> None:
    marker = ResetMarker("-", "a" * 22, int(time.time()))
    app = UserComMiddleware(
        html(PAGE, headers={"cache-control": "public, max-age=600"}), usercom.config()
    )
    got = await call(app, headers={"cookie": f"__ca__reset={marker}"})
    assert got.body == PAGE
    assert (got.header("cache-control"), got.header("vary")) == ("private, max-age=600", "Cookie")


@pytest.mark.parametrize(
    "odd", [[("x-foo", b"1")], [(b"vary", "Accept")], [(b"cache-control", None)]]
)
@pytest.mark.parametrize("bodies", [[b"<html><body>x</body></html>"], [b"<p>x"], []])
async def test_responder_odd_headers_and_cookies_due_send_the_body(
    odd: list[Any], bodies: list[bytes]
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        get_visitor(scope).browser.open()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/html"), *odd],
            }
        )
        for each in bodies:
            await send(body(each))

    got = await call(make_app(app, secret_keys=("sixteen characters or more",)))
    assert got.types == ["start"] + ["body"] * len(bodies)
    if b"widget.js" not in got.body:
        assert got.start["headers"] == [(b"content-type", b"text/html"), *odd]
    assert re.sub(rb"<script .*</script>", b"", got.body, flags=re.DOTALL) == b"".join(bodies)


@pytest.mark.parametrize("hook", ["should_inject", "nonce"])
@pytest.mark.parametrize("change", ["insert", "pop", "append"])
async def test_responder_headers_that_a_hook_changes_stay_right(hook: str, change: str) -> None:
    headers = [
        (b"content-type", b"text/html"),
        (b"content-length", b"%d" % len(PAGE)),
        (b"x-a", b"1"),
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(body(PAGE))

    def changes(connection: Any) -> None:
        if change == "insert":  # the list is shared by all responses
            headers.insert(1, (b"set-cookie", b"session=1"))
        elif change == "pop":
            headers.pop(0)
        else:
            headers.append((b"etag", b'"a"'))

    got = await call(make_app(app, {hook: changes}))
    assert b"widget.js" in got.body
    assert got.header("content-type") == "text/html"
    assert got.header("content-length") == str(len(got.body))
    assert got.header("x-a") == "1"


async def test_responder_json_with_odd_header_names_logs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    odd: Message = {
        **start({"content-type": "application/json"}),
        "headers": [(b"content-type", b"application/json")],
    }
    odd["headers"].append((bytearray(b"x-a"), b"1"))
    await call(make_app(answers(odd, body(b"{}"))))
    assert not caplog.records


async def test_responder_page_that_depends_on_htmx_varies() -> None:
    app = make_app(html(PAGE, headers={"cache-control": "max-age=600"}))
    asked = await call(app, headers={"hx-request": "true"})
    assert asked.body == PAGE
    assert asked.all("vary") == ["HX-Request"]
    assert not (await call(app)).all("vary")


async def test_responder_history_restore_of_htmx_gets_the_snippet() -> None:
    got = await call(
        make_app(html(PAGE)), headers={"hx-request": "true", "hx-history-restore-request": "true"}
    )
    assert b"widget.js" in got.body
