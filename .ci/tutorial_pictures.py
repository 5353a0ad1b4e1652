"""Takes the pictures of docs/tutorial/ anew, from its own shop and sandbox, with Chromium.

``make pictures``. The dashboard and the widget are the real ones, so the pictures show what a
reader sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from helpers.chromium import chromium
from helpers.documents import DOCS, blocks_of
from helpers.serving import serve_app

from usercom_asgi.sandbox import Sandbox, serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGES = DOCS / "images"
SANDBOX = "http://127.0.0.1:8900"
WIDE = {"width": 1280, "height": 620}


def shop_of(page: str, sandbox: str) -> Any:
    """Return the application of a page's last shop.py."""
    source = [each.code for each in blocks_of(DOCS / page) if each.file == "shop.py"][-1]
    names: dict[str, Any] = {"__name__": "shop"}
    exec(source.replace(SANDBOX, sandbox), names)
    return names["app"]


def save(page: Page, name: str) -> None:
    """Take a picture when nothing moves any more."""
    page.wait_for_timeout(1500)
    page.screenshot(path=IMAGES / f"tutorial-{name}.png")


def main() -> None:
    """Follow the tutorial, and take a picture where it shows one."""
    with serve(Sandbox(api_key="ABC123")) as server, chromium() as browser:
        dashboard = browser.new_page(viewport=WIDE)
        dashboard.goto(server.url)
        save(dashboard, "empty")
        shopper = browser.new_page(viewport={"width": 800, "height": 500})
        with serve_app(shop_of("tutorial/purchase.md", server.url)) as port:
            shopper.goto(f"http://127.0.0.1:{port}")
            save(shopper, "shop")
            shopper.click("text=Buy")
            save(dashboard, "purchase")
        with serve_app(shop_of("tutorial/login.md", server.url)) as port:
            shopper.goto(f"http://127.0.0.1:{port}")
            for step in ("login", "Buy", "logout", "Buy"):
                shopper.wait_for_timeout(800)
                shopper.click(f"button:text-is('{step}')")
            save(dashboard, "login")


if __name__ == "__main__":
    main()
