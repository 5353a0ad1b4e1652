"""Conditional requests: a 304 only where the page that the browser keeps is still right."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.apps import make_app
from helpers.asgi_client import Recorded, answers, body, call, start
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from usercom_asgi import UserComConfig, UserComMiddleware, get_visitor

SECRETS = ("sixteen characters or more",)
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def site(tmp_path: Path) -> ASGIApp:
    page = tmp_path / "index.html"
    page.write_text("<!doctype html><html><body>static</body></html>")
    (tmp_path / "app.css").write_text("p { color: red }")
    os.utime(page, (1_700_000_000, 1_700_000_000))
    return Starlette(routes=[Mount("/", StaticFiles(directory=tmp_path, html=True))])


async def again(first: Recorded, app: ASGIApp, path: str = "/", **more: str) -> Recorded:
    """Send the request that a browser sends when it has the first response."""
    known = {
        "if-none-match": first.header("etag"),
        "if-modified-since": first.header("last-modified"),
    }
    given = {name: value for name, value in known.items() if value}
    return await call(app, path, headers={**BROWSER, **given, **more})


async def test_conditions_same_page_with_the_same_snippet_is_not_modified(site: ASGIApp) -> None:
    app = make_app(site)
    first = await call(app, headers=BROWSER)
    assert b"widget.js" in first.body
    second = await again(first, app)
    assert (second.status, second.header("etag")) == (304, first.header("etag"))
    assert (await again(second, app)).status == 304


@pytest.mark.parametrize(
    "settings",
    [{"api_key": "OTHER1"}, {"widget_state": "hidden"}, {"position": "head"}, {"bridge": True}],
)
async def test_conditions_changed_configuration_sends_the_page(
    site: ASGIApp, settings: dict[str, Any]
) -> None:
    first = await call(make_app(site), headers=BROWSER)
    second = await again(first, make_app(site, **settings))
    assert second.status == 200
    assert b"widget.js" in second.body


async def test_conditions_page_from_before_the_middleware_sends_the_page(site: ASGIApp) -> None:
    for part in ("etag", "last-modified", None):
        first = await call(site, headers=BROWSER)
        first.start["headers"] = [each for each in first.headers if each[0].decode() != part]
        assert (await again(first, make_app(site))).status == 200


async def test_conditions_other_files_are_not_modified(site: ASGIApp) -> None:
    app = make_app(site)
    first = await call(app, "/app.css")
    assert first.header("etag") == (await call(site, "/app.css")).header("etag")
    second = await again(first, app, "/app.css", accept="text/css,*/*;q=0.1")
    assert (second.status, second.header("etag")) == (304, first.header("etag"))


@pytest.mark.parametrize(
    "hooks",
    [
        {"nonce": lambda _: "r4nd0m"},
        {"should_inject": lambda _: None},
        {"consent": lambda _: True},
    ],
)
async def test_conditions_page_that_depends_on_a_hook_is_sent(
    site: ASGIApp, hooks: dict[str, Any]
) -> None:
    first = await call(make_app(site), headers=BROWSER)
    assert (await again(first, make_app(site, hooks))).status == 200


async def test_conditions_page_for_a_user_who_may_be_logged_in_is_sent(site: ASGIApp) -> None:
    config = UserComConfig(app="acme", api_key="ABC123", secret_keys=SECRETS)
    users: list[dict[str, str] | None] = [None, {"user_id": "42"}]
    app = UserComMiddleware(site, config, identify=lambda _: users[-1])
    users.append(None)
    first = await call(app, headers=BROWSER)
    assert (await again(first, app)).status == 304
    users.pop()
    second = await again(first, app, cookie="session=1")
    assert b'"user_id":"42"' in second.body
    assert second.header("etag") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda visitor: visitor.identify(user_id=42),
        lambda visitor: visitor.suppress(),
        lambda visitor: setattr(visitor, "widget_state", "hidden"),
    ],
)
async def test_conditions_page_that_a_handler_changes_is_sent_at_the_second_request(
    site: ASGIApp, change: Callable[[Any], None]
) -> None:
    """The first one was answered before the change could be known."""
    is_changed = False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if is_changed:
            change(get_visitor(scope))
        await site(scope, receive, send)

    first = await call(make_app(app), headers=BROWSER)
    is_changed = True
    second = await again(first, make_app(app))
    assert second.status == 304
    assert second.header("last-modified") is None
    assert (await again(second, make_app(app))).status == 200


async def test_conditions_page_after_a_reset_is_sent(site: ASGIApp) -> None:
    app = make_app(site)
    first = await call(app, headers=BROWSER)
    assert (await again(first, app, cookie="__ca__reset=-.a.1")).status == 200


async def test_conditions_page_with_the_nonce_of_its_policy_has_no_validators(
    site: ASGIApp,
) -> None:
    def with_policy(policy: bytes | None) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_on(message: Any) -> None:
                if message["type"] == "http.response.start" and policy:
                    pair = (b"content-security-policy", policy)
                    message = {**message, "headers": [*message["headers"], pair]}
                await send(message)

            await site(scope, receive, send_on)

        return make_app(app)

    nonced = await call(with_policy(b"script-src 'nonce-r4nd0m'"), headers=BROWSER)
    assert (nonced.header("etag"), nonced.header("last-modified")) == (None, None)
    # A policy that came later than the page: the second request heals it.
    first = await call(with_policy(None), headers=BROWSER)
    second = await again(first, with_policy(b"script-src 'nonce-r4nd0m'"))
    assert second.status == 304
    assert (await again(second, with_policy(b"script-src 'nonce-r4nd0m'"))).status == 200


async def test_conditions_exact_comparison_of_the_application_finds_its_etag() -> None:
    """As BlackSheep compares."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked = dict(scope["headers"]).get(b"if-none-match")
        if asked == b'"v1"':
            await answers(start({"etag": '"v1"'}, 304), body())(scope, receive, send)
        else:
            page = body(b"<html><body>x</body></html>")
            headers = {"content-type": "text/html", "etag": '"v1"'}
            await answers(start(headers), page)(scope, receive, send)

    first = await call(make_app(app), headers=BROWSER)
    assert (await again(first, make_app(app))).status == 304


async def test_conditions_outer_middleware_sees_the_original_headers_and_the_route(
    site: ASGIApp,
) -> None:
    app = make_app(site)
    first = await call(app, headers=BROWSER)
    seen = Recorded({})
    asked = {**BROWSER, "if-none-match": first.header("etag") or ""}
    before = await call(app, headers=asked, record=seen)
    assert before.status == 304
    assert dict(seen.scope["headers"])[b"if-none-match"].decode() == first.header("etag")
    assert "endpoint" in seen.scope


async def test_conditions_error_of_ours_leaves_the_request(
    site: ASGIApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    from usercom_asgi.middleware import conditions

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(conditions, "translate_conditions", fails)
    got = await call(make_app(site), headers={**BROWSER, "if-none-match": '"v1"'})
    assert got.status == 200


async def test_conditions_restored_for_outer_middlewares_keep_what_an_inner_one_has_added() -> None:
    seen: list[list[bytes]] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        scope["headers"] = [*scope["headers"], (b"x-request-id", b"7")]
        await answers(start({"content-type": "text/html"}), body(b"<html><body>x</body></html>"))(
            scope, receive, send
        )
        seen.append([name for name, _ in scope["headers"]])

    await call(make_app(inner), headers={"if-none-match": '"a"', "accept": "text/html"})
    assert b"x-request-id" in seen[0]
    assert b"if-none-match" in seen[0]
