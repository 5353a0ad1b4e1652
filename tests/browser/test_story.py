"""The whole story, in a real browser against real servers: a visit, a login, a purchase, a logout, the next person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from helpers.fake_usercom import FakeUserCom
from helpers.serving import free_port, serve_app
from helpers.waiting import until_sync
from playwright.sync_api import Browser, BrowserContext, Page

from usercom_asgi import UserComConfig

from .shop import END, shop

HOSTS = ["127.0.0.1", "localhost", "shop.example.com"]


@dataclass
class Shopper:
    """A visitor with a browser."""

    page: Page
    context: BrowserContext
    address: str

    def open(self) -> None:
        self.page.goto(self.address)

    def opens_with_a_key(self) -> bool:
        self.open()
        return bool(self.keys)

    def click(self, name: str) -> None:
        with self.page.expect_navigation():
            self.page.click(f"#{name}")

    def wait_for_the_widget(self) -> None:
        self.page.wait_for_function("window.UE && UE.isReady", timeout=30_000)

    @property
    def keys(self) -> dict[str, str]:
        """Every `__ca__chat` that the browser holds, by its domain."""
        return {
            str(c["domain"]): str(c["value"])
            for c in self.context.cookies()
            if c["name"] == "__ca__chat"
        }

    @property
    def key(self) -> str:
        [key] = self.keys.values()
        return key

    @property
    def html(self) -> str:
        """The page as the server sent it: the sandbox's widget adds to what is in the DOM."""
        return str(
            self.page.evaluate(
                "async () => (await fetch(location.href, {cache: 'no-store'})).text()"
            )
        )


@contextmanager
def visiting(browser: Browser, config: UserComConfig, host: str = "127.0.0.1") -> Iterator[Shopper]:
    with serve_app(shop(config)) as port:
        context = browser.new_context()
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        try:
            yield Shopper(page, context, f"http://{host}:{port}/")
        finally:
            context.close()
        assert errors == []


def send_chat_message(shopper: Shopper, usercom: FakeUserCom, text: str) -> None:
    shopper.page.evaluate("userengage('widget.open')")
    shopper.page.fill("#__ue_widget_mount input", text)
    shopper.page.press("#__ue_widget_mount input", "Enter")
    until_sync(lambda: usercom.store.users[shopper.key].conversation)


def leave_a_legacy_key(shopper: Shopper) -> None:
    """What an old widget left, and the real one still takes before the cookie."""
    shopper.page.evaluate("key => localStorage.setItem('__ca__chat', key)", shopper.key)


@pytest.mark.parametrize("host", HOSTS)
def test_shop_visit_login_purchase_and_logout_keep_two_people_apart(
    browser: Browser, usercom: FakeUserCom, host: str
) -> None:
    with visiting(browser, usercom.config(reset_timeout=5), host) as shopper:
        until_logged_in_and_bought(shopper, usercom)
        old = shopper.key
        send_chat_message(shopper, usercom, "where is my order?")
        leave_a_legacy_key(shopper)

        shopper.click("logout")
        shopper.wait_for_the_widget()
        assert_new_visitor(shopper, usercom, old)
        assert list(shopper.keys) == [".example.com" if host == "shop.example.com" else host]

        shopper.click("bob")
        shopper.wait_for_the_widget()
        until_sync(lambda: usercom.store.users[shopper.key].attributes.get("user_id") == "id-bob")
        assert usercom.store.users[old].attributes["user_id"] == "id-alice"
        assert len(usercom.store.users) == 2


@pytest.mark.parametrize("before", [True, False], ids=["slow to begin", "slow to answer"])
@pytest.mark.parametrize("host", ["127.0.0.1", "shop.example.com"])
def test_logout_with_a_late_key_shows_the_page_and_sets_the_key_later(
    browser: Browser, usercom: FakeUserCom, host: str, before: bool
) -> None:
    with visiting(browser, usercom.config(reset_timeout=0.1, timeout=120), host) as shopper:
        until_logged_in_and_bought(shopper, usercom)
        old = shopper.key
        send_chat_message(shopper, usercom, "where is my order?")
        leave_a_legacy_key(shopper)
        usercom.faults.latency(120, before=before, sender="server")

        shopper.click("logout")
        # The page arrives complete and without a delay. It has no widget while the key is unknown.
        assert shopper.page.inner_text("h1") == "Hello, stranger"
        assert shopper.keys == {}
        if not before:
            until_sync(lambda: len(usercom.store.users) == 2)
        usercom.faults.clear()
        until_sync(shopper.opens_with_a_key)
        shopper.wait_for_the_widget()
        assert_new_visitor(shopper, usercom, old)


