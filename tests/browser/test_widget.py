"""The widget's state and callbacks, as a browser sees them."""

from __future__ import annotations

import pytest
from helpers.fake_usercom import CONFIG, FakeUserCom
from helpers.serving import serve_app
from playwright.sync_api import Browser, expect
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from usercom_asgi import InvalidCommand, UserComMiddleware, WidgetState, get_visitor

# Defined after the snippet has run, as a deferred script of the page would.
FUNCTIONS = """<script>window.calls = [];
addEventListener("DOMContentLoaded", function () {
  window.shop = {name: "shop", chat: {opened: function () { calls.push(["opened", this === shop.chat]) }}};
  window.loaded = function () { calls.push(["loaded"]) };
  window.message = function (m) { calls.push(["message", m.content, m.isAdmin]) };
  window.payload = function (text) { calls.push(["payload", text]) };
});</script>"""


async def home(request: Request) -> HTMLResponse:
    visitor = get_visitor(request)
    visitor.widget_state = request.query_params.get("widget")
    return HTMLResponse(f"<html><head>{FUNCTIONS}</head><body>hello</body></html>")


def test_widget_state_and_callbacks_of_the_config_are_applied(
    browser: Browser, usercom: FakeUserCom
) -> None:
    config = usercom.config(
        widget_state="simple",
        callbacks={
            "onLoad": "loaded", "onOpen": "shop.chat.opened", "onClose": "not.there", "onMessage": "message",
            "onPayloadReceived": "payload",
        },
    )  # fmt: skip
    with serve_app(
        Starlette(
            routes=[Route("/", home)], middleware=[Middleware(UserComMiddleware, config=config)]
        )
    ) as port:
        context = browser.new_context()
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))

        def visit(query: str = "") -> None:
            page.goto(f"http://127.0.0.1:{port}/{query}")
            page.wait_for_function("window.UE && UE.isReady", timeout=30_000)

        visit()
        assert page.locator(".greeting").is_hidden()
        expect(page.locator(".launcher")).to_be_visible()
        assert page.evaluate("calls") == [["loaded"]]
        page.evaluate("userengage('widget.open')")
        page.fill("#__ue_widget_mount input", "hi")
        page.press("#__ue_widget_mount input", "Enter")
        page.wait_for_function("calls.length >= 4")
        page.evaluate("UE.__internal.receivePayload('alert(1)')")
        page.evaluate("userengage('widget.close')")
        calls = page.evaluate("calls")
        assert calls[1] == ["opened", True]
        assert calls[2] == ["message", "hi", False]
        assert (calls[3][0], calls[3][2]) == ("message", True)
        assert calls[4] == ["payload", "alert(1)"]

        visit("?widget=standard")
        assert page.locator(".greeting").is_hidden()  # the chat was opened in this visit
        page.evaluate("sessionStorage.clear()")
        visit("?widget=standard")
        expect(page.locator(".greeting")).to_be_visible()
        visit("?widget=hidden")
        assert page.locator(".launcher").is_hidden()
        visit("?widget=expanded")
        expect(page.locator(".panel")).to_be_visible()
        assert errors == []
        context.close()


def test_widget_state_that_does_not_exist_raises_invalid_command() -> None:
    from helpers.asgi_client import http_scope

    from usercom_asgi.visitor.consent import NoDelivery
    from usercom_asgi.visitor.session import VisitorSession
    from usercom_asgi.visitor.visitor import Visitor

    visitor = Visitor(VisitorSession(http_scope(), NoDelivery(), CONFIG))
    visitor.widget_state = WidgetState.HIDDEN
    assert visitor.widget_state == "hidden"
    with pytest.raises(InvalidCommand, match="expanded"):
        visitor.widget_state = "open"
