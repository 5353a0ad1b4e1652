"""Which response a person sees: behind a service worker, in a Turbo frame, by a boosted link, by a script's fetch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from helpers.fake_usercom import FakeUserCom
from helpers.serving import serve_app
from helpers.waiting import until_sync
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from usercom_asgi import UserComConfig, UserComMiddleware, get_visitor

from .libraries import HTMX, TURBO

WORKER = """
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(clients.claim()));
self.addEventListener("fetch", (event) => {
  if (event.request.mode === "navigate" && IF) event.respondWith(fetch(WHAT));
});
"""
WORKERS = {
    "request": ("true", "event.request"),
    "url": ("event.request.method === 'GET'", "event.request.url"),
}
REGISTER = "<script>navigator.serviceWorker.register('/worker/{}.js', {{scope: '/'}})</script>"
# As Unpoly, pjax and others do: fetch the page, and take a part of it.
FETCH = """<script>
addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch(event.target.action, { method: "POST" });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.querySelector("#main").replaceChildren(...page.querySelector("#main").childNodes);
});
</script>"""
HEADS = {
    "worker-request": REGISTER.format("request"),
    "worker-url": REGISTER.format("url"),
    "turbo": "<script src=/lib/turbo.js></script>",
    "frame": "<script src=/lib/turbo.js></script>",
    "fetch": FETCH,
    **{
        f"htmx{name}{more}": f"<script src=/lib/htmx{name}.js></script>"
        for name in HTMX
        for more in ("", "-part")
    },
}
LIBRARIES = {"turbo": TURBO, **{f"htmx{name}": text for name, text in HTMX.items()}}


async def library(request: Request) -> Response:
    return Response(LIBRARIES[request.path_params["name"]], media_type="text/javascript")


async def worker(request: Request) -> Response:
    when, what = WORKERS[request.path_params["name"]]
    script = WORKER.replace("IF", when).replace("WHAT", what)
    headers = {"service-worker-allowed": "/"}
    return Response(script, media_type="text/javascript", headers=headers)


async def home(request: Request) -> Response:
    how = request.path_params["how"]
    done = "<b id=done>done</b>" if "done" in request.query_params else ""
    form = "".join(
        f"<form method=post action=/{how}/{verb}><button id={verb}>{verb}</button></form>"
        for verb in ("buy", "leave")
    )
    form += done
    if how == "frame":
        form = f"<turbo-frame id=bar>{form}</turbo-frame>"
    boost = " hx-boost=true" if "htmx" in how else ""
    if how.endswith("-part"):
        # In htmx 4, only attributes with ``:inherited`` are inherited.
        boost = " hx-boost:inherited=true hx-boost=true" + "".join(
            f" {name}{colon}=#main"
            for name in ("hx-select", "hx-target")
            for colon in ("", ":inherited")
        )
    return HTMLResponse(
        f"<!doctype html><html><head><title>shop</title>{HEADS.get(how, '')}</head>"
        f"<body{boost}><div id=main>{form}</div><a id=next href=/{how}>next</a></body></html>"
    )


async def buy(request: Request) -> Response:
    get_visitor(request).browser.event("bought")
    return RedirectResponse(f"/{request.path_params['how']}?done=1", 303)


async def leave(request: Request) -> Response:
    await get_visitor(request).reset_auth()
    return RedirectResponse(f"/{request.path_params['how']}?done=1", 303)


def site(config: UserComConfig) -> Starlette:
    return Starlette(
        routes=[
            Route("/lib/{name}.js", library),
            Route("/worker/{name}.js", worker),
            Route("/{how}", home),
            Route("/{how}/buy", buy, methods=["POST"]),
            Route("/{how}/leave", leave, methods=["POST"]),
        ],
        middleware=[Middleware(UserComMiddleware, config=config)],
    )


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def ready(page: Page) -> None:
    page.wait_for_function("window.UE && UE.isReady", timeout=30_000)


@pytest.mark.parametrize("position", ["body", "head"])
@pytest.mark.parametrize("how", HEADS)
def test_shown_page_or_part_runs_a_command_once(
    how: str, position: Any, page: Page, usercom: FakeUserCom
) -> None:
    config = usercom.config(secret_keys=("sixteen characters or more",), position=position)
    with serve_app(site(config)) as port:
        url = f"http://localhost:{port}/{how}"
        page.goto(url)
        ready(page)
        if "worker" in how:
            page.wait_for_function("navigator.serviceWorker.controller")
        page.click("#buy")
        page.wait_for_selector("#done")
        if how not in ("frame", "fetch"):  # these drop the scripts, so that the next page runs it
            until_sync(lambda: usercom.store.events)
        for _ in range(2):
            page.goto(url)
            ready(page)
            # A page that is left at once does not send it.
            until_sync(lambda: usercom.store.events)
        page.wait_for_timeout(300)
    assert [each.name for each in usercom.store.events] == ["bought"]
    cookies = [str(each.get("name")) for each in page.context.cookies()]
    # A worker that asks by the address alone looks like a script to the end.
    assert ("__ca__flash" in cookies) is (how == "worker-url")


@pytest.mark.parametrize("how", HEADS)
def test_shown_page_or_part_after_a_reset_has_one_new_visitor(
    how: str, page: Page, usercom: FakeUserCom
) -> None:
    config = usercom.config(secret_keys=("sixteen characters or more",), reset_timeout=5)
    with serve_app(site(config)) as port:
        url = f"http://localhost:{port}/{how}"
        page.goto(url)
        ready(page)
        if "worker" in how:
            page.wait_for_function("navigator.serviceWorker.controller")
        [old] = usercom.store.users
        page.click("#leave")
        page.wait_for_selector("#done", state="attached")
        until_sync(lambda: len(usercom.store.users) == 2)
        page.wait_for_timeout(500)
        page.goto(url)
        ready(page)
        page.wait_for_timeout(300)
    _, new = usercom.store.users
    cookies = page.context.cookies()
    assert [each.get("value") for each in cookies if each.get("name") == "__ca__chat"] == [new]
    assert new != old
