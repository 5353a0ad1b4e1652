"""Takes the pictures of docs/tutorial/ anew, from its own shop and sandbox, with Chromium.

``make pictures``. The dashboard and the widget are the real ones, so the pictures show what a
reader sees.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from helpers.chromium import chromium
from helpers.documents import DOCS, blocks_of

from usercom_asgi.sandbox import Sandbox, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

IMAGES = DOCS / "images"
SHOP = "http://127.0.0.1:8000"


@contextmanager
def shop_of(page: str) -> Iterator[None]:
    """Serve the application of a page's last shop.py, at the port that the page names."""
    source = [each.code for each in blocks_of(DOCS / page) if each.file == "shop.py"][-1]
    names: dict[str, Any] = {"__name__": "shop"}
    exec(source, names)
    server = uvicorn.Server(uvicorn.Config(names["app"], port=8000, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield
    server.should_exit = True
    thread.join()


def save(page: Page, name: str) -> None:
    """Take a picture when nothing moves any more."""
    page.wait_for_timeout(1500)
    page.screenshot(path=IMAGES / f"tutorial-{name}.png")


def main() -> None:
    """Follow the tutorial, and take a picture where it shows one."""
    with serve(Sandbox(api_key="ABC123"), port=8900) as server, chromium() as browser:
        dashboard = browser.new_page(viewport={"width": 1280, "height": 620})
        dashboard.goto(server.url)
        save(dashboard, "empty")
        shopper = browser.new_page(viewport={"width": 800, "height": 500})
        with shop_of("tutorial/purchase.md"):
            shopper.goto(SHOP)
            save(shopper, "shop")
            shopper.click("text=Buy")
            save(dashboard, "purchase")
        with shop_of("tutorial/login.md"):
            shopper.goto(SHOP)
            for step in ("login", "Buy", "logout", "Buy"):
                shopper.wait_for_timeout(800)
                shopper.click(f"button:text-is('{step}')")
            save(dashboard, "login")


if __name__ == "__main__":
    main()
