"""Each row of docs/reference/browser-sdk.md, from the page and from the server, under both channels.

The browser uses the widget's endpoints under both. The sandbox must hold one profile, and each
thing once, whichever way the server's half has come.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import pytest
from helpers.fake_usercom import FakeUserCom
from helpers.serving import serve_app
from helpers.waiting import until_sync
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from usercom_asgi import (
    Event,
    EventType,
    InvalidCommand,
    UserComConfig,
    UserComMiddleware,
    Visitor,
    get_visitor,
)
from usercom_asgi.sandbox.store import User
from usercom_asgi.sandbox.vendor import REST_TOKEN

ROWS: list[str] = re.findall(
    r"^\| (.+?) \| .+ \| .+ \|$",
    (Path(__file__).parents[2] / "docs/reference/browser-sdk.md").read_text("utf-8"),
    re.MULTILINE,
)[1:]
ALICE: dict[str, Any] = {
    "user_id": "id-alice",
    "email": "alice@example.com",
    "first_name": "Alice",
    "company": {"company_id": "acme", "name": "Acme"},
}
VALUES: dict[str, Any] = {
    "text": "red", "yes": True, "whole": 7, "half": 0.5, "price": Decimal("19.90"), "day": date(2016, 8, 3),
    "moment": datetime(2016, 8, 3, 12, tzinfo=UTC), "uuid": UUID(int=1), "kind": EventType.ORDER,
    "choices": ["a", "b"],
}  # fmt: skip
DOCUMENTED: dict[str, Any] = {
    "text": "red", "yes": True, "whole": 7, "half": 0.5, "price": 19.9, "day": "2016-08-03",
    "moment": "2016-08-03T12:00:00+00:00", "uuid": "00000000-0000-0000-0000-000000000001", "kind": "order",
    "choices": ["a", "b"],
}  # fmt: skip
LONG = "x" * 300


@dataclass
class Visit:
    """A browser at the application, and the sandbox of both."""

    page: Page
    url: str
    usercom: FakeUserCom
    channel: str

    def open(self, query: str = "") -> None:
        self.page.goto(f"{self.url}/?{query}")
        self.page.wait_for_function("window.UE && UE.isReady")
        until_sync(lambda: self.usercom.store.hits)

    def run(self, script: str) -> Any:
        return self.page.evaluate(script)

    def server(self, action: str, query: str = "") -> int:
        """Let a handler do this, in a request that the page's script makes."""
        path = f"/do/{action}?{query}"
        return int(self.run(f"fetch({path!r}, {{method: 'POST'}}).then((a) => a.status)"))

    def shows(self, part: str) -> bool:
        return self.page.locator(f"#__ue_widget_mount {part}").is_visible()

    @property
    def key(self) -> str:
        return next(
            (str(c["value"]) for c in self.page.context.cookies() if c["name"] == "__ca__chat"), ""
        )

    @property
    def profile(self) -> User:
        """The only one, which is that of the browser's cookie."""
        [user] = self.usercom.store.users.values()
        assert user.key == self.key
        return user

    def events(self, *names: str) -> list[dict[str, Any]]:
        """Wait for these events, each once; return their data."""
        store = self.usercom.store
        until_sync(lambda: len(store.events) >= len(names))
        found = {each.name: each.data for each in store.events}
        assert sorted(each.name for each in store.events) == sorted(names)
        assert {each.key for each in store.events} == {self.profile.key}
        return [found[name] for name in names]


Action: TypeAlias = Callable[[Visitor], Awaitable[object]]
Row: TypeAlias = Callable[[Visit], None]
ACTIONS: dict[str, Action] = {}
TESTS: dict[str, Row] = {}


def server(action: Action) -> Action:
    ACTIONS[action.__name__] = action
    return action


def row(title: str) -> Callable[[Row], Row]:
    def add(test: Row) -> Row:
        TESTS[title] = test
        return test

    return add


def prepare(request: Request) -> Visitor:
    visitor, query = get_visitor(request), request.query_params
    visitor.widget_state = query.get("state")
    people: dict[str, dict[str, Any]] = {
        "alice": ALICE,
        "values": VALUES,
        "email": {"email": "alice@example.com"},
        "long": {"first_name": LONG},
    }
    visitor.identify(**people.get(query.get("as", ""), {}))
    return visitor


async def home(request: Request) -> Response:
    visitor = prepare(request)
    if "do" in request.query_params:
        await ACTIONS[request.query_params["do"]](visitor)
    return HTMLResponse("<html><head></head><body><h1>Shop</h1></body></html>")


