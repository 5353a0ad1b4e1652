"""Hooks of the application that fail."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import anyio
import pytest
from helpers.asgi_client import call, call_until, html
from starlette.requests import HTTPConnection

from usercom_asgi import UserComConfig, UserComMiddleware
from usercom_asgi.core.hooks import UNKNOWN

PAGE = b"<html><body>hello</body></html>"
CONFIG = UserComConfig(app="acme", api_key="ABC123", secret_keys=("sixteen characters or more",))
HOOKS = ("identify", "consent", "nonce", "should_inject")


def with_hook(name: str, hook: Any) -> UserComMiddleware:
    hooks: dict[str, Any] = {name: hook}
    return UserComMiddleware(html(PAGE), CONFIG, **hooks)


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize(
    ("read", "lines"),
    [
        (lambda connection: connection.session["user"], 1),
        (lambda connection: connection.scope["session"]["user"], 1),
        (lambda connection: connection.user, 1),
        (lambda connection: connection.cookies["user"], 3),  # a bug, each time with its traceback
    ],
)
async def test_hook_that_reads_a_session_that_is_not_there_is_logged_once(
    name: str, read: Any, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    def hook(connection: HTTPConnection) -> Any:
        return read(connection)

    middleware = with_hook(name, hook)
    for _ in range(3):
        got = await call(middleware)
        assert (b"widget.js" in got.body) is (name != "consent")
    logged = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(logged) == lines
    assert all(f"The {name} hook failed" in each.getMessage() for each in logged)
    assert all((each.exc_info is None) is (lines == 1) for each in logged)


@pytest.mark.parametrize(
    ("read", "lacks"),
    [
        (lambda connection: connection.session, "no session.*, SessionMiddleware is missing"),
        (lambda connection: connection.user, "no user.*, AuthenticationMiddleware is missing"),
        (lambda connection: connection.auth, "no auth.*, AuthenticationMiddleware is missing"),
    ],
)
async def test_hook_that_lacks_a_middleware_names_it(
    read: Any, lacks: str, caplog: pytest.LogCaptureFixture
) -> None:
    await call(with_hook("identify", read))
    [line] = caplog.messages
    assert re.search(lacks, line)


async def _cancelled(_: HTTPConnection) -> None:
    raise asyncio.CancelledError  # of a task that was not the request's


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("name", HOOKS)
async def test_hook_that_raises_cancelled_is_a_bug_of_the_hook(
    name: str, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def hook(connection: HTTPConnection) -> Any:
        if is_async:
            return _cancelled(connection)
        raise asyncio.CancelledError

    got = await call(with_hook(name, hook))
    assert (b"widget.js" in got.body) is (name != "consent")
    assert f"The {name} hook failed" in caplog.text


@pytest.mark.parametrize("name", HOOKS)
async def test_hook_of_a_cancelled_request_ends_with_it(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    waits, ended = anyio.Event(), False

    async def hook(_: HTTPConnection) -> None:
        nonlocal ended
        waits.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended = True

    await call_until(waits, with_hook(name, hook))
    assert ended
    assert "hook failed" not in caplog.text


def test_unknown_has_a_short_repr() -> None:
    assert repr(UNKNOWN) == "UNKNOWN"
