"""`usercom-asgi demo`: clicked through without a browser, and ended with Ctrl-C."""

from __future__ import annotations

import re
import signal
import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from helpers.waiting import until_sync

if TYPE_CHECKING:
    from collections.abc import Callable

    Start = Callable[..., Any]

_PATIENCE = 120.0


def addresses(demo: Any) -> tuple[str, str]:
    demo.wait_for("Ctrl-C")
    shop, sandbox = re.findall(r"http://127\.0\.0\.1:[0-9]+", demo.output)
    return shop, sandbox


class SandboxState:
    """What the demo's sandbox has received: its export, by kind."""

    def __init__(self, url: str, client: httpx.Client) -> None:
        self._url = url
        self._client = client

    def look(self) -> Any:
        export = self._client.get(f"{self._url}/sandbox/export").json()
        kinds = ("event", "product", "reset", "refused")
        by_kind = {k: [each for each in export["entries"] if each["kind"] == k] for k in kinds}
        return {"users": export["visitors"], **by_kind}

    def wait(self, condition: Callable[[Any], bool]) -> Any:
        until_sync(lambda: condition(self.look()), within=_PATIENCE)
        return self.look()

    def new_visitor(self) -> str:
        """Send the first ping of the widget in place of a browser; return the cookie's key."""
        body = {"apiKey": "ABC123", "timezone": "Europe/Warsaw", "resolution": "1x1"}
        return str(
            self._client.post(f"{self._url}/api/v2/user-chatping/", json=body).json()["user"]["key"]
        )


def test_demo_shopping_session_is_recorded_by_the_sandbox(
    start: Start, client: httpx.Client
) -> None:
    demo = start("usercom_asgi.cli", "demo", "--port", "0", "--sandbox-port", "0")
    shop, sandbox_url = addresses(demo)
    with httpx.Client(trust_env=False, timeout=_PATIENCE) as other:
        sandbox = SandboxState(sandbox_url, other)

        home = client.get(shop).text
        assert f'src="{sandbox_url}/widget.js"' in home
        assert "alice@example.com" not in home
        anonymous = sandbox.new_visitor()
        client.cookies.set("__ca__chat", anonymous, domain="127.0.0.1")

        page = client.post(f"{shop}/login/alice").text
        assert "Alice Novak" in page
        assert '"user_id":"1001"' in page
        client.get(f"{shop}/products/vase")
        page = client.post(f"{shop}/buy/vase").text
        assert "Thank you, Alice" in page

        told = sandbox.wait(lambda told: len(told["product"]) == 2)
        assert [each["what"] for each in told["event"]] == ["login", "purchase"]
        assert told["event"][1]["data"] == {"sku": "vase", "revenue": 46, "currency": "EUR"}
        products = [each["what"].partition(":")[0] for each in told["product"]]
        assert products == ["detail", "purchase"]
        assert {each["key"] for each in told["event"] + told["product"]} == {anonymous}
        (alice,) = told["users"]
        assert (
            alice["attributes"].items() >= {"user_id": "1001", "email": "alice@example.com"}.items()
        )
        assert alice["attributes"]["customer_since"] == "2023-04-12"

        page = client.post(f"{shop}/logout").text
        assert "Log in as" in page
        assert "Alice" not in page.partition("</header>")[2]
        told = sandbox.wait(lambda told: len(told["users"]) == 2)
        assert len(told["reset"]) == 1
        assert told["refused"] == []

    assert demo.stop(signal.SIGINT) == 0, demo.output
    assert "Traceback" not in demo.output
    assert demo.output.count("\n") == 7, (
        demo.output
    )  # the two addresses, the hint, and not a word at the end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_with_taken_ports_uses_others_and_prints_a_notice(
    start: Start, number: signal.Signals, client: httpx.Client
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        taken = [str(each.getsockname()[1]) for each in (one, other)]
        demo = start("usercom_asgi.cli", "demo", "--port", taken[0], "--sandbox-port", taken[1])
        shop, sandbox = addresses(demo)
        assert not {shop.rpartition(":")[2], sandbox.rpartition(":")[2]} & set(taken)
        for each in taken:
            assert f"Port {each} is not available" in demo.output
        assert "Tern" in client.get(shop).text
        assert demo.stop(number) == 0, demo.output
        assert "Traceback" not in demo.output
