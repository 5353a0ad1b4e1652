"""The snippet as it stands in production: the widget comes from https://acme.user.com."""

from __future__ import annotations

import pytest
from helpers.chromium import chromium
from helpers.serving import certificate, serve_app

from usercom_asgi import UserComConfig
from usercom_asgi.sandbox import Sandbox, serve

from .shop import shop


def test_snippet_with_the_production_host_loads_the_widget_and_sets_the_key(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """`app="acme"`: the widget comes from https://acme.user.com, finds its host by its own address, and pings it."""
    cert, key = certificate(tmp_path_factory.mktemp("tls"), "acme.user.com")
    sandbox = Sandbox(api_key="ABC123")
    with serve(
        sandbox, ssl_certfile=cert, ssl_keyfile=key, allowed_hosts=["acme.user.com"]
    ) as server:
        port = server.url.rsplit(":", 1)[1]
        with (
            chromium(f"MAP acme.user.com 127.0.0.1:{port}") as browser,
            serve_app(shop(UserComConfig(app="acme", api_key="ABC123"))) as shop_port,
        ):
            context = browser.new_context(ignore_https_errors=True)
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{shop_port}/")
            page.wait_for_function("window.UE && UE.isReady", timeout=30_000)
            assert (
                page.locator("script[src]").get_attribute("src")
                == "https://acme.user.com/widget.js"
            )
            [user] = sandbox.store.users
            assert [c["value"] for c in context.cookies() if c["name"] == "__ca__chat"] == [user]
