"""The chat where a library swaps the body of the page (`page/js/swaps.js`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from helpers.fake_usercom import FakeUserCom
from helpers.serving import serve_app
from helpers.waiting import until_sync
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import Route as PageRoute
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from usercom_asgi import UserComMiddleware, get_visitor

from .libraries import HTMX, TURBO

READY = "window.UE && UE.isReady"
KINDS = ["turbo", "htmx2", "htmx4", "morph4"]
BODY = {
    "htmx2": "hx-boost=true",
    "htmx4": "hx-boost:inherited=true",
    "morph4": "hx-boost:inherited=true hx-swap:inherited=outerMorph",
}


async def leaf(request: Request) -> Response:
    kind = request.query_params.get("with", "")
    name = request.url.path
    loads = f'<script src="/{kind}.js"></script>' if kind else ""
    links = "".join(f'<a id="to{n}" href="/leaf/{n}?with={kind}">{n}</a> ' for n in (1, 2))
    form = f'<form method="post" action="/buy?with={kind}"><button id="buy">buy</button></form>'
    return HTMLResponse(
        f"<html><head><title>{name}</title>{loads}</head><body {BODY.get(kind, '')}>"
        f"<h1>{name}</h1>{links}{form}<div>the end</div></body></html>"
    )


async def buy(request: Request) -> Response:
    get_visitor(request).browser.open()
    return RedirectResponse(f"/leaf/3?with={request.query_params['with']}", 303)


async def script(request: Request) -> Response:
    name = request.path_params["name"]
    return Response(TURBO if name == "turbo" else HTMX[name[-1]], media_type="text/javascript")


@pytest.fixture
def errors() -> list[str]:
    return []


@pytest.fixture
def page(browser: Browser, errors: list[str]) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


@pytest.fixture(params=["alone"])
def site(usercom: FakeUserCom, request: pytest.FixtureRequest) -> Iterator[str]:
    every: dict[str, dict[str, Any]] = {
        "alone": {},
        "bridge": {"bridge": True},
        "head": {"position": "head"},
    }
    config = usercom.config(secret_keys=("sixteen characters or more",), **every[request.param])
    routes = [
        Route("/leaf/{n:int}", leaf),
        Route("/buy", buy, methods=["POST"]),
        Route("/{name}.js", script),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(UserComMiddleware, config=config)])
    with serve_app(app) as port:
        yield f"http://127.0.0.1:{port}"


EVERY_SITE = pytest.mark.parametrize("site", ["alone", "bridge"], indirect=True)
HEAD = pytest.mark.parametrize("site", ["alone", "head"], indirect=True)


def enter(page: Page, site: str, kind: str = "") -> None:
    """Open a page, and write in its chat."""
    page.goto(f"{site}/leaf/1?with={kind}")
    page.wait_for_function(READY)
    page.evaluate("window.same = true; userengage('widget.open')")
    page.fill("#__ue_widget_mount input", "hi")
    page.press("#__ue_widget_mount input", "Enter")
    page.wait_for_selector(".line.agent")
    page.evaluate("userengage('widget.close')")


def assert_chat_is_there(page: Page, heading: str | None = None) -> None:
    if heading is not None:
        page.wait_for_function(f"document.querySelector('h1')?.textContent === '{heading}'")
    page.wait_for_timeout(150)  # what would take the chat away comes by now
    assert page.evaluate("window.same"), "the document has stayed"
    expect(page.locator("body > #__ue_widget_mount")).to_have_count(1)
    expect(page.locator(".launcher")).to_be_visible()
    expect(page.locator(".line").first).to_have_text("hi")


@EVERY_SITE
@pytest.mark.parametrize("kind", KINDS)
def test_chat_after_a_swap_by_turbo_or_htmx_is_there_and_opens(
    page: Page, site: str, usercom: FakeUserCom, kind: str
) -> None:
    enter(page, site, kind)
    page.click("#to2")
    assert_chat_is_there(page, "/leaf/2")
    page.click("#buy")
    assert_chat_is_there(page, "/leaf/3")
    page.locator(".panel").wait_for(state="visible")
    page.evaluate("userengage('widget.close')")
    page.locator(".panel").wait_for(state="hidden")
    page.click("#__ue_widget_mount .launcher")
    page.locator(".panel").wait_for(state="visible")
    assert len(usercom.store.users) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_chat_of_a_widget_that_loads_during_a_swap_is_there(
    page: Page, site: str, usercom: FakeUserCom, kind: str
) -> None:
    delayed: list[PageRoute] = []

    def delay(route: PageRoute) -> None:
        if page.url.endswith(f"/leaf/2?with={kind}") and delayed:
            route.continue_()
        else:
            delayed.append(route)

    page.route("**/widget.js", delay)
    page.goto(f"{site}/leaf/1?with={kind}", wait_until="commit")
    page.wait_for_function("window.usercom && (window.Turbo || window.htmx)")
    page.click("#to2")
    page.wait_for_function("document.querySelector('h1')?.textContent === '/leaf/2'")
    for route in delayed:
        route.continue_()
    page.wait_for_function(READY)
    page.locator(".launcher").wait_for(state="visible")
    page.click("#to1")
    page.wait_for_function("document.querySelector('h1')?.textContent === '/leaf/1'")
    page.wait_for_timeout(150)
    expect(page.locator("#__ue_widget_mount")).to_have_count(1)
    expect(page.locator(".launcher")).to_be_visible()
    assert len(usercom.store.users) == 1


@HEAD
@pytest.mark.parametrize("kind", KINDS)
def test_chat_after_back_is_there_once(page: Page, site: str, kind: str) -> None:
    """The page that a library keeps for Back has a copy of the chat, which is dead."""
    enter(page, site, kind)
    page.click("#to2")
    assert_chat_is_there(page, "/leaf/2")
    page.evaluate("setTimeout(() => history.back())")
    page.wait_for_function("document.querySelector('h1')?.textContent === '/leaf/1'")
    page.wait_for_timeout(300)
    if page.evaluate("!window.same"):  # the library has loaded the page
        page.wait_for_function(READY)
        page.wait_for_selector(".launcher")
        expect(page.locator("#__ue_widget_mount")).to_have_count(1)
    else:
        assert_chat_is_there(page)


SWAPS = [
    "document.body.innerHTML = '<h1>other</h1>'",
    "document.body.replaceChildren(document.createElement('h1'))",
    "document.body = document.createElement('body')",
    "document.body.replaceWith(document.createElement('body'))",
    "document.documentElement.replaceWith(document.documentElement.cloneNode(true))",
    "document.documentElement.innerHTML = '<head></head><body>other</body>'",
    "document.body.innerHTML = document.body.innerHTML",
    "document.getElementById('__ue_widget_mount').remove()",
]


def test_chat_after_a_swap_by_a_script_is_there_and_opens(page: Page, site: str) -> None:
    """Unpoly, PJAX and others: the new content brings no snippet."""
    enter(page, site)
    # The widget's other element, which the sandbox's widget does not have.
    page.evaluate(
        """() => {
          window.other = document.createElement("div");
          other.id = "usercom-widget";
          document.body.append(other);
        }"""
    )
    for swap in SWAPS * 2:
        page.evaluate(f"() => {{ {swap} }}")
        assert_chat_is_there(page)
        assert page.evaluate(
            "[...document.querySelectorAll('#usercom-widget')].every(each => each === other)"
        )
        assert page.evaluate("document.body.contains(other)")
    page.evaluate("userengage('widget.open')")
    expect(page.locator(".panel")).to_be_visible()


def test_chat_that_the_widget_makes_anew_is_kept_instead(page: Page, site: str) -> None:
    enter(page, site)
    page.evaluate(
        """() => {
          window.fresh = document.createElement("div");
          fresh.id = "__ue_widget_mount";
          document.getElementById("__ue_widget_mount").remove();
          document.body.append(fresh);
        }"""
    )
    for swap in SWAPS:
        page.evaluate(f"() => {{ {swap} }}")
        page.wait_for_timeout(50)
        assert page.evaluate(
            "[...document.querySelectorAll('#__ue_widget_mount')].every(each => each === fresh)"
        )
        assert page.evaluate("document.body.contains(fresh)")


def test_destroyed_chat_after_a_swap_stays_away(page: Page, site: str) -> None:
    """Not even a copy of it, which would show what an earlier visitor wrote."""
    enter(page, site)
    page.evaluate("window.copy = document.body.innerHTML; UE.destroy()")
    page.evaluate("document.body.innerHTML = copy")
    page.wait_for_timeout(100)
    assert page.evaluate("copy.includes('__ue_widget_mount')")
    assert page.locator("#__ue_widget_mount").count() == 0


def test_chat_that_a_script_always_removes_does_not_hang_the_page(page: Page, site: str) -> None:
    enter(page, site)
    page.evaluate(
        """() => new MutationObserver(() => {
          const chat = document.getElementById("__ue_widget_mount");
          if (chat) { window.removed = (window.removed || 0) + 1; chat.remove(); }
        }).observe(document.body, {childList: true})"""
    )
    page.evaluate("document.getElementById('__ue_widget_mount').remove()")
    page.wait_for_timeout(200)
    assert 0 < page.evaluate("removed") < 100


def test_chat_that_is_removed_many_times_in_a_second_comes_back(page: Page, site: str) -> None:
    enter(page, site)
    page.evaluate(
        """async () => {
          for (let n = 0; n < 25; n++) {
            document.body.innerHTML = "<h1>other</h1>";
            await new Promise(done => setTimeout(done));
          }
        }"""
    )
    assert_chat_is_there(page)


def test_widget_loaded_again_after_destroy_is_kept_as_well(
    page: Page, site: str, usercom: FakeUserCom
) -> None:
    enter(page, site)
    page.evaluate("UE.destroy()")
    page.add_script_tag(url=f"{usercom.url}/widget.js")
    page.wait_for_function(READY)
    page.evaluate("document.body.innerHTML = '<h1>other</h1>'")
    page.locator(".launcher").wait_for(state="visible")
    expect(page.locator("#__ue_widget_mount")).to_have_count(1)


@pytest.mark.parametrize("event", ["turbolinks:visit", "page:before-change"])
def test_chat_that_leaves_with_turbolinks_is_not_put_back(
    page: Page, site: str, event: str
) -> None:
    """The widget removes itself there, and the next page starts it again."""
    enter(page, site)
    page.evaluate(f"document.dispatchEvent(new Event('{event}', {{bubbles: true}}))")
    page.evaluate("document.body.innerHTML = '<h1>other</h1>'")
    page.wait_for_timeout(100)
    assert page.locator("#__ue_widget_mount").count() == 0


@pytest.mark.parametrize("kind", ["turbo", "htmx2", "htmx4"])
def test_event_after_swaps_is_sent_once(
    page: Page, site: str, usercom: FakeUserCom, kind: str
) -> None:
    enter(page, site, kind)
    page.click("#to2")
    assert_chat_is_there(page, "/leaf/2")
    page.evaluate("userengage('event.later')")
    until_sync(lambda: usercom.store.events)
    page.wait_for_timeout(150)
    assert [each.name for each in usercom.store.events] == ["later"]
