from __future__ import annotations

import logging
from typing import Any

import pytest
from helpers.apps import make_app
from helpers.asgi_client import answers, body, call, html, http_scope, lifespan, start
from helpers.fake_usercom import FakeUserCom
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from usercom_asgi import Event, Receipt, Status, UserComClient, UserComMiddleware, get_visitor

PAGE = b"<html><body>hello</body></html>"


class TrackingApp:
    """An application that sends commands of each kind, and keeps the receipts."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            visitor = get_visitor(scope)
            visitor.identify(user_id=1)
            self.receipts += [
                await visitor.page_hit(event=Event("x")),
                await visitor.event("y"),
                await visitor.reset_auth(),
            ]
        await html(PAGE)(scope, receive, send)


async def async_consent(connection: HTTPConnection) -> bool:
    return connection.cookies.get("consent") == "yes"


def broken(connection: HTTPConnection) -> bool:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("hook", "settings", "headers"),
    [
        (lambda connection: connection.cookies.get("consent") == "yes", {}, {}),
        (async_consent, {}, {}),
        (broken, {}, {}),
        (None, {"honour_gpc": True}, {"sec-gpc": "1"}),
    ],
)
async def test_consent_refused_tracks_nothing(
    hook: Any, settings: Any, headers: Any, usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    app = TrackingApp()
    middleware = UserComMiddleware(app, usercom.config(**settings), consent=hook)
    async with lifespan(middleware) as state:
        with caplog.at_level(logging.ERROR):
            got = await call(
                middleware, headers={"cookie": "__ca__chat=abc123", **headers}, state=dict(state)
            )
    assert got.body == PAGE
    # It has logged out as well: the key that came before the refusal ends, and none begins.
    assert all(
        each.startswith("__ca__chat=;") and "Max-Age=0" in each for each in got.all("set-cookie")
    )
    assert {each.status for each in app.receipts} == {Status.SKIPPED}
    assert (usercom.store.users, usercom.store.rejected) == ({}, [])
    assert ("The consent hook failed" in caplog.text) is (hook is broken)


@pytest.mark.parametrize("hook", [lambda connection: True, async_consent, None])
async def test_consent_given_tracks_everything(hook: Any, usercom: FakeUserCom) -> None:
    app = TrackingApp()
    middleware = UserComMiddleware(
        app, usercom.config(honour_gpc=True, reset_timeout=5), consent=hook
    )
    async with lifespan(middleware) as state:
        cookies = f"consent=yes; __ca__chat={usercom.new_user()}"
        got = await call(middleware, headers={"cookie": cookies, "sec-gpc": "0"}, state=dict(state))
    assert b"widget.js" in got.body
    assert [each.name for each in usercom.store.events] == ["x", "y"]


async def test_page_hit_of_a_prefetch_is_skipped(usercom: FakeUserCom) -> None:
    app = TrackingApp()
    headers = {"cookie": f"__ca__chat={usercom.new_user()}", "sec-purpose": "prefetch"}
    await call(UserComMiddleware(app, usercom.config()), headers=headers)
    assert app.receipts[0].status is Status.SKIPPED
    assert [each.name for each in usercom.store.events] == ["y"]


async def test_middleware_with_an_entered_client_delivers_without_a_lifespan(
    usercom: FakeUserCom,
) -> None:
    """For an application that is mounted, or on a server without a lifespan."""
    client = UserComClient(usercom.config())
    app = TrackingApp()
    middleware = UserComMiddleware(app, client=client)
    key = usercom.new_user()
    async with client:
        for _ in range(3):
            await call(middleware, headers={"cookie": f"__ca__chat={key}"})
    assert len([each for each in usercom.store.events if each.name == "y"]) == 3
    assert {each.status for each in app.receipts} == {Status.DELIVERED}


@pytest.mark.parametrize("how", [{"consent": lambda connection: True}, {}])
async def test_consent_hook_or_gpc_setting_makes_the_page_private(
    how: Any, usercom: FakeUserCom
) -> None:
    app = html(PAGE, headers={"cache-control": "public, max-age=600"})
    got = await call(UserComMiddleware(app, usercom.config(honour_gpc=not how), **how))
    assert b"widget.js" in got.body
    assert (got.header("cache-control"), got.header("vary")) == ("private, max-age=600", "Cookie")


@pytest.mark.parametrize("asks", [{}, {"hx-request": "true"}])
async def test_consent_refused_reset_expires_the_earlier_key(
    asks: dict[str, str], usercom: FakeUserCom
) -> None:
    reasons: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            visitor = get_visitor(scope)
            reasons.append((await visitor.event("said")).reason)
            reasons.append((await visitor.reset_auth()).reason)
            await answers(start({"location": "/"}, 303), body())(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config(), consent=lambda _: False)
    async with lifespan(middleware) as state:
        got = await call(
            middleware, headers={"cookie": "__ca__chat=abcdefghijkl", **asks}, state=dict(state)
        )
        stranger = await call(middleware, headers=asks, state=dict(state))
    assert reasons == ["the visitor has not consented"] * 4
    cookies = got.all("set-cookie")
    assert cookies
    assert all(each.startswith("__ca__chat=;") and "Max-Age=0" in each for each in cookies)
    assert not stranger.all("set-cookie")
    assert not usercom.store.hits


async def test_consent_refused_with_a_malformed_header_still_sends_the_response() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await get_visitor(scope).reset_auth()
        headers: list[Any] = [(b"content-type", b"text/html"), (b"vary", "Accept")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(body(b"x"))

    got = await call(
        make_app(app, {"consent": lambda _: False}), headers={"cookie": "__ca__chat=abc123"}
    )
    assert got.types == ["start", "body"]


async def test_consent_gpc_header_given_as_a_list_is_honoured() -> None:
    scope = http_scope(headers={"sec-gpc": "1", "cookie": "__ca__chat=abc123"})
    scope["headers"] = [list(pair) for pair in scope["headers"]]
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    # The application never calls ``receive``.
    await make_app(html(PAGE), honour_gpc=True)(scope, None, send)  # type: ignore[arg-type]
    assert b"widget.js" not in sent[1]["body"]
