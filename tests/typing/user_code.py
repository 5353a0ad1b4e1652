# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""Code as users write it, for mypy and pyright; it does not run.

`make lint` checks it with both. A line with `type: ignore` is a mistake that both must
find: an ignore that nothing needs is an error itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_type

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from usercom_asgi import (
    UNKNOWN,
    Command,
    Event,
    EventType,
    MemoryOutbox,
    Outcome,
    PageHit,
    ProductEvent,
    Receipt,
    SqliteOutbox,
    Status,
    UserComClient,
    UserComConfig,
    UserComMiddleware,
    Visitor,
    WidgetState,
    get_delivery,
    get_visitor,
    prepare_snippet,
    usercom_snippet,
)

# Configuration.
config = UserComConfig(
    app="acme",
    api_key="ABC123",
    channel="rest",
    position="head",
    widget_state=WidgetState.HIDDEN,
    callbacks={"onOpen": "shop.chat.opened"},
    secret_keys=("0123456789abcdef",),
)
assert_type(UserComConfig.from_env(), UserComConfig)
assert_type(config.api_key, str)
assert_type(config.rest_token, str | None)
UserComConfig("acme")  # type: ignore[call-arg]
UserComConfig(app="acme", api_key=5)  # type: ignore[arg-type]
UserComConfig(app="acme", api_key="ABC123", channel="email")  # type: ignore[arg-type]
UserComConfig(app="acme", api_key="ABC123", unknown_name="head")  # type: ignore[call-arg]
config.strict = True  # type: ignore[misc]


# Hooks: plain and coroutine functions.
async def identify(connection: HTTPConnection) -> dict[str, Any] | None:
    return {"user_id": connection.session["user"]}


def identify_or_unknown(connection: HTTPConnection) -> Any:
    return UNKNOWN


def consent(connection: HTTPConnection) -> bool:
    return connection.cookies.get("consent") == "yes"


async def nonce(connection: HTTPConnection) -> str | None:
    return None


def on_dead(outcome: Outcome) -> None:
    assert_type(outcome.status, Status)
    assert_type(outcome.http_status, int | None)
    assert_type(outcome.command, Command)


def takes_no_connection() -> bool:
    return True


def gives_a_number(connection: HTTPConnection) -> int:
    return 1


app = Starlette()
UserComMiddleware(
    app,
    config,
    identify=identify,
    consent=consent,
    nonce=nonce,
    should_inject=lambda connection: None,
    outbox=SqliteOutbox("var/usercom.db"),
    on_dead=on_dead,
)
UserComMiddleware(app, identify=identify_or_unknown, outbox=MemoryOutbox())
UserComMiddleware(app, consent=takes_no_connection)  # type: ignore[arg-type]
UserComMiddleware(app, nonce=gives_a_number)  # type: ignore[arg-type]
UserComMiddleware(app, {"app": "acme"})  # type: ignore[arg-type]
UserComMiddleware(app, on_dead=takes_no_connection)  # type: ignore[arg-type]
Starlette(middleware=[Middleware(UserComMiddleware, config, identify=identify)])


# Helpers.
async def buy(request: Request) -> Response:
    visitor = get_visitor(request)
    assert_type(visitor, Visitor)
    assert_type(visitor.key, str | None)
    assert_type(visitor.user_id, str | None)
    assert_type(visitor.is_identified, bool)
    visitor.identify(user_id="42", email="ann@example.com", plan="gold")
    receipt = await visitor.event("bought", {"article": "boots"}, size=42)
    assert_type(receipt, Receipt)
    assert_type(receipt.status, Status)
    assert_type(await receipt.delivered(), bool)
    assert_type(await visitor.product_event("sku-1", "purchase", price=19.9), Receipt)
    await visitor.product_event("sku-1", EventType.ADD_TO_CART)
    await visitor.product_event("sku-1", "steal")  # type: ignore[arg-type]
    assert_type(await visitor.page_hit(event=Event("opened")), Receipt)
    assert_type(await visitor.update(plan="gold"), Receipt)
    assert_type(await visitor.reset_auth(), Receipt)
    await visitor.event(5)  # type: ignore[arg-type]
    await visitor.page_hit(event="opened")  # type: ignore[arg-type]
    await visitor.purchase()  # type: ignore[attr-defined]
    visitor.key = "abc"  # type: ignore[misc]
    visitor.widget_state = WidgetState.EXPANDED
    visitor.browser.open()
    await prepare_snippet(request)
    assert_type(usercom_snippet(request, nonce="r4nd0m"), str)
    get_visitor("request")  # type: ignore[arg-type]
    return Response()


def plain_handler(request: Request) -> Response:
    assert_type(get_visitor(request).sync.event("bought"), Receipt)
    return Response()


async def health(request: Request) -> Response:
    delivery = get_delivery(request)
    assert_type(delivery.stats.delivered, int)
    assert_type(delivery.readiness().state, str)
    assert_type(delivery.dead_letters, Sequence[Outcome])
    assert_type(await delivery.flush(timeout=1.0), bool)
    return JSONResponse({"accepting": delivery.readiness().is_accepting})


# Commands, and the client of jobs.
async def job() -> None:
    async with UserComClient(config, on_delivered=on_dead) as client:
        assert_type(client, UserComClient)
        event = Event("renewed", {"plan": "gold"})
        assert_type(event.name, str)
        assert_type(event.data, Mapping[str, object])
        assert_type(await client.send(event, user_id=7), Receipt)
        await client.send(ProductEvent("sku-1", EventType.ORDER), email="ann@example.com")
        await client.send(PageHit("https://shop.example.com/"), key="abc123")
        await client.send("renewed", user_id=7)  # type: ignore[arg-type]
        await client.visitor(user_id=7).event("renewed")
        client.visitor(user_id=[7])  # type: ignore[arg-type]
        assert_type(client.stats.accepted, int)


def script() -> None:
    with UserComClient(config) as client:
        assert_type(client.visitor(user_id=7).sync.event("renewed"), Receipt)
