"""One story of the browser, the delivery and the REST client, under both channels."""

from __future__ import annotations

from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from helpers.fake_usercom import FakeUserCom
from helpers.serving import serve_app
from helpers.waiting import until_sync
from playwright.sync_api import Browser, BrowserContext, Page
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from usercom_asgi import UserComConfig, UserComMiddleware, get_visitor
from usercom_asgi.rest import CustomId, UserComRest
from usercom_asgi.rest.models import Line
from usercom_asgi.sandbox.vendor import REST_TOKEN

ALICE: dict[str, Any] = {"user_id": "id-alice", "email": "alice@example.com", "first_name": "Alice"}


def who(connection: HTTPConnection) -> dict[str, Any] | None:
    return ALICE if connection.session.get("user") else None


async def home(request: Request) -> Response:
    forms = "".join(
        f'<form method="post" action="/{name}"><button id="{name}">{name}</button></form>'
        for name in ("look", "login", "buy", "logout")
    )
    return HTMLResponse(f"<html><head></head><body>{forms}</body></html>")


async def look(request: Request) -> Response:
    await get_visitor(request).event("looked", at="a lamp")
    return RedirectResponse("/", 303)


async def login(request: Request) -> Response:
    request.session["user"] = "alice"
    return RedirectResponse("/", 303)


async def buy(request: Request) -> Response:
    visitor = get_visitor(request)
    await visitor.product_event("lamp-1", "purchase", name="Lamp", price=9.5)
    await visitor.update(company={"company_id": "acme", "name": "Acme"})
    await visitor.event("bought")
    return RedirectResponse("/", 303)


async def logout(request: Request) -> Response:
    request.session.clear()
    await get_visitor(request).reset_auth()
    return RedirectResponse("/", 303)


def shop(config: UserComConfig) -> Starlette:
    return Starlette(
        routes=[
            Route("/", home),
            *(
                Route(f"/{each.__name__}", each, methods=["POST"])
                for each in (look, login, buy, logout)
            ),
        ],
        middleware=[
            Middleware(SessionMiddleware, secret_key="a secret of the session"),
            Middleware(UserComMiddleware, config=config, identify=who),
        ],
    )


async def place_order(config: UserComConfig) -> None:
    """Place an order, as a job of the shop does, and twice, as jobs may run."""
    async with UserComRest.from_config(config) as rest:
        for _ in range(2):
            await rest.deals.upsert(
                "order-7",
                name="#7",
                user_custom_id="id-alice",
                lines=[Line(product=CustomId("lamp-1"), quantity=2, value=9.5)],
            )


def key_of(context: BrowserContext) -> str | None:
    return next(
        (str(each["value"]) for each in context.cookies() if each["name"] == "__ca__chat"), None
    )


def click(page: Page, name: str) -> None:
    with page.expect_navigation():
        page.click(f"#{name}")
    page.wait_for_function("window.UE && UE.isReady")


@pytest.mark.parametrize("channel", ["widget", "rest"])
def test_story_half_by_rest_is_one_profile_with_each_thing_once(
    browser: Browser, usercom: FakeUserCom, channel: str
) -> None:
    config = usercom.config(
        rest_token=REST_TOKEN,
        channel=channel,
        secret_keys=("sixteen characters or more",),
        reset_timeout=5,
    )
    store = usercom.store
    with serve_app(shop(config)) as port:
        context = browser.new_context()
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_function("window.UE && UE.isReady")
        until_sync(lambda: key_of(context))
        key = key_of(context)
        assert key is not None
        click(page, "look")
        until_sync(lambda: store.events)
        assert store.events[0].key == key

        click(page, "login")
        until_sync(lambda: store.by_user_id("id-alice"))
        click(page, "buy")
        until_sync(lambda: len(store.events) == 2 and store.users[key].company)
        with start_blocking_portal() as portal:  # Playwright keeps this thread's loop
            portal.call(place_order, config)

        click(page, "logout")
        until_sync(lambda: key_of(context) not in (None, key))
        until_sync(lambda: len(store.users) == 2)
        context.close()

    alice = store.users[key]
    assert store.by_user_id("id-alice") is alice
    assert alice.email == "alice@example.com"
    assert {each.name: each.key for each in store.events} == {"looked": key, "bought": key}
    [purchase] = store.product_events
    assert (purchase.key, purchase.product_id, purchase.event_type) == (key, "lamp-1", "purchase")
    assert [each.custom_id for each in store.products.values()] == ["lamp-1"]
    [company] = store.companies.values()
    assert list(company.members) == [alice.id]
    [deal] = store.deals.values()
    assert (deal.custom_id, deal.user_id) == ("order-7", alice.id)
    [stranger] = [each for each in store.users.values() if each is not alice]
    assert (stranger.user_id, stranger.email) == (None, None)
    assert not [each for each in store.rejected if each.status != 404]
