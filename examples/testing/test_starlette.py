from __future__ import annotations

from starlette.testclient import TestClient

from examples.testing.shop import app
from usercom_asgi.testing import Captured, capture


def test_purchase(usercom: Captured) -> None:
    TestClient(app).post("/buy")
    usercom.assert_event("purchase", product="cup")


def test_purchase_of_one_application() -> None:
    with capture(app) as captured:
        TestClient(app).post("/buy")
    [purchase] = captured.events("purchase")
    assert purchase.data == {"product": "cup", "total": 19.90}
    assert purchase.url == "http://testserver/buy"


def test_assertion_inside_of_the_lifespan(usercom: Captured) -> None:
    with TestClient(app) as client:
        client.post("/buy")
        usercom.assert_event("purchase")


def test_first_visit_is_skipped(usercom: Captured) -> None:
    usercom.key = None
    TestClient(app).post("/buy")
    usercom.assert_nothing()
    [skipped] = usercom.skipped
    assert "no user key" in skipped.reason


def test_login_and_logout(usercom: Captured) -> None:
    client = TestClient(app)
    client.post("/login")
    client.post("/buy")
    assert usercom.assert_event("purchase").user_id == "7"
    client.post("/logout")
    new_key = usercom.assert_reset().receipt.key
    assert client.cookies["__ca__chat"] == new_key
    usercom.clear()
    client.post("/buy")
    assert usercom.assert_event("purchase").user_id is None


def test_page_names_the_user(usercom: Captured) -> None:
    TestClient(app, cookies={"session": "7"}).get("/")
    [page] = usercom.pages
    assert page.has_snippet, page.skip_reason
    assert page.identity == {"user_id": "7"}


def test_websocket(usercom: Captured) -> None:
    with TestClient(app).websocket_connect("/chat") as websocket:
        assert websocket.receive_text() == "Hello"
    usercom.assert_event("chat opened")