async def do(request: Request) -> Response:
    try:
        await ACTIONS[request.path_params["action"]](prepare(request))
    except InvalidCommand as error:
        return JSONResponse({"detail": str(error)}, 422)
    return JSONResponse({})


def shop(config: UserComConfig) -> Starlette:
    return Starlette(
        routes=[Route("/", home), Route("/do/{action}", do, methods=["POST"])],
        middleware=[Middleware(UserComMiddleware, config=config)],
    )


@row("the snippet")
def snippet(visit: Visit) -> None:
    visit.open()
    assert visit.run("document.querySelectorAll('script[src$=\"/widget.js\"]').length") == 1
    [hit] = visit.usercom.store.hits
    assert (hit.key, hit.url) == (visit.profile.key, visit.page.url)


@row("the chat after a swap of the body (Turbo, `hx-boost`, scripts)")
def swap(visit: Visit) -> None:
    visit.open()
    visit.run("document.body.outerHTML = '<body><h1>Swapped</h1></body>'")
    visit.page.locator(".launcher").wait_for()
    visit.run("userengage('event.swapped', {})")
    visit.events("swapped")
    assert len(visit.usercom.store.hits) == 1


@server
async def bought(visitor: Visitor) -> None:
    await visitor.update(company=ALICE["company"])
    await visitor.event("bought")


@row("`window.civchat`: user attributes, company")
def civchat(visit: Visit) -> None:
    visit.open("as=alice")
    assert visit.server("bought", "as=alice") == 200
    visit.events("bought")
    user = visit.profile
    assert (user.user_id, user.email, user.attributes["first_name"]) == (
        "id-alice",
        "alice@example.com",
        "Alice",
    )
    store = visit.usercom.store
    until_sync(lambda: user.company)
    [company] = store.companies.values()
    assert (company.custom_id, company.fields["name"]) == ("acme", "Acme")
    assert list(company.members) == [user.id]


@server
async def new_values(visitor: Visitor) -> None:
    await visitor.update(**{**VALUES, "text": "blue"})
    await visitor.event("values", VALUES)


@row("value formats")
def formats(visit: Visit) -> None:
    visit.open("as=values")
    assert visit.profile.attributes.items() >= DOCUMENTED.items()
    visit.server("new_values")
    assert visit.events("values") == [DOCUMENTED]
    until_sync(lambda: visit.profile.attributes["text"] == "blue")
    assert visit.profile.attributes.items() >= {**DOCUMENTED, "text": "blue"}.items()


@row("`state`")
def state(visit: Visit) -> None:
    seen = {}
    for name in ("standard", "simple", "hidden"):
        visit.open(f"state={name}")
        seen[name] = (visit.shows(".greeting"), visit.shows(".launcher"))
    assert seen == {"standard": (True, True), "simple": (False, True), "hidden": (False, False)}
    assert [each.key for each in visit.usercom.store.hits] == [visit.profile.key] * 3


@row("`onLoad`, `onPayloadReceived`, `onMessage`, `onOpen`, `onClose`")
def callbacks(visit: Visit) -> None:
    visit.page.add_init_script(
        "window.calls = [];"
        "window.record = {};"
        "for (const name of ['load', 'payload', 'message', 'open', 'close'])"
        "  record[name] = (value) => calls.push([name, value && value.content || value || null]);"
    )
    visit.open()
    visit.run("userengage('widget.open')")
    visit.page.fill("#__ue_widget_mount input", "hi")
    visit.page.press("#__ue_widget_mount input", "Enter")
    visit.page.wait_for_function("calls.length >= 4")  # with the answer of the sandbox
    visit.run("UE.__internal.receivePayload('sale')")
    visit.run("userengage('widget.close')")
    calls = visit.run("calls")
    assert calls[:3] == [["load", None], ["open", None], ["message", "hi"]]
    assert calls[3][0] == "message"
    assert calls[4:] == [["payload", "sale"], ["close", None]]
    assert [each["content"] for each in visit.profile.conversation].count("hi") == 1


@server
async def hit(visitor: Visitor) -> None:
    await visitor.page_hit("http://shop.test/there", Event("hit_server", {"n": 2}), plan="silver")


