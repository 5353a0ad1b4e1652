"""Pages as a browser takes them: documents of all kinds, policies, early calls, and navigation without a page load."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from helpers.fake_usercom import FakeUserCom
from helpers.serving import serve_app
from helpers.waiting import until_sync
from page.corpus import CLOSED, PAGES
from page.judge import judge, quiet
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from usercom_asgi import UserComMiddleware

from .libraries import HTMX, TURBO


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def is_ready(page: Page) -> None:
    # Not by wait_for_function, which evaluates a string in the page: a policy may forbid that.
    until_sync(lambda: page.evaluate("!!(window.UE && UE.isReady)"))


# ---- documents ----

# What a browser makes of a document, without what is ours and what a page adds to itself.
SHAPE = """() => {
  const copy = document.documentElement.cloneNode(true);
  const ours = (s) => s.dataset.cfasync === "false" || /widget.js/.test(s.src);
  copy.querySelectorAll("script").forEach((s) => ours(s) && s.remove());
  copy.querySelectorAll("#__ue_widget_mount").forEach((e) => e.remove());
  copy.normalize();
  return copy.outerHTML;
}"""


@pytest.mark.parametrize("position", ["body", "head"])
def test_page_of_the_corpus_runs_the_widget_and_is_otherwise_unchanged(
    page: Page, usercom: FakeUserCom, position: str
) -> None:
    # What a page does itself is left out: a script of its own that writes would have to be waited for.
    writes = [name for name, text in PAGES.items() if ".write(" in text or "alert(" in text]
    documents = {name: text for name, text in PAGES.items() if name not in writes and text}
    # The same tokenizer finds both places, so the head takes a part of the other half.
    documents = dict(
        list(documents.items())[slice(1, None, 4) if position == "head" else slice(0, None, 2)]
    )
    if position == "body":
        documents |= CLOSED

    async def answer(request: Request) -> Response:
        return HTMLResponse(documents[list(documents)[int(request.path_params["n"])]].encode())

    app = Starlette(routes=[Route("/{n:int}", answer)])
    wrapped = UserComMiddleware(app, usercom.config(position=position))
    page.route(
        "**/*",
        lambda route: route.abort() if "acme.user.com" in route.request.url else route.fallback(),
    )
    with serve_app(app) as bare, serve_app(wrapped) as port:
        for n, name in enumerate(documents):
            page.goto(f"http://127.0.0.1:{bare}/{n}")
            before = page.evaluate(SHAPE)
            page.goto(f"http://127.0.0.1:{port}/{n}")
            if name in PAGES:
                is_ready(page)
                where = (
                    position
                    if any(each in PAGES[name].lower() for each in ("</head", "<body"))
                    else "html"
                )
                assert (
                    page.evaluate(
                        f"document.querySelectorAll('{where} script[data-cfasync=false]').length"
                    )
                    == 2
                ), name
            else:
                assert page.evaluate("window.UE === undefined"), name
            assert page.evaluate(SHAPE) == before, name


@pytest.mark.parametrize("seed", [1, 2])
def test_inject_into_random_documents_adds_the_snippet_and_changes_nothing_else(
    page: Page, seed: int
) -> None:
    found, wrong = judge(quiet(page), 150, seed)
    assert wrong == []
    assert found["whole, with the snippet"] > 40
    assert found["streamed, with the snippet"] > 40


# ---- Content-Security-Policy ----

VIOLATIONS = """<script nonce="page">
window.violations = [];
addEventListener("securitypolicyviolation", function (event) {
  violations.push([event.effectiveDirective, event.blockedURI]);
});</script>"""
POLICIES = {
    "strict": [
        "script-src 'nonce-page' 'strict-dynamic'; object-src 'none'; base-uri 'none'; connect-src {origin} {socket}"
    ],
    "by hosts": [
        "default-src 'self'; script-src 'nonce-page' {origin}; connect-src {origin} {socket}; style-src 'nonce-page'; style-src-elem 'unsafe-inline'"
    ],
    "two headers": ["script-src 'nonce-page'", "script-src 'nonce-page' {origin}; connect-src *"],
}


@pytest.mark.parametrize("reported", [False, True])
@pytest.mark.parametrize("name", POLICIES)
def test_page_with_a_content_security_policy_reports_no_violation(
    page: Page, usercom: FakeUserCom, name: str, reported: bool
) -> None:
    header = "content-security-policy" + ("-report-only" if reported else "")

    async def home(request: Request) -> Response:
        response = HTMLResponse(f"<html><head>{VIOLATIONS}</head><body>hello</body></html>")
        for policy in POLICIES[name]:
            socket = usercom.url.replace("http", "ws")
            named = policy.replace("{origin}", usercom.url).replace("{socket}", socket)
            response.headers.append(header, named)
        return response

    app = Starlette(routes=[Route("/", home)])
    with serve_app(UserComMiddleware(app, usercom.config())) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        is_ready(page)
        page.evaluate("userengage('event.said')")
        until_sync(lambda: usercom.store.events)
        assert [each for each in page.evaluate("violations") if "favicon" not in each[1]] == []


def test_page_with_a_policy_against_the_widget_sends_no_hit(
    page: Page, usercom: FakeUserCom
) -> None:
    async def home(request: Request) -> Response:
        headers = {"content-security-policy": "script-src 'nonce-page'; connect-src 'none'"}
        return HTMLResponse(
            f"<html><head>{VIOLATIONS}</head><body>hello</body></html>", headers=headers
        )

    with serve_app(
        UserComMiddleware(Starlette(routes=[Route("/", home)]), usercom.config())
    ) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        until_sync(lambda: page.evaluate("violations.length > 0"))
        assert [each[0] for each in page.evaluate("violations")] == ["connect-src"]
        assert not usercom.store.hits


# ---- calls before the widget is there ----


def test_calls_before_the_widget_has_loaded_run_in_order_and_once(
    page: Page, usercom: FakeUserCom
) -> None:
    early = "<script>for (var n = 0; n < 3; n++) userengage('event.early', {n: n});</script>"
    late = """<script>
    window.went = [];
    usercom.ready(function () { went.push("a"); throw new Error("the page's own") });
    usercom.ready(function () { went.push("b"); UE.pageHit({plan: "gold"}) });
    document.addEventListener("load", function (event) {
      if (/widget.js/.test(event.target.src)) userengage("event.early", {n: 3});
    }, true);
    </script>"""

    async def home(request: Request) -> Response:
        return HTMLResponse(f"<html><head></head><body>{early}{late}</body></html>")

    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    app = UserComMiddleware(Starlette(routes=[Route("/", home)]), usercom.config(position="head"))
    usercom.faults.latency(0.3)
    with serve_app(app) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_function("went.length === 2", timeout=30_000)
        page.evaluate("userengage('event.early', {n: 4})")
        until_sync(lambda: len(usercom.store.events) == 5)
        until_sync(lambda: any(each.payload.get("plan") == "gold" for each in usercom.store.hits))
        page.wait_for_timeout(200)
    assert [each.data["n"] for each in usercom.store.events] == [0, 1, 2, 3, 4]
    assert [each for each in errors if "the page's own" not in each] == []
    assert len(errors) == 1


def test_page_with_a_hanging_widget_finishes_loading(page: Page, usercom: FakeUserCom) -> None:
    async def home(request: Request) -> Response:
        return HTMLResponse(
            "<html><body>x<script>addEventListener('DOMContentLoaded', () => { window.loaded = 1 })</script></body>"
        )

    usercom.faults.hang()
    with serve_app(
        UserComMiddleware(Starlette(routes=[Route("/", home)]), usercom.config())
    ) as port:
        page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
        page.wait_for_function("window.loaded === 1", timeout=30_000)
        usercom.faults.stop()


@pytest.mark.parametrize("where", ["head", "body"])
def test_page_with_its_own_snippet_gets_no_second_one(
    page: Page, usercom: FakeUserCom, where: str
) -> None:
    own = '<script>window.civchat = {apiKey: "ABC123", plan: "own"};</script>'
    own += f'<script async src="{usercom.url}/widget.js"></script>'

    async def home(request: Request) -> Response:
        head, body = (own, "") if where == "head" else ("", own)
        return HTMLResponse(f"<html><head>{head}</head><body>hello{body}</body></html>")

    with serve_app(
        UserComMiddleware(Starlette(routes=[Route("/", home)]), usercom.config())
    ) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        is_ready(page)
        assert page.evaluate("document.querySelectorAll('script').length") == 2
        assert [each.payload["plan"] for each in usercom.store.hits] == ["own"]


# ---- navigation without a page load ----


async def script(request: Request) -> Response:
    name = request.path_params["name"]
    return Response(TURBO if name == "turbo" else HTMX[name[-1]], media_type="text/javascript")


async def leaf(request: Request) -> Response:
    kind = request.query_params.get("with", "")
    loads = f'<script src="/{kind}.js"></script>' if kind else ""
    boost = {"htmx2": " hx-boost=true", "htmx4": " hx-boost:inherited=true"}.get(kind, "")
    links = "".join(f'<a id="to{n}" href="/leaf/{n}?with={kind}">{n}</a>' for n in (1, 2))
    form = f'<form method="post" action="/post?with={kind}"><button id="post">post</button></form>'
    return HTMLResponse(
        f"<html><head><title>{request.url.path}</title>{loads}</head><body{boost}><h1>{request.url.path}</h1>{links}{form}</body></html>"
    )


async def post(request: Request) -> Response:
    return RedirectResponse(f"/leaf/2?with={request.query_params['with']}", 303)


@pytest.fixture
def site(usercom: FakeUserCom) -> Iterator[str]:
    routes = [
        Route("/leaf/{n:int}", leaf),
        Route("/post", post, methods=["POST"]),
        Route("/{name}.js", script),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(UserComMiddleware, config=usercom.config(bridge=True))],
    )
    with serve_app(app) as port:
        yield f"http://127.0.0.1:{port}"


def views(usercom: FakeUserCom) -> list[str]:
    return [each.url.partition("/leaf/")[2].partition("?with=")[0] for each in usercom.store.hits]


def test_page_hit_of_client_side_routing_is_sent_once_per_navigation(
    page: Page, site: str, usercom: FakeUserCom
) -> None:
    page.goto(f"{site}/leaf/1")
    is_ready(page)
    until_sync(lambda: views(usercom) == ["1"])
    for action, seen in (
        ("history.replaceState({scroll: 3}, '')", None),
        ("location.hash = 'anchor'", None),
        ("history.pushState({}, '', '/leaf/2'); history.replaceState({x: 1}, '', '/leaf/2')", "2"),
        ("history.pushState({}, '', '/leaf/2')", None),
        ("history.replaceState({}, '', '/leaf/3')", "3"),
        ("history.back()", "2"),
        ("location.hash = '#/route'", "2#/route"),
    ):
        before = views(usercom)
        page.evaluate(f"() => {{ {action} }}")
        expected = before + ([seen] if seen else [])
        until_sync(lambda expected=expected: views(usercom) == expected)
        page.wait_for_timeout(400)
        assert views(usercom) == expected, action


@pytest.mark.parametrize("kind", ["turbo", "htmx2", "htmx4"])
def test_page_hit_of_a_page_swapped_by_htmx_or_turbo_is_sent_once(
    page: Page, site: str, usercom: FakeUserCom, kind: str
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{site}/leaf/1?with={kind}")
    is_ready(page)
    until_sync(lambda: views(usercom) == ["1"])
    page.evaluate("window.same = true")
    key = [each.key for each in usercom.store.hits]
    for click, heading in (("#to2", "/leaf/2"), ("#to1", "/leaf/1"), ("#post", "/leaf/2")):
        before = views(usercom)
        page.click(click)
        page.wait_for_function(
            f"document.querySelector('h1')?.textContent === '{heading}'", timeout=30_000
        )
        expected = [*before, heading[-1]]
        until_sync(lambda expected=expected: views(usercom) == expected)
        page.wait_for_timeout(250)
        assert views(usercom) == expected, (click, json.dumps(views(usercom)))
    assert page.evaluate("window.same"), "the document has stayed"
    assert {each.key for each in usercom.store.hits} == set(key)
    assert errors == []
