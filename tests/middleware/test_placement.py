"""The snippet that an application places by hand, and what the response does about it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread
from helpers.apps import make_app
from helpers.asgi_client import Recorded, answers, body, call, html, http_scope, lifespan, start
from helpers.browser import FakeBrowser
from helpers.fake_usercom import FakeUserCom
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from usercom_asgi import UserComMiddleware, get_visitor, prepare_snippet, usercom_snippet
from usercom_asgi.visitor.visitor import Visitor

KEYS = ("sixteen characters or more",)
NAVIGATION = {"sec-fetch-mode": "navigate", "accept": "text/html,*/*;q=0.8"}
Handler = Callable[[Visitor], Awaitable[object] | None]


def page(snippet: str = "") -> bytes:
    return f"<html><head>{snippet}</head><body>hello</body></html>".encode()


def placing(
    before: Handler | None = None,
    after: Handler | None = None,
    *,
    prepare: bool = False,
    then: ASGIApp | None = None,
    headers: dict[str, str] | None = None,
    **arguments: Any,
) -> ASGIApp:
    """Return an application that places the snippet in each page."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        visitor = get_visitor(scope)
        if before is not None and (waits := before(visitor)) is not None:
            await waits
        if prepare:
            await prepare_snippet(scope)
        snippet = usercom_snippet(scope, **arguments)
        if after is not None and (waits := after(visitor)) is not None:
            await waits
        await (then or html(page(snippet), headers=headers))(scope, receive, send)

    return app


def count(got: Recorded) -> int:
    return got.body.count(b"/widget.js")


def is_placed(got: Recorded) -> bool:
    """The application's own snippet is in the page, and no other one."""
    return count(got) == 1 and got.body.index(b"/widget.js") < got.body.index(b"</head>")


def is_injected(got: Recorded) -> bool:
    return count(got) == 1 and got.body.index(b"/widget.js") > got.body.index(b"</head>")


async def test_placement_page_has_the_snippet_once_and_is_unchanged() -> None:
    made: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        made.append(usercom_snippet(Request(scope)))
        await html(page(made[0]))(scope, receive, send)

    got = await call(make_app(app))
    got.assert_legal()
    assert got.body == page(made[0])
    assert is_placed(got)
    assert got.header("cache-control") is None
    injected = await call(make_app(html(page())))
    assert made[0].encode() in injected.body


async def test_snippet_has_the_html_protocol_of_markupsafe() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        snippet: Any = usercom_snippet(scope)
        assert type(snippet.__html__()) is str
        assert snippet.__html__() == snippet
        await html(page(snippet))(scope, receive, send)

    assert is_placed(await call(make_app(app)))


async def test_placement_page_of_a_person_is_private_without_validators() -> None:
    app = placing(
        lambda visitor: visitor.identify(user_id="7"),
        headers={"etag": '"a"', "cache-control": "public, max-age=600", "s-maxage": "1"},
    )
    got = await call(make_app(app))
    assert is_placed(got)
    assert b'"user_id":"7"' in got.body
    assert got.header("etag") is None
    assert (got.header("cache-control"), got.header("vary")) == ("private, max-age=600", "Cookie")


async def test_placement_widget_state_of_the_response_is_in_the_snippet() -> None:
    def hide(visitor: Visitor) -> None:
        visitor.widget_state = "hidden"

    got = await call(make_app(placing(hide)))
    assert is_placed(got)
    assert b'"state":"hidden"' in got.body


# ---- where the snippet stays out ----


async def test_snippet_without_the_middleware_is_empty_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert usercom_snippet(http_scope()) == usercom_snippet(http_scope()) == ""
    await prepare_snippet(http_scope())
    assert [each.levelname for each in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("wrong", [None, "request", object()])
async def test_snippet_of_something_else_raises_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError, match="must be a request"):
        usercom_snippet(wrong)
    with pytest.raises(TypeError, match="must be a request"):
        await prepare_snippet(wrong)


