"""Mistakes that are easily made: each is said at once, by the name of what is wrong, with what is right."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from helpers.asgi_client import call, html, lifespan
from helpers.fake_usercom import CONFIG, FakeUserCom
from helpers.waiting import until
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from usercom_asgi import (
    ConfigurationError,
    InvalidCommand,
    Receipt,
    SqliteOutbox,
    Status,
    UserComClient,
    UserComConfig,
    UserComMiddleware,
    get_visitor,
)
from usercom_asgi.core.hooks import warn_once

PAGE = b"<html><body><p>hello</p></body></html>"
WITH_KEYS = UserComConfig(
    app="acme", api_key="ABC123", secret_keys=("a key of sixteen characters",)
)


def always(answer: Any) -> Any:
    return lambda _: answer


@pytest.mark.parametrize("name", ["identify", "consent", "nonce", "should_inject"])
@pytest.mark.parametrize("wrong", ["yes", True, {"user_id": "1"}])
def test_a_hook_that_is_no_function_is_refused_at_start(name: str, wrong: object) -> None:
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
def test_an_argument_is_not_taken_for_a_setting(given: Any, says: str) -> None:
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


@pytest.mark.parametrize("answer", ["u-1", 17, ["u-1"], object()])
async def test_an_identify_hook_that_returns_no_mapping(
    answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    got = await call(UserComMiddleware(html(PAGE), WITH_KEYS, identify=always(answer)))
    assert b"widget.js" in got.body
    (said,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert (
        f"The identify hook must return a mapping such as {{'user_id': '42'}}, or None, got {type(answer).__name__}"
        in (said.getMessage())
    )
    assert said.exc_info is None  # where it is: the hook's own, not ours


@pytest.mark.parametrize("nobody", [None, {}, False, ""])
async def test_whatever_is_empty_is_nobody(
    nobody: object, caplog: pytest.LogCaptureFixture
) -> None:
    await call(UserComMiddleware(html(PAGE), WITH_KEYS, identify=always(nobody)))
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


@pytest.mark.parametrize("attributes", [{}, {"plan": None}])
async def test_an_update_of_nothing_is_skipped(
    attributes: dict[str, Any], usercom: FakeUserCom
) -> None:
    receipts: list[Receipt] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            receipts.append(await get_visitor(scope).update(**attributes))
            await get_visitor(scope).update(plan="pro")
        await html(PAGE)(scope, receive, send)

    site = UserComMiddleware(app, usercom.config())
    async with lifespan(site) as state:
        await call(site, state=state, headers={"cookie": f"__ca__chat={usercom.new_user()}"})
        await until(lambda: usercom.store.updates)
    assert receipts[0].status is Status.SKIPPED
    assert "None is left out" in receipts[0].reason
    assert [each.data for each in usercom.store.updates] == [{"plan": "pro"}]


@pytest.mark.parametrize(
    ("say", "says"),
    [
        (lambda visitor: visitor.event(""), r"^event name: .*, got str of 0 characters$"),
        (
            lambda visitor: visitor.event("searched", query="x" * 256),
            r"^data\.query: must have at most 255 characters, got 256; .*truncate_strings=True",
        ),
        (
            lambda visitor: visitor.product_event("1", "purchased"),
            r"^event_type: must be one of: .*purchase",
        ),
    ],
)
async def test_what_is_said_wrongly(say: Any, says: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(InvalidCommand, match=says):
            await say(get_visitor(HTTPConnection(scope)))
        await html(PAGE)(scope, receive, send)

    await call(UserComMiddleware(app, CONFIG))
