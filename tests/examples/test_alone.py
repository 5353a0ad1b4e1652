"""Each example alone, with `uvicorn MODULE:app` and settings from the environment."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
from helpers.waiting import until_sync

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from helpers.fake_usercom import FakeUserCom

    Start = Callable[..., Any]

EXAMPLES = ["examples.starlette_shop", "examples.fastapi_app"]


def serve(start: Start, module: str, **environ: str) -> tuple[Any, str]:
    program = start("uvicorn", f"{module}:app", "--port", "0", **environ)
    return program, program.wait_for(r"running on (http://127\.0\.0\.1:[0-9]+)")[1]


def settings(usercom: FakeUserCom) -> dict[str, str]:
    return {"USERCOM_BASE_URL": usercom.url, "USERCOM_API_KEY": "ABC123"}


@pytest.mark.parametrize("module", EXAMPLES)
def test_example_without_settings_uses_the_sandbox(
    module: str, start: Start, client: httpx.Client
) -> None:
    program, url = serve(start, module)
    page = client.get(url)
    assert page.status_code == 200
    assert page.text.count('window.civchat = {"apiKey":"ABC123"};') == 1
    assert page.text.count('src="http://127.0.0.1:8900/widget.js"></script></body>') == 1
    assert (
        program.output.count("No USERCOM_* settings, using the sandbox at http://127.0.0.1:8900")
        == 1
    )
    assert program.stop(signal.SIGTERM) in (0, -signal.SIGTERM)
    assert "Traceback" not in program.output


def test_shop_stopped_after_a_purchase_delivers_the_purchase(
    start: Start, client: httpx.Client, usercom: FakeUserCom
) -> None:
    program, url = serve(start, "examples.starlette_shop", **settings(usercom))
    client.cookies.set("__ca__chat", usercom.new_user(), domain="127.0.0.1")
    client.post(f"{url}/login/bob")
    usercom.faults.latency(0.2)
    assert "Thank you, Bob" in client.post(f"{url}/buy/cup").text
    program.stop(signal.SIGTERM)
    assert [each.name for each in usercom.store.events] == ["login", "purchase"], program.output
    assert [each.data["custom_data"] for each in usercom.store.product_events] == [
        {"quantity": 1, "glaze": "Terracotta"}
    ]
    assert "Traceback" not in program.output


def test_shop_login_of_another_person_drops_the_key_of_the_last_one(
    start: Start, client: httpx.Client, usercom: FakeUserCom
) -> None:
    _, url = serve(start, "examples.starlette_shop", **settings(usercom))
    key = usercom.new_user()
    client.cookies.set("__ca__chat", key, domain="127.0.0.1")
    client.post(f"{url}/login/alice")
    page = client.post(f"{url}/login/bob").text
    assert "Bob Lindqvist" in page
    assert "Alice" not in page
    assert (
        client.cookies.get("__ca__chat") != key
    )  # the new visitor's, or none if its answer was late
    assert client.post(f"{url}/login/mallory").status_code == 404
    assert client.get(f"{url}/products/%3Cscript%3E").status_code == 404


def test_box_office_stopped_during_a_background_purchase_delivers_the_purchase(
    start: Start, client: httpx.Client, usercom: FakeUserCom
) -> None:
    program, url = serve(start, "examples.fastapi_app", **settings(usercom))
    client.cookies.set("__ca__chat", usercom.new_user(), domain="127.0.0.1")
    assert "Carol is logged in" in client.post(f"{url}/login").text
    assert client.get(f"{url}/api/seats").json() == {"seats": 42}
    assert "Your ticket is being printed" in client.post(f"{url}/tickets").text
    program.stop(signal.SIGTERM)  # the card is still being charged
    assert [each.name for each in usercom.store.events] == [
        "login",
        "seats_checked",
        "ticket_bought",
    ], program.output
    assert [each.event_type for each in usercom.store.product_events] == ["purchase"]
    assert "Traceback" not in program.output


def test_box_office_logout_drops_the_key_and_the_personal_data(
    start: Start, client: httpx.Client, usercom: FakeUserCom
) -> None:
    _, url = serve(start, "examples.fastapi_app", **settings(usercom))
    key = usercom.new_user()
    client.cookies.set("__ca__chat", key, domain="127.0.0.1")
    client.post(f"{url}/login")
    page = client.post(f"{url}/logout").text
    assert "Nobody is logged in" in page
    assert "carol@example.com" not in page
    assert (
        client.cookies.get("__ca__chat") != key
    )  # the new visitor's, or none if its answer was late
    until_sync(lambda: len(usercom.store.users) == 2)