@row("`UE.pageHit()`, with an event in it")
def page_hit(visit: Visit) -> None:
    visit.open()
    visit.run("UE.pageHit({plan: 'gold', event: {event_name: 'hit_page', n: 1}})")
    visit.events("hit_page")
    assert visit.profile.attributes["plan"] == "gold"
    visit.server("hit")
    assert visit.events("hit_page", "hit_server") == [{"n": 1}, {"n": 2}]
    until_sync(lambda: visit.profile.attributes["plan"] == "silver")
    urls = [each.url for each in visit.usercom.store.hits]
    assert urls == [visit.page.url] * 2 + ["http://shop.test/there"]


@server
async def logout(visitor: Visitor) -> None:
    await visitor.event("before")
    await visitor.reset_auth()


@row("`UE.resetAuth()`")
def reset(visit: Visit) -> None:
    users = visit.usercom.store.users
    visit.open("as=alice")
    first = visit.profile.key
    visit.run("UE.resetAuth({apiKey: 'ABC123'})")
    until_sync(lambda: len(users) == 2 and visit.key not in ("", first))
    second = visit.key
    visit.open("do=logout")
    until_sync(lambda: len(users) == 3 and visit.key not in ("", first, second))
    assert list(users) == [first, second, visit.key]
    assert [each.user_id for each in users.values()] == ["id-alice", None, None]
    [event] = visit.usercom.store.events
    assert (event.name, event.key) == ("before", second)


@server
async def named(visitor: Visitor) -> None:
    await visitor.event("from_server", {"n": 2})


@server
async def dotted(visitor: Visitor) -> None:
    await visitor.event("from.server")


@row("`userengage('event.NAME')`, names without dots")
def event(visit: Visit) -> None:
    visit.open()
    visit.run("userengage('event.from_page', {n: 1})")
    visit.server("named")
    assert visit.server("dotted") == 422
    assert visit.events("from_page", "from_server") == [{"n": 1}, {"n": 2}]


@server
async def products(visitor: Visitor) -> None:
    for each in EventType:
        await visitor.product_event("server-1", each, name="Lamp", price=9.5)


@row("`userengage('product_event')`, the 16 types")
def product_event(visit: Visit) -> None:
    visit.open()
    types = [str(each) for each in EventType]
    assert len(types) == 16
    for each in types:
        visit.run(
            f"userengage('product_event', {{product_id: 'page-1', event_type: {each!r}, name: 'Lamp', price: 9.5}})"
        )
    visit.server("products")
    store = visit.usercom.store
    until_sync(lambda: len(store.product_events) >= 32)
    for product in ("page-1", "server-1"):
        found = [each.event_type for each in store.product_events if each.product_id == product]
        assert sorted(found) == sorted(types)
    assert {each.key for each in store.product_events} == {visit.profile.key}
    assert [each.custom_id for each in store.products.values()] == ["page-1", "server-1"]


@server
async def renamed(visitor: Visitor) -> None:
    await visitor.update(last_name="Zed")


@row("`userengage('client.update')`")
def update(visit: Visit) -> None:
    visit.open()
    visit.run("userengage('client.update', {first_name: 'Zoë'})")
    visit.server("renamed")
    wanted = {"first_name": "Zoë", "last_name": "Zed"}
    until_sync(lambda: visit.profile.attributes.items() >= wanted.items())
    assert len(visit.usercom.store.hits) == 1, "an update is no page view"


@row("Unified Identification, Authorize by email")
def unified(visit: Visit) -> None:
    sandbox, store = visit.usercom.sandbox, visit.usercom.store
    sandbox.unified_identification = sandbox.authorize_by_email = True
    try:
        visit.open("as=alice")
        owner = visit.profile.key
        visit.page.context.clear_cookies()
        visit.run("localStorage.clear()")
        visit.open()
        assert visit.key not in ("", owner)
        visit.open("as=email")  # User.com switches the browser to the owner of the email
        until_sync(lambda: visit.key == owner)
        visit.server("named")
        until_sync(lambda: store.events)
        assert [(each.name, each.key) for each in store.events] == [("from_server", owner)]
        assert [each.email for each in store.users.values()] == ["alice@example.com", None]
    finally:
        sandbox.unified_identification = sandbox.authorize_by_email = False


for _name in ("open", "close", "show", "hide", "destroy"):

    async def _act(visitor: Visitor, name: str = _name) -> None:
        getattr(visitor.browser, name)()

    ACTIONS[_name] = _act


