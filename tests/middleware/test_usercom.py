from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import Any

import pytest
from helpers.apps import make_app
from helpers.asgi_client import (
    call,
    html,
    http_scope,
    lifespan,
)
from helpers.fake_usercom import CONFIG, FakeUserCom
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from usercom_asgi import (
    ConfigurationError,
    Event,
    Receipt,
    SqliteOutbox,
    Status,
    UserComClient,
    UserComConfig,
    UserComMiddleware,
    get_delivery,
    get_visitor,
)
from usercom_asgi.core import config

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


class Later:
    async def __call__(self, outcome: object) -> None: ...


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"outbox": "var/outbox.db"}, "^outbox: must be an outbox"),
        ({"on_dead": "yes"}, "^on_dead: must be a plain function"),
        ({"on_dead": lambda: None}, "^on_dead: must be a plain function"),
        ({"on_dead": Later()}, "^on_dead: must be a plain function"),
        ({"outbox": SqliteOutbox}, "^outbox: must be an outbox"),
        ({"client": CONFIG}, "^client: must be a UserComClient, got UserComConfig"),
        ({"client": UserComClient}, "^client: must be a UserComClient, got type"),
        (
            {"consent": lambda: True},
            r"^consent: must take one argument, such as `def consent\(connection\)`, got \(\)$",
        ),
        ({"nonce": lambda _, more: more}, "^nonce: must take one argument"),
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
    app = UserComMiddleware(UserComMiddleware(html(PAGE), inner), CONFIG)
    for _ in range(2):
        got = await call(app)
        assert got.body.count(b"widget.js") == 1
        assert b"acme.user.com" in got.body
    warnings = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert warning in warnings[0]


async def test_middleware_inside_one_that_is_switched_off_works(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    async def home(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            visitor = get_visitor(scope)
            visitor.identify(user_id="alice")
            await visitor.event("seen")
        await html(PAGE)(scope, receive, send)

    off = UserComConfig(app="other", api_key="XYZ789", enabled=False)
    app = UserComMiddleware(UserComMiddleware(home, usercom.config()), off)
    async with lifespan(app) as state:
        got = await call(app, state=state)
        assert got.body.count(b"widget.js") == 1
    assert [each.name for each in usercom.store.events] == ["seen"]
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


async def start_that_fails(app: Any, error: type[Exception]) -> Message:
    """Return the message of a start that raises an error afterwards."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(error):
        await app({"type": "lifespan", "state": {}}, receive, send)
    [message] = sent
    return message


WRONG: list[dict[str, Any]] = [{"identify": lambda _: None}, {"config": "acme"}]


@pytest.mark.parametrize("wrong", WRONG)
async def test_middleware_wrong_argument_of_add_middleware_fails_the_start(wrong: Any) -> None:
    app = Starlette()
    app.add_middleware(UserComMiddleware, **{"config": CONFIG, **wrong})
    message = await start_that_fails(app, ConfigurationError)
    assert message["type"] == "lifespan.startup.failed"
    assert message["message"].startswith("usercom-asgi: ")
    with pytest.raises(ConfigurationError):  # a server without a lifespan
        await call(app)


async def test_middleware_unknown_argument_of_add_middleware_is_named_with_a_similar_one() -> None:
    app = Starlette()
    app.add_middleware(UserComMiddleware, CONFIG, on_ded=print)  # type: ignore[call-arg]
    message = await start_that_fails(app, TypeError)
    assert message["message"].endswith("has no argument 'on_ded'; did you mean 'on_dead'?")


@pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")
@pytest.mark.parametrize("wrong", WRONG)
def test_middleware_wrong_argument_raises_in_a_test_client(wrong: Any) -> None:
    """The test client would wait for ever for a start that fails without an error."""

    def start() -> None:
        app = Starlette()
        app.add_middleware(UserComMiddleware, **{"config": CONFIG, **wrong})
        with pytest.raises(ConfigurationError), TestClient(app):
            pytest.fail("the application has started")

    start()
    gc.collect()  # here, because the test client of Starlette 0.40 leaves streams open


def test_middleware_unknown_argument_outside_of_a_loop_raises_type_error() -> None:
    with pytest.raises(TypeError, match="no argument 'on_ded'; did you mean 'on_dead'"):
        UserComMiddleware(html(PAGE), CONFIG, on_ded=print)  # type: ignore[call-arg]


def test_middleware_setting_instead_of_a_config_names_the_config() -> None:
    with pytest.raises(TypeError, match=r"'api_key': write config=UserComConfig\(api_key=\.\.\.\)"):
        UserComMiddleware(html(PAGE), api_key="ABC123")  # type: ignore[call-arg]  # the mistake


async def test_middleware_that_fails_unexpectedly_fails_the_start_with_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def open(self, *_: object, **__: object) -> None: ...

        def __getattribute__(self, name: str) -> Any:
            if name == "open":
                raise OSError("a bug")
            return super().__getattribute__(name)

    app = Starlette()
    broken: Any = Broken()
    app.add_middleware(UserComMiddleware, config=CONFIG, outbox=broken)
    message = await start_that_fails(app, OSError)
    assert message["type"] == "lifespan.startup.failed"
    assert "OSError: a bug" in caplog.text


DISABLED: list[Any] = [
    lambda visitor: visitor.event("x"),
    lambda visitor: visitor.product_event("sku", "view"),
    lambda visitor: visitor.page_hit(event=Event("x")),
    lambda visitor: visitor.update(plan="gold"),
    lambda visitor: visitor.reset_auth(user_id="2"),
]


@pytest.mark.parametrize("settings", [{}, {"app": "acme", "api_key": "ABC123"}])
@pytest.mark.parametrize("has_lifespan", [True, False])
async def test_middleware_switched_off_changes_nothing_and_skips_all(
    settings: dict[str, Any], has_lifespan: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receipts: list[Receipt] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await Starlette()(scope, receive, send)
            return
        visitor = get_visitor(HTTPConnection(scope))
        visitor.identify(user_id="1")
        visitor.browser.open()
        assert visitor.key == "abc123"
        receipts.extend([await verb(visitor) for verb in DISABLED])
        assert get_delivery(scope).readiness().state == "disabled"
        await html(PAGE)(scope, receive, send)

    def fails(_: object) -> Any:
        raise AssertionError("no hook is needed")

    site = UserComMiddleware(
        app,
        UserComConfig(enabled=False, **settings),
        identify=fails,
        consent=fails,
        outbox=SqliteOutbox(tmp_path / "outbox.db"),
    )
    cookies = {"cookie": "__ca__chat=abc123; __ca__flash=x; __ca__reset=a.b.1"}
    with caplog.at_level(logging.INFO):
        if has_lifespan:
            async with lifespan(site) as state:
                got = await call(site, headers=cookies, state=dict(state))
            assert "No command is delivered: usercom-asgi is switched off" in caplog.text
        else:
            got = await call(site, headers=cookies)
    assert got.body == PAGE
    assert got.all("set-cookie") == []
    assert got.all("cache-control") == []
    assert [each.status for each in receipts] == [Status.SKIPPED] * 5
    assert {each.reason for each in receipts} == {config.DISABLED}
    assert list(tmp_path.iterdir()) == []
