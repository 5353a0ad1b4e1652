"""Hooks of the application that fail."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from helpers.asgi_client import call, html
from starlette.requests import HTTPConnection

from usercom_asgi import UserComConfig, UserComMiddleware
from usercom_asgi.core.hooks import UNKNOWN, warn_once

PAGE = b"<html><body>hello</body></html>"
CONFIG = UserComConfig(app="acme", api_key="ABC123", secret_keys=("sixteen characters or more",))
HOOKS = ("identify", "consent", "nonce", "should_inject")


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
    warn_once.cache_clear()

    def hook(connection: HTTPConnection) -> Any:
        return read(connection)

    middleware = UserComMiddleware(html(PAGE), CONFIG, **{name: hook})  # type: ignore[arg-type]
    for _ in range(3):
        got = await call(middleware)
        assert (b"widget.js" in got.body) is (name != "consent")
    logged = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(logged) == lines
    assert all(f"The {name} hook failed" in each.getMessage() for each in logged)
    assert all((each.exc_info is None) is (lines == 1) for each in logged)


def test_unknown_has_a_short_repr() -> None:
    assert repr(UNKNOWN) == "UNKNOWN"
