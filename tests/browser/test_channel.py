"""Commands of `visitor.browser` in a real page: plain, with htmx, and with the bridge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from helpers.fake_usercom import FakeUserCom
from helpers.serving import serve_app
from helpers.waiting import until_sync
from playwright.sync_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from usercom_asgi import Event, UserComConfig, UserComMiddleware, get_visitor

from .libraries import HTMX

KEPT: dict[str, str] = {}
# Records the commands of the page in order, and passes them on to the widget.
SPY = """<script>
window.said = [];
addEventListener("DOMContentLoaded", function () {
  usercom.ready(function () {
    var tell = window.userengage, hit = UE.pageHit, reset = UE.resetAuth;
    window.userengage = function (name, data) { said.push([name, data || null]); tell(name, data); };
    UE.pageHit = function (data) { said.push(["pageHit", data]); hit(data); };
    UE.resetAuth = function (data) { said.push(["resetAuth", data]); reset(data); };
  });
});
</script>"""


async def home(request: Request) -> Response:
    script = (
        f'<script src="/htmx-{request.query_params["htmx"]}.js"></script>'
        if "htmx" in request.query_params
        else ""
    )
    actions = "".join(
        f'<button id="{name}" hx-post="/{name}" hx-target="#part">{name}</button>'
        for name in ("say", "logout")
    )
    forms = '<form method="post" action="/hop/3"><button id="hop">hop</button></form><a id="again" href="/">again</a>'
    script += WRAPPER if "wrapped" in request.query_params else ""
    return HTMLResponse(
        f'<html><head>{SPY}{script}</head><body><div id="part">{actions}</div>{forms}</body></html>'
    )


async def script(request: Request) -> Response:
    return Response(HTMX[request.path_params["version"]], media_type="text/javascript")


async def say(request: Request) -> Response:
    said = get_visitor(request).browser
    said.event("first", hostile="</script><script>alert(1)</script>")
    said.product_event("sku-1", "purchase", price=2.5)
    said.page_hit(Event("purchase", {"total": 19.9}), plan="gold")
    said.update(first_name="Zoë")
    said.open()
    return HTMLResponse("<p id='done'>done</p>", headers={"hx-trigger": "saved"})


async def hop(request: Request) -> Response:
    n = request.path_params["n"]
    get_visitor(request).browser.event("hop", n=n)
    return (
        RedirectResponse(f"/hop/{n - 1}" if n > 1 else "/", 303)
        if n
        else HTMLResponse("<html><body>hop</body></html>")
    )


async def kept(request: Request) -> Response:
    get_visitor(request).suppress()
    return HTMLResponse(KEPT["page"])


async def logout(request: Request) -> Response:
    visitor = get_visitor(request)
    visitor.browser.event("bye")
    await visitor.reset_auth(plan="free")
    await visitor.event("next")
    if request.query_params.get("answer") == "json":
        return JSONResponse({})
    return HTMLResponse("<p id='done'>done</p>")


async def echo(request: Request) -> Response:
    return JSONResponse(dict(request.headers))


async def away(request: Request) -> Response:
    return RedirectResponse(request.query_params["to"])


async def destroy(request: Request) -> Response:
    get_visitor(request).browser.destroy()
    return HTMLResponse(f"<html><head>{SPY}</head><body>no chat here</body></html>")


def site(config: UserComConfig) -> Starlette:
    return Starlette(
        routes=[
            Route("/", home),
            Route("/htmx-{version}.js", script),
            Route("/say", say, methods=["GET", "POST"]),
            Route("/hop/{n:int}", hop, methods=["GET", "POST"]),
            Route("/logout", logout, methods=["POST"]),
            Route("/kept", kept),
            Route("/echo", echo, methods=["GET", "POST"]),
            Route("/away", away),
            Route("/destroy", destroy),
        ],
        middleware=[Middleware(UserComMiddleware, config=config)],
    )


@pytest.fixture
def errors() -> list[str]:
    return []


@pytest.fixture
def page(browser: Browser, errors: list[str]) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    yield page
    assert errors == []
    context.close()


@pytest.fixture
def url(usercom: FakeUserCom, request: pytest.FixtureRequest) -> Iterator[str]:
    settings: dict[str, Any] = getattr(request, "param", {})
    with serve_app(
        site(usercom.config(secret_keys=("sixteen characters or more",), **settings))
    ) as port:
        yield f"http://127.0.0.1:{port}"


def visit(page: Page, url: str) -> str:
    page.goto(url)
    page.wait_for_function("window.UE && UE.isReady", timeout=30_000)
    return key_of(page)


def key_of(page: Page) -> str:
    return next(
        (
            str(each.get("value", ""))
            for each in page.context.cookies()
            if each.get("name") == "__ca__chat"
        ),
        "",
    )


EXPECTED_CALLS = [
    ["event.first", {"hostile": "</script><script>alert(1)</script>"}],
    ["product_event", {"product_id": "sku-1", "event_type": "purchase", "price": 2.5}],
    ["pageHit", {"plan": "gold", "event": {"event_name": "purchase", "total": 19.9}}],
    ["client.update", {"first_name": "Zoë"}],
    ["widget.open", None],
]


def assert_commands_arrived(page: Page, usercom: FakeUserCom) -> None:
    page.wait_for_function("said.length >= 5", timeout=30_000)
    assert page.evaluate("said") == EXPECTED_CALLS
    expect(page.locator(".panel")).to_be_visible()
    until_sync(
        lambda: (
            len(usercom.store.events) == 2
            and usercom.store.updates
            and usercom.store.product_events
        )
    )
    assert {each.name for each in usercom.store.events} == {"first", "purchase"}
    assert usercom.store.product_events[0].event_type == "purchase"
    assert usercom.store.updates[0].data == {"first_name": "Zoë"}
    assert {each.key for each in usercom.store.events} == {key_of(page)}


def test_flash_over_redirects_runs_in_order_and_once(
    page: Page, url: str, usercom: FakeUserCom
) -> None:
    visit(page, url)
    page.click("#hop")
    until_sync(lambda: [each.data["n"] for each in usercom.store.events] == [3, 2, 1])
    # Another page, a step back in the history and a reload do not run the commands again.
    page.click("#again")
    page.wait_for_load_state("load")
    page.go_back()
    page.wait_for_function("window.UE && UE.isReady", timeout=30_000)
    page.reload()
    page.wait_for_function("window.UE && UE.isReady", timeout=30_000)
    page.wait_for_timeout(300)
    assert [each.data["n"] for each in usercom.store.events] == [3, 2, 1]


def test_flash_in_a_cached_page_shown_twice_runs_once(
    page: Page, url: str, usercom: FakeUserCom
) -> None:
    """A service worker can show the same response bytes twice."""
    KEPT["page"] = httpx.get(f"{url}/hop/0").text
    assert KEPT["page"].count("event.hop") == 1
    for _ in range(2):
        visit(page, f"{url}/kept")
        until_sync(lambda: usercom.store.events)
    page.wait_for_timeout(300)
    assert len(usercom.store.events) == 1


def test_destroy_on_a_page_removes_the_widget(page: Page, url: str) -> None:
    page.goto(f"{url}/destroy")
    page.wait_for_function("window.UE && UE.__internal.isDestroyed()", timeout=30_000)
    assert page.locator("#__ue_widget_mount").count() == 0


@pytest.mark.parametrize("version", sorted(HTMX))
def test_htmx_request_runs_the_commands_of_its_response(
    page: Page, url: str, usercom: FakeUserCom, version: str
) -> None:
    visit(page, f"{url}/?htmx={version}")
    page.evaluate("addEventListener('saved', function () { window.wasSaved = true })")
    page.click("#say")
    page.wait_for_selector("#done")
    assert_commands_arrived(page, usercom)
    assert page.evaluate("window.wasSaved || document.querySelector('#say') === null")


@pytest.mark.parametrize("version", sorted(HTMX))
def test_htmx_logout_resets_the_running_widget(
    page: Page, url: str, usercom: FakeUserCom, version: str
) -> None:
    old = visit(page, f"{url}/?htmx={version}&__ca__chat=")
    page.evaluate("localStorage.setItem('__ca__chat', 'legacykey123')")
    page.click("#logout")
    page.wait_for_selector("#done")
    assert_visitor_was_reset(page, usercom, old)


def assert_visitor_was_reset(page: Page, usercom: FakeUserCom, old: str) -> None:
    until_sync(lambda: [each.name for each in usercom.store.events] == ["bye", "next"])
    new = key_of(page)
    assert page.evaluate("said") == [
        ["event.bye", {}],
        ["resetAuth", {"plan": "free", "apiKey": "ABC123"}],
        ["event.next", {}],
    ]
    assert [each.key for each in usercom.store.events] == [old, new]
    assert list(usercom.store.users) == [old, new], "exactly one new visitor"
    assert usercom.store.users[new].attributes["plan"] == "free"
    assert "__ca__chat" not in page.url
    assert page.evaluate("localStorage.getItem('__ca__chat')") is None
    # The next page has the new visitor's key, and creates no user.
    page.goto(page.url.partition("?")[0])
    page.wait_for_function("window.UE && UE.isReady", timeout=30_000)
    assert key_of(page) == new
    assert list(usercom.store.users) == [old, new]


BRIDGE = pytest.mark.parametrize("url", [{"bridge": True}], indirect=True)
XHR = """([path, method]) => new Promise(function (done) {
  var request = new XMLHttpRequest();
  request.open(method, path);
  request.setRequestHeader("Accept", "application/json");
  request.onload = function () { done(request.status) };
  request.send();
})"""
FETCH = "([path, method]) => fetch(path, {method: method}).then(function (answer) { return answer.status })"
REQUEST = """([path, method]) => {
  var request = new Request(path, {method: method, headers: {accept: "a/b"}});
  return fetch(request).then(function (answer) { return answer.status });
}"""


@BRIDGE
@pytest.mark.parametrize("asks", [FETCH, REQUEST, XHR], ids=["fetch", "Request", "XMLHttpRequest"])
def test_bridge_request_runs_the_commands_of_its_response(
    page: Page, url: str, usercom: FakeUserCom, asks: str
) -> None:
    visit(page, url)
    assert page.evaluate(asks, ["/say", "POST"]) == 200
    assert_commands_arrived(page, usercom)
    # After redirects, the last response carries the commands of all hops, though it is no page.
    usercom.store.events.clear()
    page.evaluate("said.length = 0")
    assert page.evaluate(asks, ["/hop/2", "POST"]) == 200
    page.wait_for_function("said.length >= 2", timeout=30_000)
    assert page.evaluate("said") == [["event.hop", {"n": 2}], ["event.hop", {"n": 1}]]


@BRIDGE
@pytest.mark.parametrize("answer", ["json", "html"])
def test_bridge_logout_by_fetch_resets_the_running_widget(
    page: Page, url: str, usercom: FakeUserCom, answer: str
) -> None:
    old = visit(page, url)
    assert page.evaluate(FETCH, [f"/logout?answer={answer}", "POST"]) == 200
    assert_visitor_was_reset(page, usercom, old)


@BRIDGE
def test_bridge_logout_by_fetch_before_a_page_load_creates_one_visitor(
    page: Page, url: str, usercom: FakeUserCom
) -> None:
    """The most common one: `await fetch("/logout"); location.href = "/"`, here with a server that takes its time."""
    old = visit(page, url)

    def slow(route: Any) -> None:
        page.wait_for_timeout(700)
        route.continue_()

    page.route("**/?slow", slow)
    page.evaluate(
        "fetch('/logout?answer=json', {method: 'POST'}).then(function () { location.href = '/?slow' })"
    )
    page.wait_for_url("**/?slow")
    page.wait_for_function("window.UE && UE.isReady", timeout=30_000)
    page.wait_for_timeout(500)
    assert list(usercom.store.users) == [old, key_of(page)]


# A page that has wrapped fetch before the bridge has, as for CSRF or tracing.
WRAPPER = """<script>
var original = fetch;
window.fetch = function (url, options) {
  if (typeof url === "string" && url.startsWith("/echo")) {
    options = options || {};
    options.headers = Object.assign({}, options.headers, {"X-CSRF": "t"});
  }
  return original(url, options);
};</script>"""


@BRIDGE
def test_bridge_leaves_errors_and_results_of_other_requests_unchanged(page: Page, url: str) -> None:
    visit(page, f"{url}/?wrapped")
    told = page.evaluate(
        """async () => {
          const all = [];
          for (const bad of [() => fetch("http://["), () => fetch("/say", {method: "GET", body: "x"}), () => fetch()]) {
            try { await bad(); all.push("no error") } catch (error) { all.push(error.name) }
          }
          const aborted = new AbortController();
          aborted.abort();
          try { await fetch("/say", {signal: aborted.signal}) } catch (error) { all.push(error.name) }
          all.push((await fetch("data:text/plain,hello").then((r) => r.text())));
          const body = new URLSearchParams({a: "b"});
          all.push((await fetch("/say", {method: "POST", body})).status);
          return all;
        }"""
    )
    assert told[0] == told[1] == "TypeError"
    assert told[3:] == ["AbortError", "hello", 200]
    assert page.evaluate(
        "[XMLHttpRequest.prototype.open.name, XMLHttpRequest.prototype.send.length]"
    ) == ["open", 0]


@BRIDGE
@pytest.mark.parametrize(
    "headers",
    [
        '{"Content-Type": "a/b", accept: "c/d"}',
        'new Headers({"Content-Type": "a/b"})',
        '[["Content-Type", "a/b"]]',
    ],
)
def test_bridge_request_with_headers_in_any_form_sends_them_all(
    page: Page, url: str, headers: str
) -> None:
    visit(page, url)
    seen = page.evaluate(
        f"""fetch("/echo", {{method: "POST", body: "{{}}", headers: {headers}}}).then((r) => r.json())"""
    )
    assert seen["content-type"] == "a/b"
    assert seen["accept"] == (
        "c/d, application/x-usercom" if "c/d" in headers else "*/*, application/x-usercom"
    )
    if headers.startswith("{"):
        visit(page, f"{url}/?wrapped")
        seen = page.evaluate(
            f"""fetch("/echo", {{method: "POST", body: "{{}}", headers: {headers}}}).then((r) => r.json())"""
        )
        assert (seen["content-type"], seen["x-csrf"]) == ("a/b", "t")
        assert seen["accept"] == "c/d, application/x-usercom"
        seen = page.evaluate(
            """fetch(new Request("/echo", {headers: {"X-Own": "o"}})).then((r) => r.json())"""
        )
        assert seen["x-own"] == "o"


@BRIDGE
def test_bridge_request_to_another_host_adds_no_header_and_runs_no_commands(
    page: Page, url: str
) -> None:
    """A redirect may lead there, and what is no simple request would need the other host's leave."""

    async def foreign(request: Request) -> Response:
        everybody = {
            "access-control-allow-origin": "*",
            "access-control-expose-headers": "usercom-commands",
        }
        said = '[["e1","userengage","event.evil",{}]]'
        return JSONResponse(dict(request.headers), headers={**everybody, "usercom-commands": said})

    with serve_app(Starlette(routes=[Route("/echo", foreign)])) as port:
        visit(page, url)
        there = f"http://127.0.0.1:{port}/echo"
        for asks in (f"fetch('/away?to={there}')", f"fetch('{there}')"):
            assert page.evaluate(f"{asks}.then((r) => r.status)") == 200
        seen = page.evaluate(f"""() => {{
          var frame = document.createElement("iframe");
          document.body.append(frame);
          return fetch(new frame.contentWindow.Request("{there}")).then((r) => r.json());
        }}""")
        assert "usercom" not in seen["accept"]
        for accept in ("a" * 106 + "/b", ""):
            status = page.evaluate(
                """([path, accept]) => new Promise(function (done) {
                  var request = new XMLHttpRequest();
                  request.open("GET", path);
                  request.setRequestHeader("Accept", accept);
                  request.onloadend = function () { done(request.status) };
                  request.send();
                })""",
                [f"/away?to={there}", accept],
            )
            assert status == 200
        page.wait_for_timeout(200)
        assert page.evaluate("said") == []
