"""The tutorial as its reader follows it: its files, its commands, in processes of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from helpers.documents import DOCS, blocks_of, write_files
from helpers.waiting import until_sync

if TYPE_CHECKING:
    Start = Callable[..., Any]

pytest.importorskip("fastapi")
SANDBOX = "http://127.0.0.1:8900"


def follow(page: str, folder: Path, sandbox: str, start: Start) -> str:
    """Save the files of a page and run its server; return the shop's address.

    Only the ports differ from what the reader types: others may be in use here.
    """
    blocks = blocks_of(DOCS / page)
    write_files(blocks, folder)
    shop = folder / "shop.py"
    assert SANDBOX in shop.read_text()
    shop.write_text(shop.read_text().replace(SANDBOX, sandbox))
    assert "uvicorn shop:app\n" in [each.code for each in blocks if each.language == "sh"]
    server = start("uvicorn", "shop:app", "--app-dir", str(folder), "--port", "0")
    return str(server.wait_for(r"running on (http://127\.0\.0\.1:\d+)")[1])


def test_tutorial_followed_to_its_end_shows_purchases_and_the_login(
    start: Start, tmp_path: Path
) -> None:
    commands = [each.code for each in blocks_of(DOCS / "tutorial/purchase.md")]
    assert "usercom-asgi sandbox\n" in commands
    sandbox = start("usercom_asgi.cli", "sandbox", "--port", "0").wait_for(r"dashboard  (\S+)/\n")[
        1
    ]
    with httpx.Client(trust_env=False, timeout=60, follow_redirects=True) as browser:

        def recorded() -> dict[str, Any]:
            return dict(browser.get(f"{sandbox}/sandbox/export").json())

        def entries(kind: str) -> list[dict[str, Any]]:
            return [each for each in recorded()["entries"] if each["kind"] == kind]

        shop = follow("tutorial/purchase.md", tmp_path / "purchase", sandbox, start)
        assert f'src="{sandbox}/widget.js"' in browser.get(shop).text
        assert browser.get(f"{sandbox}/widget.js").status_code == 200
        # What the widget does when it starts, since httpx runs no scripts.
        ping = browser.post(f"{sandbox}/api/v2/user-chatping/", json={"apiKey": "ABC123"})
        browser.cookies.set("__ca__chat", ping.json()["user"]["key"], domain="127.0.0.1")
        assert "A teapot" in browser.post(f"{shop}/buy").text
        until_sync(lambda: entries("event"))
        assert [each["what"] for each in entries("event")] == ["purchase"]
        assert [each["what"].partition(":")[0] for each in entries("product")] == ["purchase"]

        shop = follow("tutorial/login.md", tmp_path / "login", sandbox, start)
        assert "login</button>" in browser.get(shop).text
        page = browser.post(f"{shop}/login").text
        assert "logout</button>" in page
        assert "alice@example.com" in page
        browser.post(f"{shop}/buy")
        until_sync(lambda: len(entries("product")) == 2)
        assert [each["what"] for each in entries("event")] == ["purchase", "login"]
        assert "alice@example.com" not in browser.post(f"{shop}/logout").text
        until_sync(lambda: entries("reset"))
        browser.post(f"{shop}/buy")
        until_sync(lambda: len(entries("product")) == 3)
        by_alice = [each["key"] for each in entries("product")[:2]]
        assert by_alice[0] == by_alice[1] != entries("product")[2]["key"]
        assert len(recorded()["visitors"]) == 2
