"""Responses that the middleware changes: headers, caches and cookies."""

from __future__ import annotations

import logging
import re
import time
import tracemalloc
from typing import Any

import pytest
from helpers.apps import app_with, make_app
from helpers.asgi_client import Recorded, answers, body, call, html, http_scope, start
from helpers.fake_usercom import FakeUserCom
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usercom_asgi import InvalidCommand, UserComConfig, UserComMiddleware, get_visitor
from usercom_asgi.core.user_key import ResetMarker
from usercom_asgi.middleware.site import Site

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
async def test_responder_malformed_headers_with_cookies_to_set_send_the_body(
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


HELLO = b"<html><body><p>hello</p></body></html>"


CIVCHAT = b'window.civchat = {"apiKey":"ABC123"}'


@pytest.mark.parametrize(
    "chunks",
    [
        [HELLO],
        [HELLO, b""],
        [b"", HELLO],
        [HELLO[:9], HELLO[9:25], HELLO[25:]],
        [bytes([b]) for b in HELLO],
    ],
)
@pytest.mark.parametrize("length", [True, False])
async def test_responder_page_in_any_chunks_gets_the_snippet(
    chunks: list[bytes], length: bool
) -> None:
    got = await call(make_app(html(*chunks, length=length)))
    got.assert_legal()
    before, snippet, after = got.body.partition(CIVCHAT)
    assert snippet
    assert before.startswith(b"<html><body><p>hello</p><script")
    assert after.endswith(b'src="https://acme.user.com/widget.js"></script></body></html>')
    assert got.text.count("widget.js") == 1


@pytest.mark.parametrize(
    "app",
    [
        html(b"<p>a fragment</p>"),
        html(b""),
        html(HELLO, headers={"content-type": "application/json"}),
        html(HELLO, headers={"content-encoding": "gzip"}),
        html(HELLO, status=206),
        html(HELLO, headers={"content-disposition": "attachment"}),
    ],
)
async def test_responder_other_responses_pass_unchanged(app: ASGIApp) -> None:
    bare, wrapped = await call(app), await call(make_app(app))
    assert wrapped.messages == bare.messages


async def test_responder_fragment_in_chunks_passes_unchanged() -> None:
    got = await call(make_app(html(b"<p>", b"a", b"</p>")))
    got.assert_legal()
    assert got.body == b"<p>a</p>"


async def test_responder_head_has_the_headers_of_get() -> None:
    with_body = await call(make_app(html(HELLO)), method="HEAD")
    get = await call(make_app(html(HELLO)))
    assert with_body.header("content-length") == get.header("content-length")
    empty = await call(
        make_app(answers(start({"content-type": "text/html", "content-length": "500"}), body())),
        method="HEAD",
    )
    assert empty.header("content-length") is None


@pytest.mark.parametrize("length", ["abc", "-5", "999999", "3"])
async def test_responder_invalid_content_length_is_corrected(length: str) -> None:
    got = await call(make_app(html(HELLO, headers={"content-length": length})))
    assert CIVCHAT in got.body
    assert got.header("content-length") == str(len(got.body))


async def test_responder_headers_shared_between_responses_are_not_modified() -> None:
    shared = [
        (b"content-type", b"text/html"),
        (b"content-length", b"%d" % len(HELLO)),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
    ]
    app = make_app(
        answers({"type": "http.response.start", "status": 200, "headers": shared}, body(HELLO))
    )
    first, second = await call(app), await call(app)
    assert first.messages == second.messages
    assert len(shared) == 4
    assert first.all("set-cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_responder_body_of_any_buffer_gets_the_snippet(kind: Any) -> None:
    got = await call(
        make_app(answers(start(), {"type": "http.response.body", "body": kind(HELLO)}))
    )
    assert CIVCHAT in got.body


async def test_responder_body_message_without_a_body_passes() -> None:
    got = await call(make_app(answers(start(), {"type": "http.response.body"})))
    assert got.types == ["start", "body"]
    assert got.body == b""


@pytest.mark.parametrize("kind", ["zerocopysend", "push", "early_hint", "trailers", "future"])
async def test_responder_unknown_message_releases_the_held_start(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    odd = {"type": f"http.response.{kind}", "x": 1}
    app = answers(start(), odd, body(HELLO))
    with caplog.at_level(logging.DEBUG, "usercom_asgi"):
        assert (await call(make_app(app))).messages == (await call(app)).messages
    assert f"http.response.{kind}" in caplog.text


async def test_responder_anonymous_page_stays_cacheable() -> None:
    got = await call(
        make_app(html(HELLO, headers={"etag": '"v1"', "cache-control": "public, max-age=60"}))
    )
    assert re.fullmatch(r'W/"v1\.ucs[0-9a-f]{12}"', got.header("etag") or "")
    assert got.header("cache-control") == "public, max-age=60"
    assert got.header("vary") is None
    assert got.all("set-cookie") == []


async def test_responder_page_of_a_person_is_private() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        get_visitor(scope).identify(user_id=42, email="a@example.com", first_name="</script><b>")
        await html(HELLO, headers={"etag": '"v1"', "cache-control": "public, max-age=60"})(
            scope, receive, send
        )

    got = await call(make_app(app))
    assert (
        r'"user_id":"42","email":"a@example.com","first_name":"\u003C/script\u003E\u003Cb\u003E"'
        in got.text
    )
    assert got.header("etag") is None
    assert got.header("cache-control") == "private, max-age=60"
    assert got.header("vary") == "Cookie"


async def test_responder_attribute_cannot_replace_the_app_key() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(InvalidCommand, match="apiKey"):
            get_visitor(scope).identify(apiKey="OTHER1")
        await html(HELLO)(scope, receive, send)

    assert CIVCHAT in (await call(make_app(app))).body


async def test_responder_suppressed_page_is_unchanged() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        get_visitor(scope).suppress()
        await html(HELLO)(scope, receive, send)

    assert (await call(make_app(app))).body == HELLO


async def test_responder_error_before_the_start_is_raised() -> None:
    record = Recorded({})
    with pytest.raises(ZeroDivisionError):
        await call(make_app(raising()), record=record)
    assert record.messages == []


def raising(*messages: Message) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        raise ZeroDivisionError

    return app


async def test_responder_error_while_the_start_is_held_is_raised() -> None:
    """The server's own 500 takes the place of a broken page."""
    record = Recorded({})
    with pytest.raises(ZeroDivisionError):
        await call(make_app(raising(start())), record=record)
    assert record.messages == []


async def test_responder_error_in_mid_body_sends_the_partial_body() -> None:
    record = Recorded({})
    with pytest.raises(ZeroDivisionError):
        await call(make_app(raising(start(), body(b"<html>x</bo", more=True))), record=record)
    assert (record.types, record.body) == (["start", "body", "body"], b"<html>x</bo"), (
        "with us as without"
    )


async def test_responder_application_without_a_response_sends_nothing() -> None:
    record = Recorded({})
    await call(make_app(answers()), record=record)
    assert record.messages == []
    await call(make_app(answers(start())), record=record)
    assert record.types == ["start"]


async def test_responder_application_that_returns_in_mid_body_sends_the_partial_body() -> None:
    got = await call(make_app(answers(start(), body(b"<html>x</body", more=True))))
    assert got.body == b"<html>x</body"


@pytest.mark.parametrize("broken", ["snippet_for", "feed"])
async def test_responder_internal_error_sends_the_original_page(
    broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    if broken == "feed":
        monkeypatch.setattr("usercom_asgi.page.injector.Injector.feed", fail)
    else:
        monkeypatch.setattr(Site, "snippet_for", fail)
    app = html(HELLO[:10], HELLO[10:])
    with caplog.at_level(logging.ERROR, "usercom_asgi"):
        assert (await call(make_app(app))).messages == (await call(app)).messages
    assert len(caplog.records) == 1


async def test_responder_response_without_a_widget_logs_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "usercom_asgi"):
        await call(make_app(html(b"<p>x</p>")))
        await call(make_app(html(HELLO, headers={"content-type": "application/json"})))
    assert [each.message for each in caplog.records if "no widget" in each.message] == [
        "Page gets no widget: the body is a fragment, without a doctype, <html>, <body> or </body>",
        "The response to GET '/' carries no widget: application/json is not text/html",
    ]


@pytest.mark.parametrize(
    ("wish", "headers", "asked", "goes_in"),
    [
        (lambda _: False, {}, {}, False),
        (lambda _: None, {}, {}, True),
        (lambda _: True, {"cache-control": "no-transform"}, {}, True),
        (lambda _: True, {"content-disposition": "attachment"}, {}, True),
        (lambda _: True, {}, {"hx-request": "true"}, True),
        (lambda _: None, {}, {"hx-request": "true"}, False),
        (lambda connection: connection.url.path != "/", {}, {}, False),
        (lambda _: True, {"content-type": "application/json"}, {}, False),
        (lambda _: 1 / 0, {}, {}, True),
    ],
)
async def test_responder_should_inject_overrules_the_rules(
    wish: Any, headers: dict[str, str], asked: dict[str, str], goes_in: bool
) -> None:
    async def later(connection: Any) -> Any:
        return wish(connection)

    for hook in (wish, later):
        app = UserComMiddleware(
            html(HELLO, headers=headers),
            UserComConfig(app="acme", api_key="ABC123"),
            should_inject=hook,
        )
        assert (b"widget.js" in (await call(app, headers=asked)).body) is goes_in


async def test_responder_suppress_overrules_should_inject() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        get_visitor(scope).suppress()
        await html(HELLO)(scope, receive, send)

    config = UserComConfig(app="acme", api_key="ABC123")
    assert (await call(UserComMiddleware(app, config, should_inject=lambda _: True))).body == HELLO


async def test_responder_page_with_an_empty_last_chunk_has_the_right_length() -> None:
    """As Quart sends every page."""
    headers = {"content-type": "text/html", "content-length": str(len(HELLO))}
    got = await call(make_app(answers(start(headers), body(HELLO, more=True), body())))
    got.assert_legal()
    assert got.header("content-length") == str(len(got.body))
    assert CIVCHAT in got.body


@pytest.mark.slow
@pytest.mark.parametrize("paragraphs", [80, 2000, 40_000])
async def test_responder_page_of_64_mb_takes_less_than_1_mb(paragraphs: int) -> None:
    chunk = b"<p>some text in a paragraph</p>" * paragraphs

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"<html><body>", more=True))
        for _ in range(64 * 1024 * 1024 // len(chunk)):
            await send(body(chunk, more=True))
        await send(body(b"</body></html>"))

    size = 0

    async def send(message: Message) -> None:
        nonlocal size
        size += len(message.get("body", b""))

    async def receive() -> Message:
        raise AssertionError

    tracemalloc.start()
    try:
        await make_app(app)(http_scope(), receive, send)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 64_000_000
    assert peak < 1_000_000


async def test_responder_first_byte_of_a_slow_page_does_not_wait() -> None:
    """Every chunk is sent on before the next one is made, but for a tag that is not finished."""
    chunks = [
        b"<!doctype html>",
        b"<html><head>",
        b"<title>x</title></head>",
        b"<body><p>hello",
        b"</p></",
        b"body>",
        b"</html>",
    ]
    seen: list[bytes] = []
    before: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        for n, chunk in enumerate(chunks, 1):
            await send(body(chunk, more=n < len(chunks)))
            before.append(b"".join(seen))

    async def send(message: Message) -> None:
        seen.append(message.get("body", b""))

    async def receive() -> Message:
        raise AssertionError

    await make_app(app)(http_scope(), receive, send)
    for n in range(4):
        assert before[n] == b"".join(chunks[: n + 1])
    assert before[4] == b"".join(chunks[:4]) + b"</p>"
    assert before[5].endswith(b'widget.js"></script></body>')
    assert before[6].endswith(b"</body></html>")
