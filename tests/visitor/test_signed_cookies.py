"""Cookies that carry a signature."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from helpers.asgi_client import html, lifespan
from helpers.fake_usercom import FakeUserCom
from helpers.login_shop import KEYS, Visit, who

from usercom_asgi import UserComMiddleware
from usercom_asgi.visitor.signed_cookies import IdentityCookie

EMPTY = html(b"<html><body></body></html>")


async def test_identity_cookie_after_a_rotation_is_signed_anew(usercom: FakeUserCom) -> None:
    old, new = KEYS
    alice = usercom.new_user()
    jar = {"__ca__chat": alice, "user": "alice"}
    for keys in ((old,), (old, new), (new,)):
        middleware = UserComMiddleware(
            EMPTY, usercom.config(secret_keys=keys, reset_timeout=30), identify=who
        )
        async with lifespan(middleware) as state:
            visit = Visit(middleware, state, **jar)
            if keys == (new,):
                visit.jar["user"] = "bob"
            await visit.go()
            if keys == (old, new):
                assert visit.jar["__ca__chat"] == alice
                assert IdentityCookie([new], None).load(visit.jar["__ca__identity"])
            jar = dict(visit.jar)
    assert jar.get("__ca__chat") != alice


@pytest.mark.parametrize("ahead", [2, 3600])
def test_signed_cookie_of_a_host_whose_clock_is_ahead_is_valid(
    ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a login at one host is none at the next, and its logout goes unnoticed."""
    real = time.time
    clock = SimpleNamespace(time=lambda: real() + ahead)
    monkeypatch.setattr("itsdangerous.timed.time", clock)
    cookie = IdentityCookie(KEYS, None)
    value = cookie.set_cookie("alice", secure=False).decode().partition(";")[0].partition("=")[2]
    monkeypatch.undo()
    assert cookie.load(value) == "alice"