@pytest.mark.parametrize("prepare", [False, True])
async def test_placement_that_may_not_be_is_empty_and_nothing_is_injected(
    prepare: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = placing(prepare=prepare)
    refused = make_app(app, {"consent": lambda connection: False})
    assert count(await call(refused)) == 0
    assert count(await call(make_app(app, enabled=False))) == 0
    suppressed = placing(lambda visitor: visitor.suppress(), prepare=prepare)
    assert count(await call(make_app(suppressed))) == 0
    assert count(await call(make_app(app), headers={"hx-request": "true"})) == 0
    assert not caplog.records


async def test_snippet_of_a_websocket_is_empty() -> None:
    found: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(usercom_snippet(scope))

    scope = http_scope(type="websocket")
    del scope["method"]

    async def never(*args: Any) -> Any:
        raise AssertionError

    await make_app(app)(scope, never, never)
    assert found == [""]


async def test_snippet_in_a_background_task_is_empty() -> None:
    found: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        task = BackgroundTask(lambda: found.append(usercom_snippet(scope)))
        await HTMLResponse(page(), background=task)(scope, receive, send)

    assert is_injected(await call(make_app(app)))
    assert found == [""]


async def test_snippet_after_an_error_of_ours_is_empty(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(placing())
    monkeypatch.setattr(type(app._site), "snippet_for", lambda *args: 1 / 0)
    got = await call(app)
    assert count(got) == 0
    assert got.body == page()
    assert "usercom_snippet() places nothing" in caplog.text


async def test_prepare_after_an_error_of_ours_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(placing(prepare=True), {"nonce": lambda connection: "abc"})
    monkeypatch.setattr(type(app._site), "ask_nonce", lambda *args: 1 / 0)
    assert is_placed(await call(app))
    assert "The snippet is not prepared" in caplog.text


# ---- hooks ----


@pytest.mark.parametrize("prepare", [False, True])
async def test_placement_identify_hook_names_the_user(prepare: bool) -> None:
    calls: list[int] = []

    def who(connection: Any) -> dict[str, str]:
        calls.append(1)
        return {"user_id": "7"}

    got = await call(make_app(placing(prepare=prepare), {"identify": who}, secret_keys=KEYS))
    assert is_placed(got)
    assert b'"user_id":"7"' in got.body
    assert got.set_cookies("__ca__identity")
    assert calls == [1]


@pytest.mark.parametrize("hook", ["identify", "nonce"])
async def test_placement_async_hook_needs_prepare_else_the_page_is_injected(
    hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    async def answer(connection: Any) -> Any:
        calls.append(1)
        await anyio.lowlevel.checkpoint()
        return {"user_id": "7"} if hook == "identify" else "abc"

    expected = b'"user_id":"7"' if hook == "identify" else b'nonce="abc"'
    for prepare in (False, True):
        calls.clear()
        app = make_app(placing(prepare=prepare), {hook: answer}, secret_keys=KEYS)
        got = await call(app)
        assert is_placed(got) if prepare else is_injected(got)
        assert expected in got.body
        assert calls == [1]
    [warning] = caplog.records
    assert "prepare_snippet" in warning.getMessage()


async def test_placement_async_hook_in_a_lambda_is_not_started(
    recwarn: pytest.WarningsRecorder,
) -> None:
    started: list[int] = []

    async def who(connection: Any) -> dict[str, str]:
        started.append(1)
        return {"user_id": "7"}

    app = make_app(placing(), {"identify": lambda connection: who(connection)}, secret_keys=KEYS)
    assert is_injected(await call(app))
    assert started == [1]  # for the injected page
    assert not recwarn.list


async def test_placement_hook_that_places_the_snippet_itself_gets_nothing() -> None:
    found: list[str] = []

    def who(connection: Any) -> dict[str, str]:
        found.append(usercom_snippet(connection))
        return {"user_id": "7"}

    got = await call(make_app(placing(), {"identify": who}, secret_keys=KEYS))
    assert found == [""]
    assert is_placed(got)


async def test_placement_failing_hook_leaves_an_anonymous_snippet() -> None:
    got = await call(make_app(placing(), {"identify": lambda _: 1 / 0}, secret_keys=KEYS))
    assert is_placed(got)


async def test_placement_should_inject_does_not_count_for_it() -> None:
    app = make_app(placing(), {"should_inject": lambda _: False})
    assert is_placed(await call(app))


@pytest.mark.parametrize("is_async", [False, True])
async def test_placement_in_a_thread_waits_for_the_hooks(is_async: bool) -> None:
    async def later(connection: Any) -> dict[str, str]:
        await anyio.lowlevel.checkpoint()
        return {"user_id": "7"}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        snippet = await to_thread.run_sync(usercom_snippet, scope)
        await html(page(snippet))(scope, receive, send)

    hook = later if is_async else (lambda connection: {"user_id": "7"})
    got = await call(make_app(app, {"identify": hook}, secret_keys=KEYS))
    assert is_placed(got)
    assert b'"user_id":"7"' in got.body


async def test_placement_in_another_event_loop_is_left_to_the_middleware(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def render(scope: Scope, *, prepare: bool) -> str:
        if prepare:
            await prepare_snippet(scope)
        return usercom_snippet(scope)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for prepare in (False, True):
            work = partial(asyncio.run, render(scope, prepare=prepare))
            assert await to_thread.run_sync(work) == ""
        await html(page())(scope, receive, send)

    got = await call(make_app(app, {"identify": lambda _: {"user_id": "7"}}, secret_keys=KEYS))
    assert is_injected(got)
    assert b'"user_id":"7"' in got.body
    assert [each.levelname for each in caplog.records] == ["WARNING"]


# ---- resets ----


@pytest.mark.parametrize("prepare", [False, True])
async def test_placement_reset_in_the_same_request_needs_prepare(
    prepare: bool, usercom: FakeUserCom
) -> None:
    old = usercom.new_user()
    browser = FakeBrowser(__ca__chat=old)
    app = UserComMiddleware(
        placing(lambda visitor: visitor.reset_auth(), prepare=prepare),
        usercom.config(reset_timeout=5),
    )
    async with lifespan(app) as state:
        got = await browser.get(app, state=dict(state))
    assert is_placed(got) if prepare else is_injected(got)
    _, new = usercom.store.users
    assert browser.jar["__ca__chat"] == new
    assert f'("{new}",[' in got.text
    assert got.set_cookies("__ca__reset")


async def test_placement_page_after_a_reset_removes_the_old_key_and_the_marker(
    usercom: FakeUserCom,
) -> None:
    browser = FakeBrowser(__ca__chat=usercom.new_user())
    app = UserComMiddleware(
        _by_path({"/logout": _logout, "/": placing()}), usercom.config(reset_timeout=5)
    )
    async with lifespan(app) as state:
        await browser.get(app, "/logout", state=dict(state))
        assert "__ca__reset" in browser.jar
        first = await browser.get(app, state=dict(state))
        second = await browser.get(app, state=dict(state))
    assert is_placed(first)
    assert f'("{browser.jar["__ca__chat"]}",[' in first.text
    assert (first.header("cache-control"), first.header("vary")) == ("private", "Cookie")
    assert "__ca__reset" not in browser.jar
    assert is_placed(second)
    assert second.all("set-cookie") == []


async def test_placement_reset_marker_stays_over_an_error_page(usercom: FakeUserCom) -> None:
    browser = FakeBrowser(__ca__chat=usercom.new_user())
    failed = placing(then=html(page(), status=500))
    app = UserComMiddleware(
        _by_path({"/logout": _logout, "/": failed}), usercom.config(reset_timeout=5)
    )
    async with lifespan(app) as state:
        await browser.get(app, "/logout", state=dict(state))
        await browser.get(app, state=dict(state))
    assert "__ca__reset" in browser.jar


async def test_placement_reset_after_the_snippet_warns(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    browser = FakeBrowser(__ca__chat=usercom.new_user())
    app = UserComMiddleware(
        placing(after=lambda visitor: visitor.reset_auth()), usercom.config(reset_timeout=5)
    )
    async with lifespan(app) as state:
        got = await browser.get(app, state=dict(state))
    assert is_placed(got)
    assert "reset before the page is rendered" in caplog.text
    assert "__ca__reset" in browser.jar


async def _logout(scope: Scope, receive: Receive, send: Send) -> None:
    await get_visitor(scope).reset_auth()
    await answers(start({"location": "/"}, 303), body())(scope, receive, send)


def _by_path(apps: dict[str, ASGIApp]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await apps[scope["path"]](scope, receive, send)

    return app


# ---- commands for the page ----


async def _open(scope: Scope, receive: Receive, send: Send) -> None:
    get_visitor(scope).browser.open()
    await answers(start({"location": "/"}, 303), body())(scope, receive, send)


async def _visit(then: ASGIApp | None = None, **scope: Any) -> Recorded:
    """Return a response after one that has recorded a command."""
    browser = FakeBrowser()
    app = make_app(_by_path({"/open": _open, "/": then or placing()}), secret_keys=KEYS)
    await browser.get(app, "/open")
    headers = {**browser.headers, **NAVIGATION, **scope.pop("headers", {})}
    return await call(app, headers=headers, **scope)


def keeps_commands(got: Recorded) -> bool:
    """They still wait in the browser's cookie."""
    return not any("Max-Age=0" in line for line in got.set_cookies("__ca__flash"))


async def test_placement_page_runs_the_waiting_commands_once() -> None:
    got = await _visit()
    assert is_placed(got)
    assert b'"widget.open"' in got.body
    assert got.header("cache-control") == "no-store"
    assert not keeps_commands(got)


@pytest.mark.parametrize(
    "then",
    [
        answers(start({"location": "/"}, 303), body()),
        answers(start({"content-type": "application/json"}), body(b"{}")),
        html(page(), status=500),
        html(page(), status=200),
        answers(start(), body(page()), body()),
        answers(start()),
        html(b"&lt;script src=", status=404),
        answers(start(), {"type": "http.response.pathsend", "path": "/nothing"}),
    ],
)
async def test_placement_response_without_the_snippet_keeps_the_commands(then: ASGIApp) -> None:
    got = await _visit(placing(then=then))
    assert keeps_commands(got)


async def test_placement_head_and_prefetch_keep_the_commands() -> None:
    for more in ({"method": "HEAD"}, {"headers": {"sec-purpose": "prefetch"}}):
        got = await _visit(**more)
        assert keeps_commands(got)


async def test_placement_head_has_the_headers_of_the_page() -> None:
    app = make_app(placing(lambda visitor: visitor.identify(user_id="7"), headers={"etag": '"a"'}))
    got, head = await call(app), await call(app, method="HEAD")
    assert head.headers == got.headers


async def test_placement_head_without_a_body_logs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    then = answers(start({"content-type": "text/html", "content-length": "99"}), body())
    got = await call(make_app(placing(then=then)), method="HEAD")
    assert got.header("content-length") == "99"
    assert not caplog.records


async def test_placement_later_commands_wait_for_another_page() -> None:
    def early(visitor: Visitor) -> None:
        visitor.browser.open()

    def late(visitor: Visitor) -> None:
        visitor.browser.hide()

    app = make_app(placing(early, late), secret_keys=KEYS)
    browser = FakeBrowser()
    got = await call(app, headers=NAVIGATION)
    browser.keep(got)
    assert b'"widget.open"' in got.body
    assert b'"widget.hide"' not in got.body
    following = await call(
        make_app(placing(), secret_keys=KEYS), headers={**NAVIGATION, **browser.headers}
    )
    assert b'"widget.hide"' in following.body
    assert b'"widget.open"' not in following.body


async def test_placement_boosted_page_carries_the_commands_in_the_header_as_well() -> None:
    got = await _visit(headers={"hx-request": "true", "hx-boosted": "true"})
    assert is_placed(got)
    assert "widget.open" in (got.header("hx-trigger-after-swap") or "")


async def test_placement_bridge_gets_the_commands_by_its_header() -> None:
    got = await _visit(headers={"accept": "*/*, application/x-usercom", "sec-fetch-mode": "cors"})
    assert b'"widget.open"' not in got.body
    assert "widget.open" in (got.header("usercom-commands") or "")


async def test_placement_xhtml_page_with_personal_data_is_private() -> None:
    app = placing(
        lambda visitor: visitor.identify(user_id="7"),
        headers={"content-type": "application/xhtml+xml"},
    )
    got = await call(make_app(app))
    assert (got.header("cache-control"), got.header("vary")) == ("private", "Cookie")


# ---- the page ----


async def test_placement_twice_is_the_same_snippet_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        first, second = usercom_snippet(scope), usercom_snippet(scope)
        assert first == second
        await html(page(first + second))(scope, receive, send)

    assert count(await call(make_app(app))) == 2
    assert "twice" in caplog.text


async def test_placement_error_page_of_the_same_layout_has_the_commands() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        usercom_snippet(scope)  # the template fails after it
        await html(page(usercom_snippet(scope)), status=500)(scope, receive, send)

    got = await _visit(app)
    assert is_placed(got)
    assert b'"widget.open"' in got.body
    assert not keeps_commands(got)


async def test_placement_escaped_snippet_warns(caplog: pytest.LogCaptureFixture) -> None:
    await call(make_app(placing(then=html(page("&lt;script")))))
    assert "escaped" in caplog.text


async def test_placement_stream_with_the_snippet_from_before_its_start_is_placed() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        snippet = usercom_snippet(scope)

        async def parts() -> AsyncIterator[bytes]:
            yield b"<html><head>"
            yield snippet.encode()
            yield b"</head><body>hello</body></html>"

        await StreamingResponse(parts(), media_type="text/html")(scope, receive, send)

    got = await _visit(app)
    got.assert_legal()
    assert is_placed(got)
    assert len(got.chunks) == 4
    assert not keeps_commands(got)


async def test_placement_in_a_running_stream_is_left_to_the_middleware(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def parts() -> AsyncIterator[bytes]:
            yield b"<html><head>"
            yield usercom_snippet(scope).encode()
            yield b"</head><body>hello</body></html>"

        await StreamingResponse(parts(), media_type="text/html")(scope, receive, send)

    got = await call(make_app(app))
    assert is_injected(got)
    assert "before" in caplog.text


async def test_placement_compressed_body_passes_unchanged() -> None:
    app = placing(then=html(b"compressed", headers={"content-encoding": "br"}))
    got = await _visit(app)
    assert got.body == b"compressed"
    assert not keeps_commands(got)


async def test_placement_application_that_fails_before_its_body_sends_no_start() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        usercom_snippet(scope)
        await send(start())
        raise ValueError

    record = Recorded(http_scope())
    with pytest.raises(ValueError):
        await call(make_app(app), record=record)
    assert record.messages == []


async def test_placement_application_that_fails_in_its_stream_sends_what_it_had() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        snippet = usercom_snippet(scope)
        await send(start())
        await send(body(page(snippet), more=True))
        raise ValueError

    record = Recorded(http_scope())
    with pytest.raises(ValueError):
        await call(make_app(app), record=record)
    assert record.types == ["start", "body"]
    assert is_placed(record)


# ---- Content-Security-Policy ----

POLICY = (
    "script-src 'nonce-abc' https://acme.user.com https://widget.user.com; "
    "style-src 'unsafe-inline'"
)


async def test_placement_nonce_is_on_both_tags() -> None:
    hooks = {"nonce": lambda connection: "fromhook"}
    for app, nonce in (
        (make_app(placing(nonce="abc")), "abc"),
        (make_app(placing(nonce="abc"), hooks), "abc"),
        (make_app(placing(), hooks), "fromhook"),
        (make_app(placing(prepare=True), hooks), "fromhook"),
    ):
        got = await call(app)
        assert re.findall(r'nonce="(\w+)"', got.text) == [nonce, nonce]


async def test_placement_page_with_a_nonce_has_no_validators() -> None:
    got = await call(make_app(placing(nonce="abc", headers={"etag": '"a"'})))
    assert got.header("etag") is None
    assert got.header("cache-control") is None


@pytest.mark.parametrize("wrong", ['"><script>', "", 7])
async def test_placement_invalid_nonce_is_left_out(
    wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    got = await call(make_app(placing(nonce=wrong)))
    assert is_placed(got)
    assert b"nonce=" not in got.body
    assert [each.levelname for each in caplog.records] == ["ERROR"]


async def test_placement_failing_nonce_hook_leaves_the_nonce_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    got = await call(make_app(placing(), {"nonce": lambda _: 1 / 0}))
    assert is_placed(got)
    assert "The nonce hook failed" in caplog.text


@pytest.mark.parametrize(
    ("nonce", "policy", "expected"),
    [
        ("abc", POLICY, None),
        (None, POLICY, "its nonce is not on the tags"),
        ("other", POLICY, "its nonce is not on the tags"),
        ("abc", POLICY.replace("'nonce-abc'", "'self'"), "'nonce-...'"),
        ("abc", POLICY.replace("https://acme.user.com", ""), "https://acme.user.com"),
    ],
)
async def test_placement_policy_that_blocks_the_tags_warns(
    nonce: str | None, policy: str, expected: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(placing(nonce=nonce, headers={"content-security-policy": policy}))
    got = await call(app)
    assert is_placed(got)
    assert got.header("content-security-policy") == policy
    if expected is None:
        assert not caplog.records
    else:
        assert expected in caplog.text
    caplog.clear()
    reported = {"content-security-policy-report-only": policy}
    await call(make_app(placing(nonce=nonce, headers=reported)))
    assert not caplog.records


# ---- conditional requests ----


def tagged(before: Handler | None = None) -> ASGIApp:
    """Return an application that answers 304 to the ETag of its own page."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = get_visitor(scope)
        if before is not None:
            before(visitor)
        content = page(usercom_snippet(scope))
        if dict(scope["headers"]).get(b"if-none-match") == b'"v1"':
            await answers(start({"etag": '"v1"'}, 304), body())(scope, receive, send)
        else:
            await html(content, headers={"etag": '"v1"'})(scope, receive, send)

    return app


@pytest.mark.parametrize("hooks", [{}, {"should_inject": lambda connection: False}])
async def test_placement_anonymous_page_is_not_modified(hooks: dict[str, Any]) -> None:
    app = make_app(tagged(), hooks)
    first = await call(app, headers=NAVIGATION)
    tag = first.header("etag") or ""
    assert is_placed(first)
    second = await call(app, headers={**NAVIGATION, "if-none-match": tag})
    assert (second.status, second.header("etag")) == (304, tag)


async def test_placement_page_that_was_injected_before_is_sent() -> None:
    injected = await call(make_app(html(page(), headers={"etag": '"v1"'})), headers=NAVIGATION)
    tag = injected.header("etag") or ""
    app = make_app(tagged(), {"should_inject": lambda connection: False})
    assert (await call(app, headers={**NAVIGATION, "if-none-match": tag})).status == 200


async def test_placement_changed_configuration_sends_the_page() -> None:
    first = await call(make_app(tagged()), headers=NAVIGATION)
    tag = first.header("etag") or ""
    changed = make_app(tagged(), api_key="OTHER1")
    assert (await call(changed, headers={**NAVIGATION, "if-none-match": tag})).status == 200


@pytest.mark.parametrize("method", ["identify", "commands", "nonce"])
async def test_placement_page_of_one_response_is_never_not_modified(method: str) -> None:
    def before(visitor: Visitor) -> None:
        if method == "identify":
            visitor.identify(user_id="7")
        elif method == "commands":
            visitor.browser.open()

    hooks = {"nonce": lambda connection: "abc"} if method == "nonce" else {}
    first = await call(make_app(tagged(before), hooks, secret_keys=KEYS), headers=NAVIGATION)
    assert is_placed(first)
    assert first.header("etag") is None


async def test_placement_304_to_a_page_that_is_personal_now_is_outdated_next_time() -> None:
    first = await call(make_app(tagged()), headers=NAVIGATION)
    app = make_app(tagged(lambda visitor: visitor.identify(user_id="7")))
    tag = first.header("etag") or ""
    second = await call(app, headers={**NAVIGATION, "if-none-match": tag})
    assert second.header("etag") != tag


async def test_placement_logs_nothing_in_ordinary_use(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await call(make_app(placing()))
    await _visit()
    assert not caplog.records
