from __future__ import annotations

import logging
from typing import Any

import pytest
from helpers.apps import make_app
from helpers.asgi_client import (
    call,
    html,
    http_scope,
)
from helpers.fake_usercom import CONFIG
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from usercom_asgi import (
    ConfigurationError,
    SqliteOutbox,
    UserComClient,
    UserComConfig,
    UserComMiddleware,
    get_visitor,
)
from usercom_asgi.core.hooks import warn_once

PAGE = b"<html><body><p>hello</p></body></html>"


async def test_middleware_unknown_scope_type_is_forwarded_unchanged() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    scope = {"type": "webtransport", "x": 1}
    await make_app(app)(scope, None, None)  # type: ignore[arg-type]
    assert seen == [{"type": "webtransport", "x": 1}]
    assert seen[0] is scope


async def test_middleware_applied_twice_acts_once() -> None:
    got = await call(make_app(make_app(html(PAGE))))
    assert got.text.count("widget.js") == 1


async def test_middleware_websocket_gets_the_visitor_and_no_snippet() -> None:
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


# ---- which responses, and what is wished for ----


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
    ("given", "message"),
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
    given: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
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
