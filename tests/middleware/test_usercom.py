from __future__ import annotations

import logging
import tracemalloc
from typing import Any

import anyio
import pytest
from helpers.apps import app_that, make_app
from helpers.asgi_client import (
    Recorded,
    answers,
    body,
    call,
    call_until,
    html,
    http_scope,
    lifespan,
    start,
)
from helpers.fake_usercom import CONFIG, FakeUserCom
from helpers.waiting import until
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usercom_asgi import (
    ConfigurationError,
    Event,
    InvalidCommand,
    PageHit,
    SqliteOutbox,
    Status,
    UserComClient,
    UserComConfig,
    UserComMiddleware,
    Visitor,
    get_delivery,
    get_visitor,
)
from usercom_asgi.core.hooks import warn_once
from usercom_asgi.delivery.service import DeliveryService
from usercom_asgi.middleware.site import Site
from usercom_asgi.sandbox import Sandbox, serve

PAGE = b"<html><body><p>hello</p></body></html>"
CIVCHAT = b'window.civchat = {"apiKey":"ABC123"}'


# -- The page ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chunks",
    [
        [PAGE],
        [PAGE, b""],
        [b"", PAGE],
        [PAGE[:9], PAGE[9:25], PAGE[25:]],
        [bytes([b]) for b in PAGE],
    ],
)
@pytest.mark.parametrize("length", [True, False])
async def test_a_page_gets_the_snippet(chunks: list[bytes], length: bool) -> None:
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
        html(PAGE, headers={"content-type": "application/json"}),
        html(PAGE, headers={"content-encoding": "gzip"}),
        html(PAGE, status=206),
        html(PAGE, headers={"content-disposition": "attachment"}),
    ],
)
async def test_other_answers_pass_byte_for_byte_and_header_for_header(app: ASGIApp) -> None:
    bare, wrapped = await call(app), await call(make_app(app))
    assert wrapped.messages == bare.messages


async def test_a_fragment_in_chunks_passes() -> None:
    got = await call(make_app(html(b"<p>", b"a", b"</p>")))
    got.assert_legal()
    assert got.body == b"<p>a</p>"


async def test_head_is_honest() -> None:
    with_body = await call(make_app(html(PAGE)), method="HEAD")
    get = await call(make_app(html(PAGE)))
    assert with_body.header("content-length") == get.header("content-length")
    empty = await call(
        make_app(answers(start({"content-type": "text/html", "content-length": "500"}), body())),
        method="HEAD",
    )
    assert empty.header("content-length") is None


@pytest.mark.parametrize("length", ["abc", "-5", "999999", "3"])
async def test_a_broken_content_length_of_the_application(length: str) -> None:
    got = await call(make_app(html(PAGE, headers={"content-length": length})))
    assert CIVCHAT in got.body
    assert got.header("content-length") == str(len(got.body))