def test_logout_with_a_key_pending_at_the_next_page_sets_the_key_there(
    browser: Browser, usercom: FakeUserCom
) -> None:
    with visiting(browser, usercom.config(reset_timeout=3, timeout=30)) as shopper:
        until_logged_in_and_bought(shopper, usercom)
        old = shopper.key
        usercom.faults.latency(4.5, sender="server")
        shopper.click("logout")
        shopper.wait_for_the_widget()
        assert_new_visitor(shopper, usercom, old)


def until_logged_in_and_bought(shopper: Shopper, usercom: FakeUserCom) -> None:
    shopper.open()
    shopper.wait_for_the_widget()
    key = shopper.key
    assert list(usercom.store.users) == [key]
    assert [hit.from_widget for hit in usercom.store.hits] == [True]

    shopper.click("alice")
    shopper.wait_for_the_widget()
    until_sync(lambda: usercom.store.users[key].attributes.get("user_id") == "id-alice")

    shopper.click("buy")
    shopper.wait_for_the_widget()
    until_sync(lambda: usercom.store.product_events and usercom.store.events)
    [purchase] = usercom.store.product_events
    [event] = usercom.store.events
    assert (purchase.key, purchase.product_id, event.key, event.name) == (
        key,
        "sku-1",
        key,
        "purchase",
    )
    assert shopper.key == key
    assert len(usercom.store.users) == 1


def assert_new_visitor(shopper: Shopper, usercom: FakeUserCom, old: str) -> None:
    new = shopper.key
    assert new != old
    assert list(usercom.store.users) == [old, new]  # exactly one new user
    assert usercom.store.users[new].attributes == {}
    assert usercom.store.users[new].conversation == []
    for html in (shopper.html, shopper.page.content()):
        for of_alice in (old, "id-alice", "alice@example.com", "Alice"):
            assert of_alice not in html
        assert END in html
    shopper.page.evaluate("userengage('widget.open')")
    assert "where is my order?" not in shopper.page.inner_text("#__ue_widget_mount section")
    assert shopper.page.evaluate("localStorage.getItem('__ca__chat')") is None
    assert shopper.page.evaluate("window.civchat.userKey") == new


@pytest.mark.parametrize("fault", ["answers 500", "hangs", "is not listening"])
def test_shop_while_user_com_is_down_serves_every_page(
    browser: Browser, usercom: FakeUserCom, fault: str
) -> None:
    settings: dict[str, Any] = {"shutdown_timeout": 0.2, "timeout": 60}
    if fault == "is not listening":
        settings["base_url"] = f"http://127.0.0.1:{free_port()}"
    elif fault == "hangs":
        usercom.faults.hang()
    else:
        usercom.faults.status(500)
    with visiting(browser, usercom.config(**settings)) as shopper:
        shopper.page.set_default_timeout(30_000)
        shopper.context.add_cookies(
            [{"name": "__ca__chat", "value": "oldkey123456", "url": shopper.address}]
        )
        shopper.open()
        for button, hello in (
            ("alice", "Hello, Alice"),
            ("buy", "Hello, Alice"),
            ("logout", "Hello, stranger"),
            ("bob", "Hello, Bob"),
        ):
            shopper.click(button)
            assert shopper.page.inner_text("h1").startswith(hello)
            assert shopper.page.inner_text("footer") == "the end of the page"
            took = shopper.page.evaluate(
                "performance.getEntriesByType('navigation')[0].responseEnd"
            )
            assert took < 15_000, f"{button}: {took} ms while User.com {fault}"
        assert "oldkey123456" not in shopper.keys.values()
        assert usercom.store.users == {}