@row("`userengage('widget.open')`, `close`, `show`, `hide`; `UE.destroy()`")
def widget(visit: Visit) -> None:
    visit.open()
    seen = []
    for name in ("open", "close", "hide", "show"):
        visit.run(f"userengage('widget.{name}')")
        seen.append((visit.shows(".panel"), visit.shows(".launcher")))
    assert [each[0] for each in seen] == [True, False, False, False]
    assert seen[2:] == [(False, False), (False, True)]
    # Each begins with the opposite. The page runs the server's commands when the widget is ready.
    before = {"close": "expanded", "show": "hidden"}
    for name, wanted in zip(("open", "close", "hide", "show"), seen, strict=True):
        visit.open(f"state={before.get(name, 'simple')}&do={name}")
        until_sync(lambda w=wanted: (visit.shows(".panel"), visit.shows(".launcher")) == w)
    visit.run("UE.destroy()")
    assert visit.page.locator("#__ue_widget_mount").count() == 0
    visit.page.goto(f"{visit.url}/?do=destroy")
    visit.page.wait_for_function("window.UE && UE.__internal.isDestroyed()")
    assert {each.key for each in visit.usercom.store.hits} == {visit.profile.key}


@server
async def browser_commands(visitor: Visitor) -> None:
    visitor.browser.event("first", n=1)
    visitor.browser.product_event("sku-1", "purchase", price=2.5)
    visitor.browser.page_hit(Event("second", {"n": 2}), plan="gold")
    visitor.browser.update(first_name="Zoë")


@row("the same, `UE.pageHit` and `userengage` from the page")
def commands_for_the_page(visit: Visit) -> None:
    visit.open("do=browser_commands")
    assert visit.events("first", "second") == [{"n": 1}, {"n": 2}]
    wanted = {"first_name": "Zoë", "plan": "gold"}
    until_sync(lambda: visit.profile.attributes.items() >= wanted.items())
    [purchase] = visit.usercom.store.product_events
    assert (purchase.key, purchase.product_id) == (visit.profile.key, "sku-1")
    assert len(visit.usercom.store.hits) == 2


@row("`UE.resetAuth()` in a page that stays")
def reset_in_place(visit: Visit) -> None:
    users = visit.usercom.store.users
    visit.open()
    visit.run("window.stays = true")
    old = visit.profile.key
    assert visit.server("logout") == 200
    until_sync(lambda: len(users) == 2 and visit.key not in ("", old))
    visit.run("userengage('event.after', {})")
    until_sync(lambda: len(visit.usercom.store.events) == 2)
    assert visit.run("window.stays")
    assert list(users) == [old, visit.key]
    assert {each.name: each.key for each in visit.usercom.store.events} == {
        "before": old,
        "after": visit.key,
    }


@server
async def long(visitor: Visitor) -> None:
    await visitor.event("n" * 300, {"text": LONG})


@row("limits: 255 characters, less for names and some others")
def limits(visit: Visit) -> None:
    visit.open("as=long")
    assert set(visit.profile.attributes["first_name"]) == {"x"}
    assert 0 < len(visit.profile.attributes["first_name"]) < 255
    visit.server("long")
    assert visit.events("n" * 255) == [{"text": "x" * 255}]


def test_sdk_table_has_a_test_of_each_row_and_no_other() -> None:
    assert len(ROWS) >= 16
    assert list(TESTS) == ROWS


@pytest.fixture(params=["widget", "rest"])
def visit(
    browser: Browser, usercom: FakeUserCom, request: pytest.FixtureRequest
) -> Iterator[Visit]:
    config = usercom.config(
        rest_token=REST_TOKEN,
        channel=request.param,
        secret_keys=("sixteen characters or more",),
        reset_timeout=5,
        bridge=True,
        callbacks={
            "onLoad": "record.load",
            "onPayloadReceived": "record.payload",
            "onMessage": "record.message",
            "onOpen": "record.open",
            "onClose": "record.close",
        },
    )
    errors: list[str] = []
    with serve_app(shop(config)) as port:
        context = browser.new_context()
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield Visit(page, f"http://127.0.0.1:{port}", usercom, request.param)
        context.close()
    assert errors == []
    store = usercom.store
    assert not [each for each in store.rejected if each.status != 404]
    by_rest = {
        (each.sender, each.path.startswith("/api/public/")) for each in store.journal.exchanges
    }
    assert by_rest <= {("widget", False), ("server", request.param == "rest")}


@pytest.mark.parametrize("title", ROWS)
def test_row_of_the_sdk_table_is_recorded_once_for_one_profile(visit: Visit, title: str) -> None:
    TESTS[title](visit)
