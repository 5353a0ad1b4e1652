"""`python -m bench.sandbox_page`: the sandbox's page with 100,000 entries.

Prints the time until the page is filled, until a filter or another page shows its rows,
what one new event costs, and the memory of the server and the page.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.chromium import chromium

from usercom_asgi.sandbox import Sandbox, serve
from usercom_asgi.sandbox.store import Hit, RecordedEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

VISITORS = 10_000
ENTRIES = 100_000
ROUNDS = 5


def fill(sandbox: Sandbox) -> None:
    """Add visitors, each with nine page views and events as a shop sends them."""
    store = sandbox.store
    for number in range(VISITORS):
        user = store.create()
        user.attributes |= {
            "user_id": f"u-{number}",
            "email": f"person{number}@mail.example",
            "name": f"Person {number}",
        }
        for step in range((ENTRIES - VISITORS) // VISITORS):
            url = f"https://shop.example.com/products/{number % 97}/{step}"
            if step % 2:
                data = {"sku": f"sku-{number % 97}", "price": 19.9, "currency": "EUR", "n": step}
                store.add_event(
                    RecordedEvent(
                        key=user.key, name="added_to_basket", data=data, domain="shop.example.com",
                        user_agent="Mozilla/5.0",
                    )
                )  # fmt: skip
            else:
                store.hits.append(
                    Hit(
                        key=user.key, url=url, domain="shop.example.com", referrer="",
                        payload={"apiKey": "ABC123", "userKey": user.key, "url": url, "plan": "pro"},
                        created_new_gu=False, from_widget=True, user_agent="Mozilla/5.0",
                    )
                )  # fmt: skip


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(page: Page, what: str, act: Callable[[], object], shows: str) -> None:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        act()
        page.wait_for_function(shows)
        times.append(time.perf_counter() - start)
    print(f"{what:44}{sorted(times)[ROUNDS // 2] * 1000:8.0f} ms", flush=True)


def main() -> None:
    sandbox = Sandbox()
    before, start = megabytes(), time.perf_counter()
    fill(sandbox)
    journal = sandbox.store.journal
    print(f"{len(sandbox.store.users):,} visitors, {len(journal.entries):,} entries")
    print(f"{'to fill the store':44}{(time.perf_counter() - start) * 1000:8.0f} ms")
    print(f"{'memory of the records':44}{megabytes() - before:8.0f} MB")
    with serve(sandbox) as running, chromium() as browser:
        page = browser.new_context(
            viewport={"width": 1280, "height": 800}, bypass_csp=True
        ).new_page()
        summary = "document.querySelector('#timeline .shown').textContent"

        def search(text: str) -> None:
            page.locator("#timeline input").fill(text)

        def leave_and_open() -> None:
            page.goto("about:blank")
            page.goto(running.url)

        both = f"{summary} && document.querySelector('#visitors .shown').textContent"
        measure(page, "to open, both lists shown", leave_and_open, both)

        def by_text() -> None:
            search("")
            page.wait_for_function(f"!{summary}.includes('in all')")
            search("products/42/")

        measure(
            page,
            "to filter by text (with 120 ms of typing)",
            by_text,
            f"{summary}.includes('in all')",
        )
        search("")

        def by_kind() -> None:
            page.locator("#timeline .chip[data-kind=event]").click()

        by_kind()
        page.wait_for_function(f"{summary}.includes('in all')")
        by_kind()

        def chosen_and_not() -> None:
            by_kind()
            page.wait_for_function(f"{summary}.includes('in all')")
            by_kind()

        measure(
            page, "to filter by kind and back", chosen_and_not, f"!{summary}.includes('in all')"
        )

        def older() -> None:
            page.evaluate(f"window.shown = {summary}")
            page.locator("#timeline").get_by_role("button", name="Older").click()

        measure(page, "to show the next page of the list", older, f"{summary} !== window.shown")

        def find_visitor() -> None:
            page.locator("#visitors input").fill("")
            page.wait_for_function("document.querySelectorAll('#visitors li').length === 50")
            page.locator("#visitors input").fill("person 9999")

        measure(
            page,
            "to find a visitor (with 240 ms of typing)",
            find_visitor,
            "document.querySelectorAll('#visitors li').length === 1",
        )
        leave_and_open()
        page.wait_for_function(both)
        key = next(iter(sandbox.store.users))
        number = iter(range(ROUNDS))

        def new_event() -> None:
            name = f"new_{next(number)}"
            page.evaluate("name => { window.wanted = name }", name)
            sandbox.store.add_event(RecordedEvent(key=key, name=name, data={}, domain="", user_agent=""))  # fmt: skip

        measure(
            page,
            "until a new event is shown",
            new_event,
            "document.querySelector('#timeline .open').textContent.includes(window.wanted)",
        )
        page.request.get(f"{running.url}/sandbox/export")
        heap = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
        print(f"{'heap of the page':44}{heap:8.1f} MB")
        print(f"{'nodes of the page':44}{page.evaluate('document.querySelectorAll(`*`).length'):8}")
        print(f"{'peak memory of the server, after an export':44}{megabytes():8.0f} MB")


if __name__ == "__main__":
    main()
