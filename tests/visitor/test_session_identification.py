"""Unified Identification and Authorize by email are User.com's decision: what is sent is right under all four settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from helpers.asgi_client import html, lifespan
from helpers.browser import FakeBrowser
from helpers.fake_usercom import FakeUserCom
from starlette.types import Receive, Scope, Send

from usercom_asgi import Event, UserComMiddleware, get_visitor

PAGE = b"<html><body>hello</body></html>"
SETTINGS = [(False, False), (False, True), (True, False), (True, True)]


@pytest.fixture
def workspace(usercom: FakeUserCom, request: pytest.FixtureRequest) -> Iterator[FakeUserCom]:
    sandbox = usercom.sandbox
    sandbox.unified_identification, sandbox.authorize_by_email = request.param
    yield usercom
    sandbox.unified_identification = sandbox.authorize_by_email = False


class Login:
    """Sends a login and a purchase in one hit, and then an event."""

    def __init__(self, way: str, **who: Any) -> None:
        self.way, self.who = way, who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        visitor = get_visitor(scope)
        if self.way == "page_hit":
            receipt = await visitor.page_hit(event=Event("in the hit"), **self.who)
        else:
            receipt = await visitor.reset_auth(**self.who)
        await visitor.event("behind it")
        await receipt.delivered(5)
        await html(PAGE)(scope, receive, send)


async def visit(usercom: FakeUserCom, app: Login, browser: FakeBrowser) -> None:
    middleware = UserComMiddleware(app, usercom.config(reset_timeout=5))
    async with lifespan(middleware) as state:
        await browser.get(middleware, state=dict(state))
    assert usercom.store.rejected == []


def alice(usercom: FakeUserCom) -> str:
    key = usercom.new_user()
    usercom.store.users[key].attributes["email"] = "alice@example.com"
    return key


@pytest.mark.parametrize("workspace", SETTINGS, indirect=True)
@pytest.mark.parametrize("has_email", [False, True])
async def test_session_hit_with_the_email_of_another_person(
    workspace: FakeUserCom, has_email: bool
) -> None:
    owner, key = alice(workspace), workspace.new_user()
    if has_email:
        workspace.store.users[key].attributes["email"] = "old@example.com"
    browser = FakeBrowser(__ca__chat=key)
    await visit(workspace, Login("page_hit", email="alice@example.com"), browser)
    sandbox = workspace.sandbox
    if not sandbox.unified_identification:
        expected = key  # overwritten, whatever its owner
    elif sandbox.authorize_by_email or not has_email:
        expected = owner
    else:
        expected = list(workspace.store.users)[-1]  # a new visitor; the owner is not taken over
        assert expected not in (owner, key)
    assert browser.jar["__ca__chat"] == expected
    # The event of the hit and the event after it belong to the profile that the hit returned.
    assert [(each.name, each.key) for each in workspace.store.events] == [
        ("in the hit", expected),
        ("behind it", expected),
    ]


@pytest.mark.parametrize("workspace", SETTINGS, indirect=True)
@pytest.mark.parametrize("email", ["alice@example.com", "nobody@example.com", None])
async def test_session_reset_for_the_next_person(workspace: FakeUserCom, email: str | None) -> None:
    owner, key = alice(workspace), workspace.new_user()
    browser = FakeBrowser(__ca__chat=key)
    who = {"email": email} if email else {}
    await visit(workspace, Login("reset_auth", **who), browser)
    sandbox = workspace.sandbox
    continues = (
        sandbox.unified_identification
        and sandbox.authorize_by_email
        and email == "alice@example.com"
    )
    expected = owner if continues else list(workspace.store.users)[-1]
    assert expected != key
    assert len(workspace.store.users) == (2 if continues else 3)
    assert browser.jar["__ca__chat"] == expected
    assert [(each.name, each.key) for each in workspace.store.events] == [("behind it", expected)]


@pytest.mark.parametrize("workspace", SETTINGS, indirect=True)
async def test_session_user_id_counts_before_an_email(workspace: FakeUserCom) -> None:
    alice(workspace)
    by_id, key = workspace.new_user(), workspace.new_user()
    workspace.store.users[by_id].attributes["user_id"] = "7"
    browser = FakeBrowser(__ca__chat=key)
    await visit(workspace, Login("page_hit", user_id=7, email="alice@example.com"), browser)
    assert browser.jar["__ca__chat"] == by_id
