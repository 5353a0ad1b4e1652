"""Nothing of a person who logged out comes back: Back, other tabs, addresses, late answers, cookies in two places."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.chromium import launch
from helpers.fake_usercom import FakeUserCom
from helpers.serving import serve_app
from helpers.waiting import until_sync
from playwright.sync_api import Browser, BrowserContext, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from usercom_asgi import UserComMiddleware, get_visitor
from usercom_asgi.visitor.cookies import key_mark

from .walks import COUNTS, GREETING, shop

ROOT = Path(__file__).parent.parent.parent
READY = "window.UE && UE.isReady"
OUT = "fetch('/logout/json', {method: 'POST'}).then(answer => answer.text())"


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with contextlib.closing(browser.new_context()) as context:
        context.set_default_timeout(30_000)
        yield context


@pytest.fixture(params=[True, False], ids=["bridge", "alone"])
def bridge(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def site(usercom: FakeUserCom, bridge: bool) -> Iterator[str]:
    app = shop(usercom.url, "", identifies=True, bridge=bridge, reset_timeout=5)
    with serve_app(app) as port:
        yield f"http://localhost:{port}"


BRIDGED = pytest.mark.parametrize("bridge", [True])
ALONE = pytest.mark.parametrize("bridge", [False])


def keys(context: BrowserContext) -> list[str]:
    return [
        str(each.get("value")) for each in context.cookies() if each.get("name") == "__ca__chat"
    ]


def single_key(context: BrowserContext) -> str:
    """Return the key of the browser, which has one or is about to."""
    until_sync(lambda: keys(context))
    [key] = keys(context)
    return key


def enter(context: BrowserContext, site: str, name: str = "alice") -> tuple[Page, str]:
    """Log a person in; return the page and the key."""
    page = context.new_page()
    page.goto(f"{site}/page/0")
    page.wait_for_function(READY)
    send(page, f"/login/{name}")
    page.wait_for_function(READY)
    return page, single_key(context)


def send(page: Page, path: str) -> None:
    with page.expect_navigation():
        page.evaluate("path => { f.action = path; setTimeout(() => go.click()) }", path)


@pytest.fixture
def keeping_context(browser: Browser) -> Iterator[BrowserContext]:
    """One that keeps pages in memory for Back."""
    with (
        contextlib.closing(launch(browser.browser_type, keeps_pages=True)) as other,
        contextlib.closing(other.new_context()) as context,
    ):
        context.set_default_timeout(30_000)
        yield context


def test_page_from_the_back_forward_cache_after_logout_is_reloaded(
    keeping_context: BrowserContext, site: str, usercom: FakeUserCom
) -> None:
    page, alice = enter(keeping_context, site)
    send(page, "/logout/form")
    page.wait_for_function(READY)
    page.evaluate("setTimeout(() => history.back())")
    until_sync(lambda: keys(keeping_context) not in ([], [alice]))
    page.wait_for_function(
        "+localStorage.kept >= 1 && document.getElementById('who')?.textContent === 'nobody'"
    )
    page.wait_for_function(READY)
    assert page.evaluate(GREETING) == "Hello!"
    page.evaluate("userengage('event.after'); history.pushState({}, '', '/page/2')")
    until_sync(lambda: usercom.store.events)
    assert usercom.store.events[0].key != alice
    assert alice not in keys(keeping_context)


def test_other_tab_after_logout_sends_nothing_and_reloads_on_focus(
    context: BrowserContext, site: str, usercom: FakeUserCom
) -> None:
    first, alice = enter(context, site)
    second = context.new_page()
    second.goto(f"{site}/page/2")
    second.wait_for_function(READY)
    send(first, "/logout/form")
    second.wait_for_function(
        "!document.getElementById('__ue_widget_mount')"
    )  # her chat goes without a look
    second.evaluate("userengage('event.there'); UE.pageHit({event: {event_name: 'there'}})")
    second.evaluate("window.before = true; dispatchEvent(new Event('focus'))")
    second.wait_for_function(
        "!window.before && document.getElementById('who')?.textContent === 'nobody'"
    )
    second.wait_for_function(READY)
    assert usercom.store.events == []
    assert keys(context) != [alice]


@BRIDGED
def test_ping_pending_at_a_reset_does_not_restore_the_old_key(
    context: BrowserContext, site: str, usercom: FakeUserCom
) -> None:
    page, alice = enter(context, site)
    hits = len(usercom.store.hits)
    usercom.faults.latency(60, before=False, times=1, sender="widget")
    page.evaluate("UE.pageHit()")
    until_sync(lambda: len(usercom.store.hits) == hits + 1)
    page.evaluate(OUT)
    until_sync(lambda: keys(context) not in ([], [alice]))
    key = single_key(context)
    usercom.faults.clear()
    page.wait_for_timeout(500)  # the late answer comes by now
    assert single_key(context) == key
    page.evaluate("userengage('event.later'); history.pushState({}, '', '/page/2')")
    until_sync(lambda: usercom.store.events and usercom.store.hits[-1].url.endswith("/page/2"))
    assert usercom.store.events[0].key == usercom.store.hits[-1].key == key
    assert "user_id" not in usercom.store.hits[-1].payload
    assert usercom.store.users[key].attributes.get("user_id") is None


@ALONE
def test_fetch_logout_without_the_bridge_removes_the_widget_and_sends_nothing(
    context: BrowserContext, site: str, usercom: FakeUserCom
) -> None:
    page, alice = enter(context, site)
    page.evaluate(OUT)
    page.wait_for_function("!document.getElementById('__ue_widget_mount')")
    page.evaluate("userengage('event.later'); UE.pageHit()")
    page.wait_for_timeout(300)
    assert usercom.store.events == []
    assert alice not in keys(context)


@BRIDGED
def test_call_before_a_reset_is_never_sent_under_the_next_key(
    context: BrowserContext, site: str, usercom: FakeUserCom
) -> None:
    page, _ = enter(context, site)
    usercom.faults.latency(60, times=1, sender="widget")
    page.goto(f"{site}/page/1", wait_until="commit")
    page.wait_for_function("window.usercom")
    page.evaluate("userengage('event.before')")
    page.evaluate(f"{OUT}.then(() => userengage('event.after'))")
    usercom.faults.clear()
    until_sync(lambda: [each.name for each in usercom.store.events] == ["after"])
    page.wait_for_timeout(500)  # another event comes by now
    assert [each.name for each in usercom.store.events] == ["after"]


@ALONE
@pytest.mark.parametrize("query", ["__ca__chat={}", "%5f%5fca__chat={}"])
def test_ended_key_in_the_url_is_removed_and_not_used(
    context: BrowserContext, site: str, usercom: FakeUserCom, query: str
) -> None:
    page, alice = enter(context, site)
    send(page, "/logout/form")
    page.goto(f"{site}/page/1?a=b%20c&{query.format(alice)}&d=1#part")
    page.wait_for_function(READY)
    assert page.url == f"{site}/page/1?a=b%20c&d=1#part"
    assert page.evaluate(GREETING) == "Hello!"
    assert alice not in keys(context)
    assert all(alice not in each.url for each in usercom.store.hits)


@ALONE
def test_live_key_in_the_url_is_used_and_removed(
    context: BrowserContext, site: str, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    page = context.new_page()
    page.goto(f"{site}/page/1?__ca__chat={key}")
    page.wait_for_function(READY)
    assert page.url == f"{site}/page/1"
    assert single_key(context) == key


@ALONE
def test_login_of_the_same_person_after_logout_restores_their_key(
    context: BrowserContext, site: str, usercom: FakeUserCom
) -> None:
    """User.com names a key that a reset had ended: it is live again, in the page and on the server."""
    page, alice = enter(context, site)
    for _ in range(2):
        send(page, "/logout/form")
        page.wait_for_function(READY)
        assert keys(context) != [alice]
        send(page, "/login/alice")
        page.wait_for_function(READY)
        until_sync(lambda: keys(context) == [alice])
        page.goto(f"{site}/page/2")
        page.wait_for_function(READY)
        assert single_key(context) == alice
        assert usercom.store.hits[-1].payload["userKey"] == alice


@ALONE
def test_ended_cookie_on_a_longer_path_is_not_used(
    context: BrowserContext, site: str, usercom: FakeUserCom
) -> None:
    page, alice = enter(context, site)
    send(page, "/logout/form")
    page.wait_for_function(READY)
    new = single_key(context)
    for path in ("/page", "/page/2", "/page/2/"):
        page.evaluate(
            "([key, path]) => { document.cookie = `__ca__chat=${key}; path=${path}` }",
            [alice, path],
        )
    page.goto(f"{site}/page/2")
    page.wait_for_function(READY)
    assert usercom.store.hits[-1].payload["userKey"] == new
    assert set(keys(context)) - {alice} == {new}
    assert page.evaluate("document.cookie").count("__ca__chat=") == 1


@ALONE
def test_url_attributes_do_not_change_an_identified_visitor(
    context: BrowserContext, site: str, usercom: FakeUserCom
) -> None:
    page, alice = enter(context, site)
    page.goto(f"{site}/page/1?user_id=mallory&email=mallory@example.com")
    page.wait_for_function(READY)
    hits = len(usercom.store.hits)
    page.evaluate("UE.pageHit()")
    until_sync(lambda: len(usercom.store.hits) > hits)
    assert {each.payload.get("user_id") for each in usercom.store.hits if each.key == alice} <= {
        None,
        "id-alice",
    }
    assert usercom.store.users[alice].attributes["email"] == "alice@example.com"


class Kept:
    """An application, or a cache before it, that answers with what it answered first."""

    page = ""

    def app(self, usercom: FakeUserCom) -> UserComMiddleware:
        async def home(request: Request) -> Response:
            if "fresh" in request.query_params or not self.page:
                get_visitor(request).identify(user_id="id-alice")
                return HTMLResponse(f"<html><head>{COUNTS}</head><body>hello</body></html>")
            get_visitor(request).suppress()
            return HTMLResponse(self.page)

        async def logout(request: Request) -> Response:
            await get_visitor(request).reset_auth()
            return HTMLResponse("<html><body>bye</body></html>")

        return UserComMiddleware(
            Starlette(routes=[Route("/", home), Route("/logout", logout)]),
            usercom.config(secret_keys=("sixteen characters or more",), reset_timeout=5),
        )


def test_cached_page_after_logout_reloads_once_and_sends_nothing(
    context: BrowserContext, usercom: FakeUserCom
) -> None:
    kept = Kept()
    with serve_app(kept.app(usercom)) as port:
        page, loads = context.new_page(), list[str]()
        page.goto(f"http://localhost:{port}/?fresh")
        page.wait_for_function(READY)
        kept.page = page.content().partition("<div id=")[0]
        assert "id-alice" in kept.page
        page.goto(f"http://localhost:{port}/logout")
        page.wait_for_function(READY)
        hits = len(usercom.store.hits)
        page.on("framenavigated", lambda frame: loads.append(frame.url))
        page.goto(f"http://localhost:{port}/")
        until_sync(lambda: len(loads) == 2)
        page.wait_for_function("document.readyState === 'complete'")
        page.wait_for_timeout(500)  # a third load, or a page hit, comes by now
        assert len(loads) == 2
        assert len(usercom.store.hits) == hits
        assert all(each.payload.get("user_id") is None for each in usercom.store.hits[-1:])


@ALONE
def test_page_with_cookies_disabled_sends_events_and_does_not_reload(
    context: BrowserContext, site: str, usercom: FakeUserCom
) -> None:
    context.add_init_script(
        "Object.defineProperty(document, 'cookie', { get: () => '', set: () => {} })"
    )
    page, loads = context.new_page(), list[str]()
    page.on("framenavigated", lambda frame: loads.append(frame.url))
    page.goto(f"{site}/page/0")
    page.wait_for_function(READY)
    page.evaluate("userengage('event.here'); dispatchEvent(new Event('focus'))")
    until_sync(lambda: usercom.store.events)
    assert len(loads) == 1


@ALONE
def test_form_response_after_logout_reloads_without_posting_again(
    context: BrowserContext, site: str, usercom: FakeUserCom
) -> None:
    page, _ = enter(context, site)
    send(page, "/answer")
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.method))
    other = context.new_page()
    other.goto(f"{site}/page/0")
    send(other, "/logout/form")
    page.evaluate("dispatchEvent(new Event('focus'))")
    page.wait_for_function("document.getElementById('who')?.textContent === 'nobody'")
    assert "POST" not in posts[:1]


@ALONE
def test_key_mark_of_the_page_equals_that_of_the_server(context: BrowserContext, site: str) -> None:
    page, alice = enter(context, site)
    send(page, "/logout/form")
    [epoch] = [
        str(each.get("value")) for each in context.cookies() if each.get("name") == "__ca__epoch"
    ]
    assert key_mark(alice) in epoch.split(".")[1:]
    assert alice not in epoch


def test_random_walks_of_two_people_have_no_violations() -> None:
    """The walks run in a process of their own: a page that never answers must not hold up the suite."""
    command = [
        sys.executable,
        "-m",
        "browser.walks",
        "4",
        "--seed",
        "4",
        "--steps",
        "10",
        "--jobs",
        "1",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["tests", "."])}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    summary = done.stdout.strip().splitlines()[-1]
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    figures = {
        name: int(n) for n, name in re.findall(r"(\d+) (walks|resets|events|violations)", summary)
    }
    assert figures["walks"] >= 2  # Chromium may leave one pair of them without an answer
    assert figures["violations"] == 0
    assert figures["resets"]
    assert figures["events"]