async def test_headers_shared_between_responses_stay_as_they_are() -> None:
    shared = [
        (b"content-type", b"text/html"),
        (b"content-length", b"%d" % len(PAGE)),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
    ]
    app = make_app(
        answers({"type": "http.response.start", "status": 200, "headers": shared}, body(PAGE))
    )
    first, second = await call(app), await call(app)
    assert first.messages == second.messages
    assert len(shared) == 4
    assert first.all("set-cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_a_body_may_be_any_buffer(kind: Any) -> None:
    got = await call(make_app(answers(start(), {"type": "http.response.body", "body": kind(PAGE)})))
    assert CIVCHAT in got.body


async def test_a_body_message_may_be_empty() -> None:
    got = await call(make_app(answers(start(), {"type": "http.response.body"})))
    assert got.types == ["start", "body"]
    assert got.body == b""


@pytest.mark.parametrize(
    "kind", ["pathsend", "zerocopysend", "push", "early_hint", "trailers", "future"]
)
async def test_an_unknown_message_releases_what_is_held(kind: str) -> None:
    odd = {"type": f"http.response.{kind}", "x": 1}
    app = answers(start(), odd, body(PAGE))
    assert (await call(make_app(app))).messages == (await call(app)).messages


async def test_an_anonymous_page_stays_cacheable() -> None:
    got = await call(
        make_app(html(PAGE, headers={"etag": '"v1"', "cache-control": "public, max-age=60"}))
    )
    assert got.header("etag") == 'W/"v1"'
    assert got.header("cache-control") == "public, max-age=60"
    assert got.header("vary") is None
    assert got.all("set-cookie") == []


async def test_a_page_with_a_person_is_kept_out_of_shared_caches() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        get_visitor(scope).identify(user_id=42, email="a@example.com", first_name="</script><b>")
        await html(PAGE, headers={"etag": '"v1"', "cache-control": "public, max-age=60"})(
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


async def test_an_attribute_cannot_replace_the_app_key() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(InvalidCommand, match="apiKey"):
            get_visitor(scope).identify(apiKey="OTHER1")
        await html(PAGE)(scope, receive, send)

    assert CIVCHAT in (await call(make_app(app))).body


async def test_suppress() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        get_visitor(scope).suppress()
        await html(PAGE)(scope, receive, send)

    assert (await call(make_app(app))).body == PAGE


# -- Scopes -----------------------------------------------------------------------------------------------------------


async def test_an_unknown_scope_type_is_forwarded_untouched() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    scope = {"type": "webtransport", "x": 1}
    await make_app(app)(scope, None, None)  # type: ignore[arg-type]
    assert seen == [{"type": "webtransport", "x": 1}]
    assert seen[0] is scope


async def test_applied_twice_it_acts_once() -> None:
    got = await call(make_app(make_app(html(PAGE))))
    assert got.text.count("widget.js") == 1


async def test_a_websocket_gets_the_handle_and_nothing_else() -> None:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert get_visitor(HTTPConnection(scope)).key == "abc123"
        await send(
            {
                "type": "websocket.http.response.start",
                "status": 403,
                "headers": [(b"content-type", b"text/html")],
            }
        )
        await send({"type": "websocket.http.response.body", "body": PAGE})

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        **http_scope(headers={"cookie": "__ca__chat=abc123"}, scheme="ws"),
        "type": "websocket",
    }
    await make_app(app)(scope, None, send)  # type: ignore[arg-type]
    assert [each["type"] for each in sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert sent[1]["body"] == PAGE


def test_without_the_middleware_the_handle_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="UserComMiddleware"):
        get_visitor(http_scope())


# -- The visitor ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cookie", "key"),
    [
        ("", None),
        ("__ca__chat=abc123", "abc123"),
        ("a=b; __ca__chat=abc123; c=d", "abc123"),
        ("__ca__chat=", None),
        ("__ca__chat=" + "a" * 65, None),
        ("__ca__chat=<script>", None),
        ("__ca__chat=a%0d%0ab", None),
        ("__CA__CHAT=abc123", None),
        ("k=" + '\xff\\"{},' * 1500 + "; __ca__chat=abc123", "abc123"),
    ],
)
async def test_the_key(cookie: str, key: str | None) -> None:
    seen: list[str | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(get_visitor(scope).key)
        await html(PAGE)(scope, receive, send)

    got = await call(make_app(app), headers={"cookie": cookie} if cookie else {})
    assert seen == [key]
    assert got.all("set-cookie") == []
    assert CIVCHAT in got.body


async def test_no_secret_in_a_repr() -> None:
    shown: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        visitor.identify(email="a@example.com", phone_number="+48123456789")
        shown.append(repr(visitor))
        shown.append(repr(await visitor.page_hit(plan="secretplan")))
        await html(PAGE)(scope, receive, send)

    shown.append(
        repr(PageHit(attributes={"email": "a@example.com"}, event=Event("x", {"total": "abc123"})))
    )
    config = UserComConfig(base_url="http://127.0.0.1:9", api_key="ABC123", inline_deadline=0)
    await call(UserComMiddleware(app, config), headers={"cookie": "__ca__chat=abc123"})
    for text in shown:
        for secret in ("abc123", "a@example.com", "48123456789", "secretplan"):
            assert secret not in text


@pytest.mark.parametrize(
    "bad",
    [
        lambda v: v.page_hit(email="nobody"),
        lambda v: v.page_hit(phone_number="123"),
        lambda v: v.page_hit(apiKey="x"),
        lambda v: v.page_hit(x=object()),
        lambda v: v.page_hit("ftp://x/"),
        lambda v: v.event(""),
        lambda v: v.product_event("sku", "buy"),
        lambda v: v.product_event("", "purchase"),
        lambda v: v.update(gender=7),
        lambda v: v.reset_auth(score="high"),
    ],
)
async def test_what_user_com_could_never_take_is_refused_at_the_call(
    bad: Any, usercom: FakeUserCom
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(InvalidCommand):
            await bad(get_visitor(scope))
        await html(PAGE)(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config())
    async with lifespan(middleware) as state:
        got = await call(middleware, headers={"cookie": "__ca__chat=abc123"}, state=dict(state))
    assert CIVCHAT in got.body
    assert got.all("set-cookie") == []
    assert usercom.store.hits == []


async def test_what_is_said_arrives_in_order(usercom: FakeUserCom) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        visitor.identify(user_id=7)
        await visitor.page_hit(event=Event("seen", {"n": 0}), plan="gold")
        for n in range(1, 20):
            await visitor.event("seen", n=n)
        await visitor.product_event("sku-1", "purchase", price=19.9)
        await visitor.update(plan="silver")
        await html(PAGE)(scope, receive, send)

    key = usercom.new_user()
    middleware = UserComMiddleware(app, usercom.config())
    async with lifespan(middleware) as state:
        headers = {
            "cookie": f"__ca__chat={key}",
            "user-agent": "Browser/1.0",
            "referer": "http://shop.example.com/?__ca__chat=zzz&a=1",
        }
        await call(
            middleware, "/buy", headers=headers, query="q=1&__ca__chat=abc", state=dict(state)
        )
    [hit] = usercom.store.hits
    assert (hit.key, hit.url, hit.domain) == (
        key,
        "http://shop.example.com/buy?q=1",
        "shop.example.com",
    )
    assert (hit.referrer, hit.user_agent) == ("http://shop.example.com/?a=1", "Browser/1.0")
    assert [each.data["n"] for each in usercom.store.events] == list(range(20))
    assert {each.key for each in usercom.store.events} == {key}
    [purchase] = usercom.store.product_events
    assert (purchase.key, purchase.product_id, purchase.event_type) == (key, "sku-1", "purchase")
    assert usercom.store.users[key].attributes == {"user_id": "7", "plan": "silver"}
    assert usercom.store.rejected == []


async def test_a_hit_of_nobody_is_skipped_with_the_reason(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "usercom_asgi")
    receipts: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        receipts.append(await get_visitor(scope).page_hit())
        receipts.append(await get_visitor(scope).event("x"))
        await html(PAGE)(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config())
    async with lifespan(middleware) as state:
        await call(middleware, state=dict(state))
        [runtime] = [each for each in state.values() if isinstance(each, DeliveryService)]
        assert (runtime.stats.skipped, runtime.stats.accepted) == (2, 0)
    assert "Skipping Event('x', data={}): the visitor has no user key" in caplog.text
    assert [each.status for each in receipts] == [Status.SKIPPED] * 2
    assert "no user key" in receipts[0].reason
    assert not await receipts[0].delivered()
    assert (usercom.store.hits, usercom.store.users) == ([], {})


async def test_somebody_known_without_a_key_is_found_by_who_they_are(usercom: FakeUserCom) -> None:
    """The visitor whose browser blocks the widget: no cookie, and the purchase counts all the same."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        visitor.identify(user_id="u-1")
        await visitor.event("purchase", n=1)
        await visitor.event("purchase", n=2)
        await html(PAGE)(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config())
    async with lifespan(middleware) as state:
        await call(middleware, state=dict(state))
        await call(middleware, state=dict(state))
    [user] = usercom.store.users.values()
    assert user.attributes["user_id"] == "u-1"
    assert [each.data["n"] for each in usercom.store.events] == [1, 2, 1, 2]


async def test_a_receipt_tells_the_outcome(usercom: FakeUserCom) -> None:
    outcomes: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        receipt = await get_visitor(scope).event("x")
        assert receipt.status is Status.ACCEPTED
        outcomes.append(await receipt.delivered(timeout=5))
        await html(PAGE)(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config())
    async with lifespan(middleware) as state:
        for key in (usercom.new_user(), "unknownkey99"):
            await call(middleware, headers={"cookie": f"__ca__chat={key}"}, state=dict(state))
    assert outcomes == [True, False]


# -- The application's own mistakes -----------------------------------------------------------------------------------


async def test_an_application_that_raises_before_it_answers() -> None:
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


async def test_an_application_that_raises_while_its_start_is_held() -> None:
    """The server's own 500 takes the place of a broken page."""
    record = Recorded({})
    with pytest.raises(ZeroDivisionError):
        await call(make_app(raising(start())), record=record)
    assert record.messages == []


async def test_an_application_that_raises_in_the_middle_of_its_answer() -> None:
    record = Recorded({})
    with pytest.raises(ZeroDivisionError):
        await call(make_app(raising(start(), body(b"<html>x</bo", more=True))), record=record)
    assert (record.types, record.body) == (["start", "body", "body"], b"<html>x</bo"), (
        "with us as without"
    )


async def test_an_application_that_returns_without_answering() -> None:
    record = Recorded({})
    await call(make_app(answers()), record=record)
    assert record.messages == []
    await call(make_app(answers(start())), record=record)
    assert record.types == ["start"]


async def test_an_application_that_returns_in_the_middle_of_its_answer() -> None:
    got = await call(make_app(answers(start(), body(b"<html>x</body", more=True))))
    assert got.body == b"<html>x</body"


async def test_a_client_that_goes_away_in_the_middle(usercom: FakeUserCom) -> None:
    """The server cancels the request, or its send does nothing any more; what was accepted is delivered all the same."""
    key = usercom.new_user()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await get_visitor(scope).event("seen")
        await send(start())
        await send(body(PAGE[:20], more=True))
        in_the_middle.set()
        await anyio.sleep_forever()

    middleware = UserComMiddleware(app, usercom.config())
    in_the_middle = anyio.Event()
    async with lifespan(middleware) as state:
        await call_until(
            in_the_middle, middleware, headers={"cookie": f"__ca__chat={key}"}, state=dict(state)
        )
    assert [each.key for each in usercom.store.events] == [key]


# -- Our own mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["snippet_for", "feed"])
async def test_an_error_of_ours_leaves_the_page_as_it_was(
    broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    if broken == "feed":
        monkeypatch.setattr("usercom_asgi.page.injector.Injector.feed", fail)
    else:
        monkeypatch.setattr(Site, "snippet_for", fail)
    app = html(PAGE[:10], PAGE[10:])
    with caplog.at_level(logging.ERROR, "usercom_asgi"):
        assert (await call(make_app(app))).messages == (await call(app)).messages
    assert len(caplog.records) == 1


# -- Without a lifespan -----------------------------------------------------------------------------------------------


async def test_without_a_lifespan_it_is_delivered_behind_the_response(usercom: FakeUserCom) -> None:
    key = usercom.new_user()
    order: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        await visitor.page_hit(event=Event("bought"))
        await visitor.event("thanked")
        await html(PAGE)(scope, receive, send)
        order.append(f"answered, {len(usercom.store.hits)} sent")

    await call(UserComMiddleware(app, usercom.config()), headers={"cookie": f"__ca__chat={key}"})
    assert order == ["answered, 0 sent"]
    assert [each.name for each in usercom.store.events] == ["bought", "thanked"]


async def test_without_a_lifespan_there_is_a_deadline(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    usercom.faults.hang()
    receipts: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        receipts.append(await get_visitor(scope).event("x"))
        await html(PAGE)(scope, receive, send)

    with anyio.fail_after(20):
        await call(
            UserComMiddleware(app, usercom.config(inline_deadline=0.2)),
            headers={"cookie": "__ca__chat=abc123"},
        )
    assert receipts[0].status is Status.DROPPED
    assert (
        "Not delivered to User.com before the deadline behind the response: 1 commands"
        in caplog.text
    )


async def test_without_a_lifespan_a_receipt_can_be_waited_for(usercom: FakeUserCom) -> None:
    key = usercom.new_user()
    outcomes: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        outcomes.append(await (await get_visitor(scope).event("x")).delivered(timeout=5))
        outcomes.append(await (await get_visitor(scope).event("y")).delivered(timeout=5))
        await html(PAGE)(scope, receive, send)

    await call(UserComMiddleware(app, usercom.config()), headers={"cookie": f"__ca__chat={key}"})
    assert outcomes == [True, True]


async def test_the_log_says_why_a_fragment_has_no_widget(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "usercom_asgi"):
        await call(make_app(html(b"<p>x</p>")))
        await call(make_app(html(PAGE, headers={"content-type": "application/json"})))
    assert [each.message for each in caplog.records if "no widget" in each.message] == [
        "Page gets no widget: the body is a fragment, without <html>, <body> or </body>",
        "The response to GET carries no widget: application/json is not text/html",
    ]


async def test_a_server_without_lifespan_state_has_workers_all_the_same(
    usercom: FakeUserCom,
) -> None:
    key = usercom.new_user()
    middleware = UserComMiddleware(app_that("page_hit"), usercom.config(inline_deadline=0))
    async with lifespan(middleware, no_state=True):
        await call(middleware, headers={"cookie": f"__ca__chat={key}"})
        await until(lambda: usercom.store.hits)


async def test_the_handle_is_typed_and_is_there_for_starlette() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        connection = HTTPConnection(scope)
        assert isinstance(connection.state.usercom, Visitor)
        assert connection.state.usercom is get_visitor(connection) is get_visitor(scope)
        await html(PAGE)(scope, receive, send)

    await call(UserComMiddleware(app, CONFIG))


# ---- which responses, and what is wished for ----


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
async def test_should_inject_overrules(
    wish: Any, headers: dict[str, str], asked: dict[str, str], goes_in: bool
) -> None:
    async def later(connection: Any) -> Any:
        return wish(connection)

    for hook in (wish, later):
        app = UserComMiddleware(
            html(PAGE, headers=headers),
            UserComConfig(app="acme", api_key="ABC123"),
            should_inject=hook,
        )
        assert (b"widget.js" in (await call(app, headers=asked)).body) is goes_in


async def test_suppress_overrules_should_inject() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        get_visitor(scope).suppress()
        await html(PAGE)(scope, receive, send)

    config = UserComConfig(app="acme", api_key="ABC123")
    assert (await call(UserComMiddleware(app, config, should_inject=lambda _: True))).body == PAGE


async def test_a_page_and_an_empty_end_keep_their_length() -> None:
    """As Quart sends every page."""
    headers = {"content-type": "text/html", "content-length": str(len(PAGE))}
    got = await call(make_app(answers(start(headers), body(PAGE, more=True), body())))
    got.assert_legal()
    assert got.header("content-length") == str(len(got.body))
    assert CIVCHAT in got.body


@pytest.mark.slow
@pytest.mark.parametrize("paragraphs", [20, 2000, 40_000])
async def test_64_mb_go_through_in_less_than_1_mb(paragraphs: int) -> None:
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


async def test_the_first_byte_of_a_page_that_trickles_does_not_wait() -> None:
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
    assert before[4] == before[5] == b"".join(chunks[:4]) + b"</p>"
    assert before[6].endswith(b"</body></html>")


async def test_an_outbox_without_a_lifespan_is_said_to_be_of_no_use(
    usercom: FakeUserCom, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from usercom_asgi.core.hooks import warn_once

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await scope["state"]["usercom"].event("said")
        await answers(start(), body(b"x"))(scope, receive, send)

    warn_once.cache_clear()
    middleware = UserComMiddleware(app, usercom.config(), outbox=SqliteOutbox(tmp_path / "x.db"))
    for _ in range(2):
        await call(middleware, headers={"cookie": f"__ca__chat={usercom.new_user()}"})
    assert len(usercom.store.events) == 2
    assert caplog.text.count("The outbox is not used") == 1


# -- Several middlewares and lifespans in one process --


def buying(on: str) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        visitor = get_visitor(scope)
        visitor.identify(user_id="u-1")
        await visitor.event("bought", on=on)
        assert get_delivery(scope).readiness().state == "sending"
        await html(PAGE)(scope, receive, send)

    return app


class Dispatcher:
    """Gives each site's requests to its application, and the lifespan to all, one inside of the other's block."""

    def __init__(self, *sites: ASGIApp, copies: bool) -> None:
        self.sites = {f"/{number}": site for number, site in enumerate(sites)}
        self.copies = copies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.sites[scope["path"]](scope, receive, send)
            return
        started, stop = 0, anyio.Event()

        async def one(site: ASGIApp) -> None:
            messages: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

            async def give() -> Message:
                if len(messages) == 1:
                    await stop.wait()
                return messages.pop(0)

            async def note(message: Message) -> None:
                nonlocal started
                started += message["type"] == "lifespan.startup.complete"

            await site(dict(scope) if self.copies else scope, give, note)

        async with anyio.create_task_group() as tasks:
            for site in self.sites.values():
                tasks.start_soon(one, site)
            await receive()
            await until(lambda: started == len(self.sites))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            stop.set()
        await send({"type": "lifespan.shutdown.complete"})


@pytest.mark.parametrize("no_state", [False, True])
@pytest.mark.parametrize("copies", [True, False])
async def test_middleware_beside_one_of_another_workspace_delivers_to_its_own(
    usercom: FakeUserCom, copies: bool, no_state: bool
) -> None:
    other = Sandbox(api_key="XYZ789")
    with serve(other) as server:
        configs = [usercom.config(), usercom.config(base_url=server.url, api_key="XYZ789")]
        app = Dispatcher(
            *(UserComMiddleware(buying(each.api_key), each) for each in configs), copies=copies
        )
        async with lifespan(app, no_state=no_state) as state:
            for path in ("/0", "/1", "/0"):
                given: dict[str, Any] = {} if no_state else {"state": dict(state)}
                await call(app, path, **given)
    assert [each.data["on"] for each in usercom.store.events] == ["ABC123", "ABC123"]
    assert [each.data["on"] for each in other.store.events] == ["XYZ789"]
    assert state == {"usercom_asgi.lifespan_state": id(state)} or no_state


async def test_middleware_that_has_no_lifespan_leaves_anothers_delivery_alone(
    usercom: FakeUserCom,
) -> None:
    """Of two applications in one process, one is mounted where no lifespan comes."""
    other = Sandbox(api_key="XYZ789")
    with serve(other) as server:
        living = UserComMiddleware(html(PAGE), usercom.config())
        mounted = UserComMiddleware(
            app_that("page_hit"), usercom.config(base_url=server.url, api_key="XYZ789")
        )
        async with lifespan(living) as state:
            await call(mounted, headers={"cookie": "__ca__chat=abc123"}, state=dict(state))
    assert len(other.store.hits) == 1
    assert not usercom.store.hits


@pytest.mark.parametrize("no_state", [False, True])
async def test_middleware_whose_next_lifespan_begins_before_the_last_ends_has_a_delivery(
    usercom: FakeUserCom, no_state: bool
) -> None:
    app = UserComMiddleware(buying("after the reload"), usercom.config())
    lifespans: list[dict[str, Any]] = []
    ends = [anyio.Event(), anyio.Event()]
    ended: list[int] = []

    async def live(number: int) -> None:
        async with lifespan(app, no_state=no_state) as state:
            lifespans.append(state)
            await ends[number].wait()
        ended.append(number)

    async with anyio.create_task_group() as tasks:
        for number in (0, 1):
            tasks.start_soon(live, number)
            await until(lambda: len(lifespans) > number)  # noqa: B023  waited for in this turn
        ends[0].set()
        await until(lambda: ended)
        given: dict[str, Any] = {} if no_state else {"state": dict(lifespans[1])}
        await call(app, **given)
        ends[1].set()
    assert len(usercom.store.events) == 1


async def test_middleware_given_one_scope_twice_serves_both_times(usercom: FakeUserCom) -> None:
    """A dispatcher tries one application after the other, with the same scope."""
    other = Sandbox(api_key="XYZ789")
    with serve(other) as server:
        first = UserComMiddleware(app_that("page_hit"), usercom.config())
        second = UserComMiddleware(
            app_that("page_hit"), usercom.config(base_url=server.url, api_key="XYZ789")
        )

        async def both(scope: Scope, receive: Receive, send: Send) -> None:
            async def drop(message: Message) -> None:
                pass

            await first(scope, receive, drop)
            await second(scope, receive, send)

        got = await call(both, headers={"cookie": "__ca__chat=abc123"})
    assert got.body.count(b"widget.js") == 1
    assert len(usercom.store.hits) == len(other.store.hits) == 1


WITH_KEYS = UserComConfig(
    app="acme", api_key="ABC123", secret_keys=("a key of sixteen characters",)
)


@pytest.mark.parametrize("name", ["identify", "consent", "nonce", "should_inject"])
@pytest.mark.parametrize("wrong", ["yes", True, {"user_id": "1"}])
def test_middleware_hook_that_is_no_function_raises_configuration_error(
    name: str, wrong: object
) -> None:
    given: Any = {name: wrong}
    with pytest.raises(
        ConfigurationError, match=rf"^{name}: must be a function .*, got {type(wrong).__name__}$"
    ):
        UserComMiddleware(html(PAGE), WITH_KEYS, **given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"outbox": "var/outbox.db"}, "^outbox: must be an outbox"),
        ({"on_dead": "yes"}, "^on_dead: must be a plain function"),
        ({"config": {"app": "acme"}}, "^config: must be a UserComConfig"),
        (
            {"config": CONFIG, "client": UserComClient(CONFIG), "outbox": SqliteOutbox("x.db")},
            "^client: has an outbox",
        ),
    ],
)
def test_middleware_argument_of_a_wrong_type_raises_configuration_error(
    given: Any, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        UserComMiddleware(html(PAGE), **{"config": CONFIG, **given})


@pytest.mark.parametrize(
    ("inner", "warning"),
    [
        (CONFIG, "UserComMiddleware is installed twice around this application"),
        (
            UserComConfig(app="other", api_key="XYZ789"),
            "UserComMiddleware for the workspace XYZ789 is inside of one for ABC123: the inner one does nothing",
        ),
    ],
)
async def test_middleware_inside_another_does_nothing_and_warns_once(
    inner: UserComConfig, warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    warn_once.cache_clear()
    app = UserComMiddleware(UserComMiddleware(html(PAGE), inner), CONFIG)
    for _ in range(2):
        got = await call(app)
        assert got.body.count(b"widget.js") == 1
        assert b"acme.user.com" in got.body
    warnings = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert warning in warnings[0]
