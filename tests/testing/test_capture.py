"""What a capture records, of which requests, and what it leaves alone."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from helpers.asgi_client import lifespan
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from testing.shop import NOWHERE, buy, make_shop
from usercom_asgi import UserComClient, UserComConfig, UserComMiddleware
from usercom_asgi.middleware.delivery_provider import DeliveryProvider
from usercom_asgi.testing import capture

REST = UserComConfig.sandbox(NOWHERE, rest_token="a-secret-token")


def test_capture_records_a_request_without_lifespan(app: Starlette) -> None:
    with capture(app) as captured:
        response = TestClient(app).post("/buy")
    assert response.json() == {"status": "delivered", "is_final": True}
    [purchase] = captured.events("purchase")
    assert purchase.data == {"product": "cup", "total": 19.9}
    assert (purchase.key, purchase.url) == (captured.key, "http://testserver/buy")


def test_capture_inside_of_a_lifespan_records_without_a_race(app: Starlette) -> None:
    with capture(app) as captured, TestClient(app) as client:
        for number in range(1, 20):
            client.post("/buy")
            assert len(captured.commands) == number


def test_capture_within_a_running_lifespan_records(app: Starlette) -> None:
    with TestClient(app) as client, capture(app) as captured:
        client.post("/buy")
        captured.assert_event("purchase")
        counted = client.get("/counts").json()
    assert counted == {"delivered": 1, "state": "sending", "is_flushed": True}


def test_capture_runs_the_lifespan_of_the_application_and_starts_no_delivery() -> None:
    ran = []

    @asynccontextmanager
    async def run(app: object) -> AsyncIterator[None]:
        ran.append("start")
        yield
        ran.append("end")

    app = Starlette(lifespan=run)
    app.add_middleware(UserComMiddleware, config=UserComConfig.sandbox(NOWHERE))
    with capture(app), TestClient(app):
        assert ran == ["start"]
    assert ran == ["start", "end"]


async def test_capture_works_with_an_async_client(app: Starlette) -> None:
    transport = httpx.ASGITransport(app)
    with capture(app) as captured:
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
            await client.post("/buy")
            captured.assert_event("purchase", total=19.9)
            await client.get("/later")
            captured.assert_event("shipped")
            await client.get("/renew")
            captured.assert_event("renewed", plan="gold")


async def test_capture_works_inside_of_a_lifespan_in_the_same_loop(app: Starlette) -> None:
    with capture(app) as captured:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(lifespan(app))
            client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a.test")
            await stack.enter_async_context(client)
            await client.post("/buy")
            captured.assert_event("purchase")


def test_capture_of_a_thread_a_background_task_and_a_websocket_records(app: Starlette) -> None:
    with capture(app) as captured:
        client = TestClient(app)
        client.get("/renew")
        client.get("/later")
        with client.websocket_connect("/feed") as feed:
            assert feed.receive_text() == "joined"
            captured.assert_event("joined")
            feed.send_text("bye")
    assert [each.name for each in captured.events()] == ["renewed", "shipped", "joined"]


def test_capture_records_each_kind_of_command(app: Starlette) -> None:
    with capture(app) as captured:
        client = TestClient(app)
        for path in ("/cart", "/hit", "/profile", "/chat"):
            client.get(path)
    [added] = captured.product_events("add to cart")
    assert added.data == {"product_id": "sku-1", "event_type": "add to cart", "price": 5}
    assert captured.product_events("purchase") == []
    [hit] = captured.page_hits
    assert hit.data == {"plan": "gold"}
    assert captured.assert_event("login", method="form").key == captured.key
    [update] = captured.updates
    assert update.data == {"first_name": "Ada"}
    [opened] = captured.browser_commands
    assert (opened.function, opened.arguments) == ("userengage", ("widget.open",))
    assert [type(each.command).__name__ for each in captured.commands] == [
        "ProductEvent",
        "PageHit",
        "Update",
    ]


def test_capture_records_pages_with_the_identity_that_they_name(app: Starlette) -> None:
    with capture(app) as captured:
        client = TestClient(app)
        client.get("/?user=7")
        client.get("/broken")
        client.get("/", headers={"HX-Request": "true"})
        client.get("/chat")
        client.post("/buy")
    home, broken, part, chat = captured.pages
    assert (home.path, home.status, home.has_snippet) == ("/", 200, True)
    assert home.identity == {"user_id": "7"}
    assert not broken.has_snippet
    assert broken.skip_reason
    assert "htmx" in part.skip_reason
    assert chat.calls == tuple(captured.browser_commands)


def test_capture_of_a_reset_names_a_new_key_to_the_browser(app: Starlette) -> None:
    with capture(app) as captured:
        client = TestClient(app)
        client.post("/logout")
        client.post("/buy")
    [reset] = captured.resets
    [after, purchase] = captured.events()
    assert reset.receipt.key == client.cookies["__ca__chat"] == after.key == purchase.key
    assert reset.receipt.key != captured.key
    assert captured.pages[0].has_snippet


def test_capture_of_a_reset_in_the_rest_channel_leaves_it_to_the_widget() -> None:
    app = make_shop(REST)
    with capture(app) as captured:
        TestClient(app).post("/logout", follow_redirects=False)
    reset = captured.assert_reset()
    assert reset.by_widget
    assert reset.receipt.status == "skipped"


def test_capture_of_a_reset_in_a_page_that_stays_records_it_and_what_follows(
    app: Starlette,
) -> None:
    with capture(app) as captured:
        TestClient(app).post("/logout", headers={"HX-Request": "true"}, follow_redirects=False)
    assert captured.assert_reset().by_widget
    assert captured.assert_event("logged out").by_widget
    assert [each.function for each in captured.browser_commands] == ["UE.resetAuth", "userengage"]


def test_capture_with_a_created_visitor_sets_its_cookie() -> None:
    app = make_shop(UserComConfig.sandbox(NOWHERE, anonymous="create"))
    with capture(app, key=None) as captured:
        client = TestClient(app)
        client.get("/hit")
        client.post("/buy")
    assert captured.page_hits[0].key is None
    assert captured.events("purchase")[0].key == client.cookies["__ca__chat"]


def test_capture_of_a_first_visit_skips_with_the_reason(app: Starlette) -> None:
    with capture(app, key=None) as captured:
        TestClient(app).post("/buy")
    assert captured.commands == []
    [skipped] = captured.skipped
    assert skipped.name == "purchase"
    assert "no user key" in skipped.reason


def test_capture_without_consent_skips_commands_and_pages() -> None:
    app = make_shop(consent=lambda connection: False)
    with capture(app) as captured:
        client = TestClient(app)
        client.post("/buy")
        client.get("/")
    captured.assert_nothing()
    assert [each.reason for each in captured.skipped] == ["the visitor has not consented"]
    assert [each.skip_reason for each in captured.pages] == ["the visitor has not consented"]


def test_capture_keeps_the_key_of_the_browser(app: Starlette) -> None:
    with capture(app) as captured:
        client = TestClient(app, cookies={"__ca__chat": "abc123"})
        client.post("/buy")
    assert captured.events()[0].key == "abc123"


def test_capture_gives_a_key_beside_the_cookies_of_the_application() -> None:
    def identify(connection: HTTPConnection) -> dict[str, str]:
        assert connection.cookies == {"session": "7", "__ca__chat": "abc123"}
        return {"user_id": connection.cookies["session"]}

    app = make_shop(identify=identify)
    with capture(app, key="abc123") as captured:
        TestClient(app, cookies={"session": "7"}).post("/buy")
    purchase = captured.assert_event("purchase")
    assert (purchase.user_id, purchase.key) == ("7", "abc123")


def test_capture_records_the_login_by_a_hook() -> None:
    app = make_shop(identify=lambda connection: {"user_id": 7})
    with capture(app) as captured:
        TestClient(app).post("/buy")
    assert captured.assert_event("purchase").user_id == "7"


def test_clear_forgets_what_was_recorded(app: Starlette) -> None:
    with capture(app) as captured:
        client = TestClient(app)
        client.post("/buy")
        client.get("/chat")
        captured.clear()
        captured.assert_nothing()
        assert captured.pages == []
        client.get("/chat")
    assert len(captured.browser_commands) == 1


def test_clear_separates_a_second_logout_from_a_double_click(app: Starlette) -> None:
    def log_out() -> None:
        cookies = {"session": "7", "__ca__chat": "abc123"}
        TestClient(app, cookies=cookies).post("/logout", follow_redirects=False)

    with capture(app) as captured:
        log_out()
        log_out()
        assert len(captured.resets) == 1
        captured.clear()
        log_out()
        captured.assert_reset()


def test_nested_captures_record_in_the_innermost_that_covers(app: Starlette) -> None:
    other = make_shop()
    with capture() as all_of_them, capture(app) as inner:
        TestClient(app).post("/buy")
        TestClient(other).get("/cart")
    assert [each.name for each in inner.commands] == ["purchase"]
    all_of_them.assert_product_event("sku-1", "add to cart")
    assert len(all_of_them.commands) == 1


def counted_in_threads(app: Starlette) -> dict[int, int]:
    """Send 1, 2, 3 and 4 commands in threads, and count them in the capture of each."""
    counted: dict[int, int] = {}
    barrier = threading.Barrier(4, timeout=10)

    def work(number: int) -> None:
        with capture(app) as captured:
            barrier.wait()
            for _ in range(number):
                TestClient(app).post("/buy")
            barrier.wait()
            counted[number] = len(captured.commands)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    return counted


def test_captures_in_parallel_threads_record_their_own_requests(app: Starlette) -> None:
    assert counted_in_threads(app) == {1: 1, 2: 2, 3: 3, 4: 4}


def test_captures_that_begin_while_the_middlewares_are_built_record_their_own_requests(
    app: Starlette,
) -> None:
    class Slow:
        def __init__(self, app: ASGIApp) -> None:
            time.sleep(0.05)
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self.app(scope, receive, send)

    app.add_middleware(Slow)
    assert counted_in_threads(app) == {1: 1, 2: 2, 3: 3, 4: 4}


def test_capture_from_another_context_records_in_the_newest(app: Starlette) -> None:
    """A thread of a server has not inherited the context of the test."""
    with capture() as captured:
        thread = threading.Thread(target=lambda: TestClient(app).post("/buy"))
        thread.start()
        thread.join(10)
    captured.assert_event("purchase")


def test_capture_that_has_ended_restores_the_library(app: Starlette) -> None:
    before = dict(vars(DeliveryProvider)), dict(vars(UserComClient))
    with capture(), capture(app):
        assert dict(vars(DeliveryProvider)) != before[0]
    assert (dict(vars(DeliveryProvider)), dict(vars(UserComClient))) == before


def test_capture_with_an_error_in_the_block_restores_the_library() -> None:
    before = dict(vars(DeliveryProvider))
    with pytest.raises(ZeroDivisionError), capture():
        raise ZeroDivisionError
    assert dict(vars(DeliveryProvider)) == before


def test_capture_with_a_malformed_key_raises() -> None:
    with pytest.raises(ValueError, match="user key"), capture(key="not a key"):
        pass


async def test_capture_of_a_client_records_its_jobs() -> None:
    client = UserComClient(UserComConfig.sandbox(NOWHERE))
    with capture(client) as captured:
        async with client:
            receipt = await client.visitor(user_id=7).event("renewed", plan="gold")
            assert await receipt.delivered()
            await client.visitor(email="ada@shop.example").update(plan="gold")
        assert client.stats.delivered == 2
    event = captured.assert_event("renewed", plan="gold")
    assert (event.user_id, event.key) == ("7", None)
    assert captured.assert_update(plan="gold").email == "ada@shop.example"


async def test_capture_of_a_client_that_runs_already_records() -> None:
    client = UserComClient(UserComConfig.sandbox(NOWHERE))
    async with client:
        with capture() as captured:
            await client.visitor(key="abc").event("renewed")
        captured.assert_event("renewed")


async def test_capture_of_a_client_that_is_not_entered_records() -> None:
    client = UserComClient(UserComConfig.sandbox(NOWHERE))
    with capture(client) as captured:
        await client.visitor(key="abc").event("renewed")
    captured.assert_event("renewed")
    with pytest.raises(RuntimeError, match="not running"):
        await client.visitor(key="abc").event("renewed")


async def test_capture_of_an_application_covers_its_client() -> None:
    client = UserComClient(UserComConfig.sandbox(NOWHERE))
    app = UserComMiddleware(Starlette(), client=client)
    with capture(app) as captured:
        await client.visitor(user_id=7).event("renewed")
    captured.assert_event("renewed")


def test_capture_of_a_client_covers_the_requests_of_its_middleware() -> None:
    client = UserComClient(UserComConfig.sandbox(NOWHERE))
    app = UserComMiddleware(Starlette(routes=[Route("/buy", buy)]), client=client)
    with capture(client) as captured:
        TestClient(app, cookies={"__ca__chat": "abc123"}).get("/buy")
    captured.assert_event("purchase")


def test_capture_of_a_script_records_its_plain_calls() -> None:
    with (
        capture() as captured,
        UserComClient(UserComConfig.sandbox(NOWHERE)) as client,
    ):
        client.visitor(user_id=7).sync.event("renewed")
    captured.assert_event("renewed")


async def test_capture_of_a_disabled_client_names_the_switch() -> None:
    client = UserComClient(UserComConfig(enabled=False))
    with capture() as captured:
        await client.visitor(user_id=7).event("renewed")
    with pytest.raises(AssertionError, match="USERCOM_ENABLED=0"):
        captured.assert_event("renewed")


def test_capture_of_a_disabled_middleware_fails_each_assertion_with_the_remedy() -> None:
    app = make_shop(UserComConfig(enabled=False))
    with capture() as captured:
        TestClient(app).post("/buy")
    with pytest.raises(AssertionError, match=r"remedy: .*UserComConfig\.sandbox"):
        captured.assert_nothing()
