"""The stand-in for widget.js, in a real browser."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from helpers.waiting import until_sync
from playwright.sync_api import expect

from usercom_asgi.sandbox import Sandbox, serve

if TYPE_CHECKING:
    from sandbox.conftest import Api, Visit


def seen(visit: Visit, selector: str) -> bool:
    return visit.page.locator(selector).is_visible()


class TestPing:
    def test_on_load_sends_the_page_and_sets_the_cookie(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        visit.open(
            "{apiKey: 'ABC123', user_id: '7', plan: 'pro', widget: {}, source_context: {}, onLoad() {}}",
            path="/a",
        )
        (hit,) = sandbox.store.hits
        assert hit.url == visit.site.url("/a")
        assert hit.from_widget
        assert hit.domain == "127.0.0.1"
        assert set(hit.payload) == {
            "apiKey", "user_id", "plan", "domain", "timezone", "resolution", "url", "referrer"
        }  # fmt: skip
        (cookie,) = visit.page.context.cookies()
        assert cookie.items() >= {
            "name": "__ca__chat", "value": hit.key, "domain": "127.0.0.1", "path": "/", "httpOnly": False,
            "secure": False, "sameSite": "Lax",
        }.items()  # fmt: skip
        assert abs(cookie["expires"] - time.time() - 365 * 24 * 3600) < 60
        assert (
            visit.page.evaluate("'userKey' in civchat") is False
        )  # no key was known before the ping
        expect(visit.page.locator("#__ue_widget_mount")).to_have_count(1)

    def test_on_the_next_page_sends_the_same_key(self, visit: Visit, sandbox: Sandbox) -> None:
        visit.open()
        visit.open(path="/next")
        assert [hit.payload.get("userKey") for hit in sandbox.store.hits] == [
            None,
            sandbox.store.hits[0].key,
        ]
        assert len(sandbox.store.users) == 1

    def test_without_civchat_waits_for_a_page_hit(self, visit: Visit, sandbox: Sandbox) -> None:
        visit.open(None, wait=False)
        visit.page.wait_for_timeout(150)
        assert not sandbox.store.hits
        visit.page.evaluate("UE.pageHit({apiKey: 'ABC123', plan: 'pro'})")
        visit.ready()
        assert sandbox.store.users[visit.key()].attributes == {"plan": "pro"}

    def test_from_a_script_in_the_head_is_sent_once(self, visit: Visit, sandbox: Sandbox) -> None:
        visit.site.pages["/"] = (
            f"<head><script>window.civchat = {{apiKey: 'ABC123'}}</script><script src='{visit.widget}?2' async></script>"
            "</head><body><h1>Shop</h1></body>"
        )
        visit.page.goto(visit.site.url())
        visit.ready()
        assert len(sandbox.store.hits) == 1

    def test_address_parameters_become_attributes_unless_the_page_sets_them(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        visit.open(
            "{apiKey: 'ABC123', plan: 'pro'}", path="/?plan=free&utm_source=mail&__ca__chat="
        )
        assert sandbox.store.users[visit.key()].attributes == {"plan": "pro", "utm_source": "mail"}

    def test_failure_hides_the_launcher_until_a_page_hit_succeeds(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        sandbox.faults.status(500, times=1)
        visit.open(after="userengage('event.early')", wait=False)
        until_sync(lambda: sandbox.store.faulted)
        visit.page.wait_for_timeout(80)
        assert visit.page.evaluate("UE.isReady") is False
        assert not seen(visit, ".launcher")
        visit.page.evaluate("UE.pageHit()")
        visit.ready()
        until_sync(lambda: [event.name for event in sandbox.store.events] == ["early"])

    def test_second_script_in_a_page_sends_nothing_and_warns(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        visit.site.pages["/"] = (
            "<script>window.civchat = {apiKey: 'ABC123'}</script>"
            + f'<script src="{visit.widget}"></script>' * 2
        )
        visit.page.goto(visit.site.url())
        visit.ready()
        visit.page.wait_for_timeout(80)
        assert len(sandbox.store.hits) == 1
        assert any("attached multiple times" in line for line in visit.console)


class TestKey:
    def test_user_key_setting_beats_storage_then_address_then_cookie(
        self, visit: Visit, sandbox: Sandbox, api: Api
    ) -> None:
        explicit, legacy, address, cookie = api.ping(), api.ping(), api.ping(), api.ping()
        visit.open()  # an origin to put things in
        visit.page.evaluate(f"document.cookie = '__ca__chat={cookie}; path=/; domain=127.0.0.1'")
        visit.open()
        assert visit.key() == cookie
        visit.open(path=f"/?__ca__chat={address}")
        assert visit.key() == address
        visit.page.evaluate(f"localStorage.setItem('__ca__chat', '{legacy}')")
        visit.open(path=f"/?__ca__chat={address}")
        assert visit.key() == legacy
        visit.open(f"{{apiKey: 'ABC123', userKey: '{explicit}'}}", path=f"/?__ca__chat={address}")
        assert visit.key() == explicit
        assert sandbox.store.hits[-1].payload["userKey"] == explicit
        assert "__ca__chat" not in sandbox.store.users[explicit].attributes

    def test_unknown_key_is_replaced_by_the_answer(self, visit: Visit, sandbox: Sandbox) -> None:
        visit.open("{apiKey: 'ABC123', userKey: 'nobodyhasit1'}")
        assert visit.key() == sandbox.store.hits[0].key != "nobodyhasit1"

    def test_cookie_on_a_subdomain_is_set_for_the_parent_domain(self, visit: Visit) -> None:
        visit.open(host="shop.example.com")
        assert list(visit.cookies()) == [".example.com"]
        key = visit.key()
        visit.open(host="www.example.com")
        assert visit.cookies() == {".example.com": key}


class TestPageHit:
    def test_with_a_new_attribute_sends_all_earlier_attributes_too(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        visit.open("{apiKey: 'ABC123', plan: 'pro'}")
        visit.page.evaluate("history.pushState({}, '', '/virtual'); UE.pageHit({colour: 'blue'})")
        visit.settle(sandbox, 2)
        payload = sandbox.store.hits[1].payload
        assert payload.items() >= {"widget_ready": True, "plan": "pro", "colour": "blue"}.items()
        assert sandbox.store.hits[1].url.endswith("/virtual")
        assert "widget_ready" not in sandbox.store.hits[0].payload


class TestReset:
    def test_with_the_app_key_starts_a_new_visitor_without_the_old_attributes(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        visit.open("{apiKey: 'ABC123', user_id: '1', plan: 'pro'}")
        old = visit.key()
        assert (
            visit.page.evaluate(
                "UE.resetAuth({apiKey: 'ABC123', lang: 'pl'}); 'userKey' in civchat"
            )
            is False
        )
        visit.settle(sandbox, 2)
        assert visit.key() != old
        assert sandbox.store.hits[1].created_new_gu
        assert sandbox.store.users[visit.key()].attributes == {"lang": "pl"}
        visit.page.evaluate("UE.pageHit()")
        visit.settle(sandbox, 3)
        assert not sandbox.store.hits[2].created_new_gu
        assert "plan" not in sandbox.store.hits[2].payload

    @pytest.mark.parametrize("argument", ["", "{}", "{email: 'a@example.com'}"])
    def test_without_the_app_key_logs_an_error_and_keeps_the_visitor(
        self, visit: Visit, sandbox: Sandbox, argument: str
    ) -> None:
        visit.open()
        key = visit.key()
        visit.page.evaluate(f"UE.resetAuth({argument})")
        visit.page.wait_for_timeout(80)
        assert "apiKey is required" in visit.console
        assert visit.key() == key
        assert len(sandbox.store.hits) == 1

    @pytest.mark.parametrize("left", ["address", "storage"])
    def test_with_a_key_in_the_address_or_storage_adopts_that_key(
        self, visit: Visit, sandbox: Sandbox, api: Api, left: str
    ) -> None:
        key = api.ping()
        visit.open(path=f"/?__ca__chat={key}" if left == "address" else "/")
        if left == "storage":
            visit.page.evaluate(f"localStorage.setItem('__ca__chat', '{key}')")
        visit.page.evaluate("UE.resetAuth({apiKey: 'ABC123'})")
        visit.settle(sandbox, 3)
        assert visit.key() == key

    def test_commands_after_a_reset_call_are_sent_for_the_next_visitor(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        visit.open()
        visit.page.evaluate(
            "userengage('event.old'); UE.resetAuth({apiKey: 'ABC123'}); userengage('event.new')"
        )
        until_sync(lambda: len(sandbox.store.events) == 2)
        visit.page.wait_for_timeout(50)
        assert {event.name: event.key == visit.key() for event in sandbox.store.events} == {
            "old": False,
            "new": True,
        }


class TestCommands:
    def test_event_product_event_and_update_are_stored_for_the_visitor(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        visit.open()
        visit.page.evaluate(
            """userengage('event.signed_up', {plan: 'pro'});
            userengage('product_event', {product_id: 'sku-1', event_type: 'purchase', price: 19.9});
            userengage('client.update', {city: 'Rome'}); userengage('widget.clicked_open')"""
        )
        until_sync(lambda: len(sandbox.store.events) == 2)
        signed_up, clicked = sandbox.store.events
        assert (signed_up.key, signed_up.name, signed_up.data) == (
            visit.key(),
            "signed_up",
            {"plan": "pro"},
        )
        assert (clicked.name, clicked.data) == ("widget_clicked_open", {})
        (product,) = sandbox.store.product_events
        assert (product.product_id, product.event_type, product.data) == (
            "sku-1",
            "purchase",
            {"price": 19.9},
        )
        assert sandbox.store.users[visit.key()].attributes == {"city": "Rome"}
        assert sandbox.store.rejected == []

    def test_before_the_first_answer_wait_and_keep_their_order(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        sandbox.faults.latency(0.15, times=1)
        visit.open(after="for (let i = 0; i < 5; i++) userengage('event.e' + i)", wait=False)
        until_sync(lambda: len(sandbox.store.events) == 5)
        assert [event.name for event in sandbox.store.events] == ["e0", "e1", "e2", "e3", "e4"]

    def test_queued_in_an_earlier_stub_are_not_sent(self, visit: Visit, sandbox: Sandbox) -> None:
        stub = "window.userengage = function () { userengage.q.push(arguments) }; userengage.q = []; userengage('event.x')"
        visit.open(before=stub)
        visit.page.evaluate("userengage('event.y')")
        until_sync(lambda: sandbox.store.events)
        visit.page.wait_for_timeout(80)
        assert [event.name for event in sandbox.store.events] == ["y"]

    def test_unknown_command_is_logged_in_the_console(self, visit: Visit) -> None:
        visit.open()
        visit.page.evaluate("userengage('widget.explode')")
        assert any("widget.explode" in line for line in visit.console)


class TestAppearance:
    @pytest.mark.parametrize(
        ("state", "launcher", "greeting", "panel"),
        [
            ("simple", True, False, False),
            ("standard", True, True, False),
            ("hidden", False, False, False),
            ("expanded", True, False, True),
            ("conditionally hidden", False, False, False),
            ("without welcome message", True, False, False),
            ("nonsense", True, True, False),
        ],
    )
    def test_state_setting_decides_the_visible_parts(
        self, visit: Visit, state: str, launcher: bool, greeting: bool, panel: bool
    ) -> None:
        visit.open(f"{{apiKey: 'ABC123', state: '{state}'}}")
        assert [seen(visit, name) for name in (".launcher", ".greeting", ".panel")] == [
            launcher,
            greeting,
            panel,
        ]

    def test_hidden_state_in_the_widget_settings_hides_the_launcher(self, visit: Visit) -> None:
        visit.open("{apiKey: 'ABC123', widget: {state: 'hidden'}}")
        assert not seen(visit, ".launcher")

    def test_widget_commands_show_and_hide_the_launcher_and_the_panel(self, visit: Visit) -> None:
        visit.open("{apiKey: 'ABC123', state: 'simple'}")
        for command, launcher, panel in (
            ("open", True, True), ("close", True, False), ("hide", False, False), ("show", True, False)
        ):  # fmt: skip
            visit.page.evaluate(f"userengage('widget.{command}')")
            assert [seen(visit, ".launcher"), seen(visit, ".panel")] == [launcher, panel]

    def test_launcher_and_panel_are_labelled_as_for_development(self, visit: Visit) -> None:
        visit.open("{apiKey: 'ABC123', state: 'expanded'}")
        assert [label.inner_text() for label in visit.page.locator(".sandbox").all()] == [
            "for development",
            "for development",
        ]

    def test_hostile_name_and_message_are_shown_as_text(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        name = "</script><img src=x onerror=window.broken=1>"
        written = json.dumps(name).replace("<", "\\u003c")
        visit.open(f"{{apiKey: 'ABC123', state: 'expanded', user_id: '1', name: {written}}}")
        assert visit.page.locator(".title").inner_text() == f"Hello, {name}"
        assert visit.key()[:4] in visit.page.locator(".who").inner_text()
        visit.page.fill(".input", name)
        visit.page.click(".send")
        visit.page.wait_for_selector(".line.agent")
        assert visit.page.locator(".line").first.inner_text() == name
        assert visit.page.evaluate("window.broken") is None


class TestChat:
    CALLBACKS = """window.calls = []; for (const name of ['onLoad', 'onOpen', 'onClose', 'onDestroy', 'onMessage',
        'onPayloadReceived']) civchat[name] = (...given) => calls.push([name, ...given]);"""

    def test_callbacks_are_called_in_order_with_their_arguments(self, visit: Visit) -> None:
        visit.open("{apiKey: 'ABC123', state: 'simple'}", before=self.CALLBACKS)
        visit.page.click(".launcher")
        visit.page.fill(".input", "Hello")
        visit.page.press(".input", "Enter")
        visit.page.wait_for_selector(".line.agent")
        visit.page.press(".input", "Escape")
        visit.page.evaluate("UE.__internal.receivePayload('code'); UE.destroy()")
        calls = visit.page.evaluate("calls")
        reply = calls[3][1].pop("content")
        assert calls == [
            ["onLoad"],
            ["onOpen"],
            ["onMessage", {"content": "Hello", "isAdmin": False}],
            ["onMessage", {"isAdmin": True}],
            ["onClose"],
            ["onPayloadReceived", "code"],
            ["onDestroy"],
        ]
        assert visit.page.locator(".line").count() == 0
        assert "sandbox" in reply

    def test_callback_given_to_a_page_hit_is_called_and_not_sent(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        visit.open()
        visit.page.evaluate(
            "UE.pageHit({onOpen() { window.opened = true }}); userengage('widget.open')"
        )
        assert visit.page.evaluate("opened") is True
        visit.settle(sandbox, 2)
        assert "onOpen" not in sandbox.store.hits[1].payload

    def test_callback_that_raises_does_not_stop_the_widget(self, visit: Visit) -> None:
        visit.open("{apiKey: 'ABC123', onLoad() { throw new Error('mine') }}")
        assert visit.page.evaluate("UE.isReady")

    def test_messages_after_a_reset_are_not_shown_to_the_next_visitor(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        visit.open("{apiKey: 'ABC123', state: 'expanded'}")
        visit.page.fill(".input", "my secret")
        visit.page.click(".send")
        visit.page.wait_for_selector(".line.agent")
        first = visit.key()
        visit.open("{apiKey: 'ABC123', state: 'expanded'}", path="/again")
        assert visit.page.locator(".line").first.inner_text() == "my secret"
        visit.page.evaluate("UE.resetAuth({apiKey: 'ABC123'})")
        visit.settle(sandbox, 3)
        assert visit.page.locator(".line").count() == 0
        visit.open("{apiKey: 'ABC123', state: 'expanded'}", path="/next")
        assert visit.page.locator(".line").count() == 0
        assert visit.key() != first

    def test_failed_reset_clears_the_name_the_draft_and_the_cookie(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        visit.open("{apiKey: 'ABC123', state: 'expanded', user_id: '1', name: 'Ann'}")
        visit.page.fill(".input", "my secret")
        sandbox.faults.hang()
        visit.page.evaluate("UE.resetAuth({apiKey: 'ABC123'})")
        until_sync(lambda: sandbox.store.faulted)
        assert visit.page.locator(".title").inner_text() == "Hello!"
        assert visit.page.locator(".input").input_value() == ""
        assert visit.cookies() == {}
        assert not visit.page.evaluate("'userKey' in civchat")

    def test_message_that_fails_to_send_is_marked_as_not_sent(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        visit.open("{apiKey: 'ABC123', state: 'expanded'}")
        sandbox.faults.status(500, only="conversation")
        visit.page.fill(".input", "Hello?")
        visit.page.click(".send")
        visit.page.get_by_text("Not sent").wait_for()


class TestEnd:
    @pytest.mark.parametrize("event", ["turbolinks:visit", "page:before-change", "turbolinks:load"])
    def test_turbolinks_event_removes_the_widget(self, visit: Visit, event: str) -> None:
        visit.open()
        visit.page.evaluate(f"document.dispatchEvent(new Event('{event}', {{bubbles: true}}))")
        assert visit.page.locator("#__ue_widget_mount").count() == 0


def test_widget_beside_a_script_of_another_host_calls_its_own_host(
    visit: Visit, sandbox: Sandbox
) -> None:
    other = Sandbox(api_key="OTHER1")
    with serve(other) as server:
        visit.site.pages["/"] = (
            f"<script>window.civchat = {{apiKey: 'ABC123'}}</script><script src='{visit.widget}'></script>"
            f"<script src='{server.url}/widget.js'></script>"
        )
        visit.page.goto(visit.site.url())
        visit.ready()
    assert len(sandbox.store.hits) == 1
    assert not other.store.rejected
