"""Calls that reach the widget through `page/js/usercom.js`: early ones, events of hits, callbacks, clobbered names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from helpers.fake_usercom import FakeUserCom
from helpers.serving import serve_app
from helpers.waiting import until_sync
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from usercom_asgi import Event, UserComMiddleware, get_visitor

READY = "window.UE && UE.isReady"
FUNCTIONS = """<script>
window.calls = [];
window.shop = {};
["onLoad", "onOpen", "onClose", "onMessage", "onPayloadReceived"].forEach(function (name) {
  shop[name] = function () { calls.push(name) };
});
</script>"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with contextlib.closing(browser.new_context()) as context:
        context.set_default_timeout(30_000)
        yield context.new_page()


@pytest.fixture
def errors(page: Page) -> list[str]:
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


@contextlib.contextmanager
def serving(usercom: FakeUserCom, body: str = "hello", **settings: object) -> Iterator[str]:
    async def home(request: Request) -> HTMLResponse:
        if "buy" in request.query_params:
            get_visitor(request).browser.page_hit(Event("purchase", {"total": 19.9}), plan="gold")
        return HTMLResponse(f"<html><head>{FUNCTIONS}</head><body>{body}</body></html>")

    config = usercom.config(secret_keys=("sixteen characters or more",), **settings)
    app = Starlette(
        routes=[Route("/", home)], middleware=[Middleware(UserComMiddleware, config=config)]
    )
    with serve_app(app) as port:
        yield f"http://127.0.0.1:{port}/"


def names(usercom: FakeUserCom) -> list[str]:
    return [each.name for each in usercom.store.events]


# ---- early calls ----


@pytest.mark.parametrize("first", ["event.one", "nonsense"])
def test_early_call_that_fails_or_is_unknown_does_not_hold_back_later_calls(
    page: Page, usercom: FakeUserCom, first: str
) -> None:
    early = f"<script>userengage('{first}'); userengage('event.two'); userengage('event.three')</script>"
    usercom.faults.status(500, times=1, only="/api/event/")
    if first == "nonsense":
        usercom.faults.clear()
    with serving(usercom, early, position="head") as url:
        page.goto(url)
        until_sync(lambda: names(usercom) == ["two", "three"])
        assert len({each.key for each in usercom.store.events}) == 1
        page.evaluate("UE.resetAuth({apiKey: 'ABC123'})")
        until_sync(lambda: len(usercom.store.hits) == 2)
        page.wait_for_timeout(200)
    assert names(usercom) == ["two", "three"], "nothing is sent for the next visitor"


def test_call_that_fails_after_a_reset_does_not_hold_back_later_calls(
    page: Page, usercom: FakeUserCom
) -> None:
    with serving(usercom) as url:
        page.goto(url)
        page.wait_for_function(READY)
        usercom.faults.status(500, times=1, only="/api/event/")
        page.evaluate(
            "UE.resetAuth({apiKey: 'ABC123'}); userengage('event.one'); userengage('event.two')"
        )
        until_sync(lambda: names(usercom) == ["two"])
    old, new = usercom.store.users
    assert usercom.store.events[0].key == new != old


# ---- the event of a hit ----


def test_event_of_a_page_hit_is_recorded_once_though_later_hits_follow(
    page: Page, usercom: FakeUserCom
) -> None:
    with serving(usercom, bridge=True) as url:
        page.goto(f"{url}?buy")
        until_sync(lambda: len(usercom.store.hits) == 2)
        for number in (1, 2):
            page.evaluate(f"history.pushState({{}}, '', '/?page={number}')")
            until_sync(lambda number=number: len(usercom.store.hits) == 2 + number)
        page.evaluate("UE.pageHit({event: {event_name: 'own'}}); UE.pageHit(); UE.pageHit({})")
        until_sync(lambda: len(usercom.store.hits) == 7)
        page.wait_for_timeout(200)
    assert names(usercom) == ["purchase", "own"]
    assert usercom.store.events[0].data == {"total": 19.9}
    assert usercom.store.hits[-1].payload["plan"] == "gold", "attributes are repeated as before"


# ---- callbacks ----

OWN = "<script>civchat.onClose = shop.onClose</script>"


@pytest.mark.parametrize("hit", ["history.pushState({}, '', '/?page=2')", "UE.pageHit()"])
def test_callbacks_after_a_page_hit_are_still_called(
    page: Page, usercom: FakeUserCom, errors: list[str], hit: str
) -> None:
    callbacks = {name: f"shop.{name}" for name in ("onLoad", "onOpen", "onPayloadReceived")}
    with serving(usercom, OWN, bridge=True, callbacks=callbacks, position="head") as url:
        page.goto(url)
        page.wait_for_function(READY)
        for n in (2, 3):
            page.evaluate(f"() => {{ {hit.replace('2', str(n))} }}")
            until_sync(lambda n=n: len(usercom.store.hits) == n)
        page.wait_for_function("document.cookie.includes('__ca__chat')")
        page.evaluate("userengage('widget.open'); userengage('widget.close')")
        page.evaluate("UE.__internal.receivePayload('code')")
        assert page.evaluate("calls") == ["onLoad", "onOpen", "onClose", "onPayloadReceived"]
    assert errors == []
    assert not any("onOpen" in each.payload for each in usercom.store.hits)


def test_callbacks_given_to_a_hit_replace_those_before_and_survive_a_reset(
    page: Page, usercom: FakeUserCom
) -> None:
    with serving(usercom, callbacks={"onOpen": "shop.onOpen", "onClose": "shop.onClose"}) as url:
        page.goto(url)
        page.wait_for_function(READY)
        page.evaluate("UE.pageHit({onOpen: function () { calls.push('new') }})")
        page.evaluate("UE.resetAuth({apiKey: 'ABC123'})")
        until_sync(lambda: len(usercom.store.users) == 2)
        page.evaluate("userengage('widget.open'); userengage('widget.close')")
        page.wait_for_function("calls.length === 2")
        assert page.evaluate("calls") == ["new", "onClose"]


# ---- elements with the names of our globals ----

CLOBBERED = ("usercom", "UE", "userengage", "civchat", "calls")


@pytest.mark.parametrize("position", ["body", "head"])
@pytest.mark.parametrize(
    "element",
    [
        '<form id="{}"></form>',
        '<img name="{}">',
        '<a id="{0}"></a><a id="{0}"></a>',
        '<iframe name="{}"></iframe>',
        '<object id="{}"></object>',
    ],
)
def test_elements_with_the_names_of_globals_do_not_stop_the_widget(
    page: Page, usercom: FakeUserCom, errors: list[str], element: str, position: str
) -> None:
    body = "".join(element.format(name) for name in CLOBBERED)
    early = "<script>window.userengage && userengage('event.early')</script>"
    body += early if position == "head" else ""
    with serving(usercom, body, bridge=True, position=position) as url:
        page.goto(f"{url}?buy")
        until_sync(lambda: "purchase" in names(usercom))
        page.evaluate("userengage('event.said')")
        until_sync(lambda: "said" in names(usercom))
    assert ("early" in names(usercom)) is (position == "head")
    assert errors == []
