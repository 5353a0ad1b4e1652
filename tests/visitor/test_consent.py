from __future__ import annotations

import logging
from typing import Any

import pytest
from helpers.asgi_client import call, html, lifespan
from helpers.fake_usercom import FakeUserCom
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from usercom_asgi import Event, Receipt, Status, UserComClient, UserComMiddleware, get_visitor

PAGE = b"<html><body>hello</body></html>"


class Says:
    """An application that says all there is to say, and keeps the receipts."""

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


async def asynchronously_no(connection: HTTPConnection) -> bool:
    return connection.cookies.get("consent") == "yes"


def broken(connection: HTTPConnection) -> bool:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("hook", "settings", "headers"),
    [
        (lambda connection: connection.cookies.get("consent") == "yes", {}, {}),
        (asynchronously_no, {}, {}),
        (broken, {}, {}),
        (None, {"honour_gpc": True}, {"sec-gpc": "1"}),
    ],
)
async def test_without_consent_nothing_is_tracked(
    hook: Any, settings: Any, headers: Any, usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    app = Says()
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


@pytest.mark.parametrize("hook", [lambda connection: True, asynchronously_no, None])
async def test_with_consent_everything_is(hook: Any, usercom: FakeUserCom) -> None:
    app = Says()
    middleware = UserComMiddleware(
        app, usercom.config(honour_gpc=True, reset_timeout=5), consent=hook
    )
    async with lifespan(middleware) as state:
        cookies = f"consent=yes; __ca__chat={usercom.new_user()}"
        got = await call(middleware, headers={"cookie": cookies, "sec-gpc": "0"}, state=dict(state))
    assert b"widget.js" in got.body
    assert [each.name for each in usercom.store.events] == ["x", "y"]


async def test_a_prefetch_is_no_page_view(usercom: FakeUserCom) -> None:
    app = Says()
    headers = {"cookie": f"__ca__chat={usercom.new_user()}", "sec-purpose": "prefetch"}
    await call(UserComMiddleware(app, usercom.config()), headers=headers)
    assert app.receipts[0].status is Status.SKIPPED
    assert [each.name for each in usercom.store.events] == ["y"]


async def test_a_client_that_somebody_else_enters_delivers_for_the_middleware(
    usercom: FakeUserCom,
) -> None:
    """For an application that is mounted, or on a server without a lifespan."""
    client = UserComClient(usercom.config())
    app = Says()
    middleware = UserComMiddleware(app, client=client)
    key = usercom.new_user()
    async with client:
        for _ in range(3):
            await call(middleware, headers={"cookie": f"__ca__chat={key}"})
    assert len([each for each in usercom.store.events if each.name == "y"]) == 3
    assert {each.status for each in app.receipts} == {Status.DELIVERED}
