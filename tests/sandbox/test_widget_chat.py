"""The stand-in's chat and greeting, as a visitor and an agent see them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from helpers.waiting import until_sync
from playwright.sync_api import expect

from usercom_asgi.sandbox import RunningSandbox, Sandbox, chat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page
    from sandbox.conftest import Api, Visit

OPEN = "{apiKey: 'ABC123', state: 'expanded'}"


def write(page: Page, content: str) -> None:
    page.fill(".input", content)
    page.press(".input", "Enter")


def connected(sandbox: Sandbox, sockets: int = 1) -> None:
    until_sync(lambda: sandbox.pushes.listeners.total() == sockets)


def answer(api: Api, sandbox: Sandbox, key: str, content: str) -> None:
    body = {"visitor": sandbox.store.users[key].id, "action": "message", "content": content}
    assert api.http.post("/sandbox/act", json=body).status_code == 200


def requests(sandbox: Sandbox, part: str) -> list[tuple[str, int | None]]:
    found = [each for each in sandbox.store.journal.exchanges if part in each.path]
    return [(each.method, each.status) for each in found]


@contextlib.contextmanager
def dashboard(visit: Visit, running: RunningSandbox, sandbox: Sandbox) -> Iterator[Page]:
    """Open the visitor's page of the dashboard in another tab."""
    tab = visit.page.context.new_page()
    tab.goto(f"{running.url}/#/visitor/{sandbox.store.users[visit.key()].id}")
    yield tab
    tab.close()


class TestChat:
    def test_first_line_goes_by_http_and_the_next_by_the_socket(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        visit.open(OPEN)
        connected(sandbox)
        for number, content in enumerate(("first", "second"), 1):
            write(visit.page, content)
            expect(visit.page.locator(".line.agent")).to_have_count(number)
        visit.page.wait_for_timeout(250)  # two looks of the socket: no line appears twice
        lines = visit.page.locator(".line").all_inner_texts()
        assert lines == ["first", chat.REPLY, "second", chat.REPLY]
        assert requests(sandbox, "/api/conversation/new/") == [("POST", 200)]
        assert requests(sandbox, "/ws/widget/") == [("WS", 101), ("WS", 200)]

    def test_lines_of_both_sides_are_on_the_dashboard_and_answers_in_the_open_page(
        self, visit: Visit, sandbox: Sandbox, running: RunningSandbox
    ) -> None:
        visit.open(OPEN)
        connected(sandbox)
        write(visit.page, "by http")
        expect(visit.page.locator(".line.agent")).to_have_count(1)
        write(visit.page, "by the socket <b>")
        with dashboard(visit, running, sandbox) as tab:
            log = tab.get_by_role("log", name="Chat")
            expect(log).to_contain_text("by the socket <b>")
            expect(log.locator(".line.agent")).to_have_count(2)
            tab.get_by_label("Answer as User.com").fill("We are here")
            tab.get_by_role("button", name="Send", exact=True).click()
            expect(visit.page.locator(".line.agent").last).to_have_text("We are here")
            expect(log.locator(".line.agent").last).to_contain_text("We are here")
            tab.get_by_role("tab", name="Time line").click()
            rows = tab.get_by_role("list", name="Time line")
            for content in ("by http", "by the socket <b>", "We are here"):
                expect(rows).to_contain_text(content)

    def test_answer_beside_a_closed_chat_is_shown_and_marked_read_when_it_opens(
        self, visit: Visit, sandbox: Sandbox, api: Api
    ) -> None:
        visit.open("{apiKey: 'ABC123', state: 'simple'}")
        connected(sandbox)
        answer(api, sandbox, visit.key(), "Are you there?")
        expect(visit.page.locator(".invitation")).to_have_text("Are you there?")
        user = sandbox.store.users[visit.key()]
        assert chat.has_unread(user)
        visit.page.locator(".invitation").click()
        expect(visit.page.locator(".panel")).to_be_visible()
        until_sync(lambda: not chat.has_unread(user))

    def test_second_tab_shows_the_lines_of_the_first(self, visit: Visit, sandbox: Sandbox) -> None:
        visit.open(OPEN)
        connected(sandbox)
        write(visit.page, "before")
        expect(visit.page.locator(".line.agent")).to_have_count(1)
        tab = visit.page.context.new_page()
        tab.goto(visit.site.url())
        expect(tab.locator(".line").first).to_have_text("before")
        connected(sandbox, 2)
        write(visit.page, "after")
        expect(tab.locator(".line")).to_have_count(4)
        assert tab.locator(".line").all_inner_texts()[2] == "after"
        tab.close()

    def test_lost_socket_comes_back_with_the_lines_that_it_missed(
        self, visit: Visit, sandbox: Sandbox, api: Api
    ) -> None:
        visit.open(OPEN)
        connected(sandbox)
        write(visit.page, "one")
        expect(visit.page.locator(".line.agent")).to_have_count(1)
        sandbox.faults.status(500, times=1, only="/ws/")
        write(visit.page, "lost")
        visit.page.get_by_text("Not sent").wait_for()
        until_sync(lambda: not sandbox.pushes.listeners)
        answer(api, sandbox, visit.key(), "meanwhile")
        expect(visit.page.locator(".line.agent").last).to_have_text("meanwhile", timeout=20_000)
        connected(sandbox)

    def test_reset_closes_the_socket_and_opens_one_for_the_next_visitor(
        self, visit: Visit, sandbox: Sandbox, api: Api
    ) -> None:
        visit.open(OPEN)
        connected(sandbox)
        old = visit.key()
        visit.page.evaluate("UE.resetAuth({apiKey: 'ABC123'})")
        visit.settle(sandbox, 2)
        until_sync(lambda: list(sandbox.pushes.listeners) == [visit.key()])
        answer(api, sandbox, old, "a secret of the last visitor")
        answer(api, sandbox, visit.key(), "hello")
        expect(visit.page.locator(".line.agent")).to_have_text("hello")

    def test_key_of_another_visitor_takes_answer_draft_and_lines_off_the_page(
        self, visit: Visit, sandbox: Sandbox, api: Api
    ) -> None:
        visit.open("{apiKey: 'ABC123', state: 'simple'}")
        connected(sandbox)
        visit.page.locator(".input").evaluate("input => (input.value = 'a draft')")
        answer(api, sandbox, visit.key(), "a secret of the last visitor")
        expect(visit.page.locator(".invitation")).to_have_text("a secret of the last visitor")
        other = sandbox.store.create()
        visit.page.evaluate("key => UE.pageHit({userKey: key})", other.key)
        until_sync(lambda: list(sandbox.pushes.listeners) == [other.key])
        expect(visit.page.locator(".greeting")).to_be_hidden()
        assert visit.page.locator(".input").input_value() == ""
        assert "secret" not in visit.page.locator("#__ue_widget_mount").evaluate(
            "host => host.shadowRoot.innerHTML"
        )

    @pytest.mark.parametrize(
        "shown",
        [
            "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))",
            "document.dispatchEvent(new Event('visibilitychange'))",
        ],
    )
    def test_page_that_is_shown_again_after_a_logout_elsewhere_has_no_chat(
        self, visit: Visit, sandbox: Sandbox, shown: str
    ) -> None:
        visit.open(OPEN)
        connected(sandbox)
        write(visit.page, "a secret of the last visitor")
        expect(visit.page.locator(".line.agent")).to_have_count(1)
        visit.page.evaluate(shown)  # the visitor is the same, and the lines stay
        expect(visit.page.locator(".line")).to_have_count(2)
        tab = visit.page.context.new_page()
        tab.goto(visit.site.url())
        tab.wait_for_function("window.UE && UE.isReady")
        old = tab.evaluate("document.cookie")
        tab.evaluate("UE.resetAuth({apiKey: 'ABC123'})")
        tab.wait_for_function("old => document.cookie && document.cookie !== old", arg=old)
        tab.close()
        visit.page.evaluate(shown)
        expect(visit.page.locator(".line")).to_have_count(0)
        until_sync(lambda: not sandbox.pushes.listeners)
        user = sandbox.store.users[sandbox.store.hits[0].key]
        lines = len(user.conversation)
        write(visit.page, "a line of the next visitor")
        visit.page.get_by_text("Not sent").wait_for()
        assert len(user.conversation) == lines

    def test_page_without_a_socket_chats_by_http(
        self, visit: Visit, sandbox: Sandbox, api: Api
    ) -> None:
        visit.open(OPEN, before="delete window.WebSocket;")
        for number in (1, 2):
            write(visit.page, f"line {number}")
            expect(visit.page.locator(".line.agent")).to_have_count(number)
        assert requests(sandbox, "/ws/") == []
        answer(api, sandbox, visit.key(), "later")
        visit.page.evaluate("UE.pageHit()")
        expect(visit.page.locator(".line.agent").last).to_have_text("later")


def boxes(page: Page, selector: str) -> list[dict[str, Any]]:
    """Return the bounding boxes of the visible elements."""
    found = page.locator(selector).evaluate_all(
        "all => all.map(each => each.getBoundingClientRect().toJSON())"
    )
    return [box for box in found if box["width"] and box["height"]]


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(
        one[at] < other[at] + other[size] and other[at] < one[at] + one[size]
        for at, size in (("x", "width"), ("y", "height"))
    )


class TestGreeting:
    STANDARD = "{apiKey: 'ABC123', name: 'Ann'}"

    def greets(self, visit: Visit) -> bool:
        return visit.page.locator(".greeting").is_visible()

    def test_closed_greeting_stays_closed_in_this_visit(self, visit: Visit) -> None:
        visit.open(self.STANDARD)
        assert self.greets(visit)
        visit.page.get_by_role("button", name="Close the greeting").click()
        assert not self.greets(visit)
        assert not visit.page.locator(".panel").is_visible()
        visit.open(self.STANDARD, path="/next")
        assert not self.greets(visit)

    def test_greeting_is_not_shown_again_once_the_chat_was_opened(self, visit: Visit) -> None:
        visit.open(self.STANDARD)
        visit.page.locator(".launcher").click()
        assert not self.greets(visit)
        visit.page.get_by_role("button", name="Close the chat").first.click()
        assert not self.greets(visit)
        visit.open(self.STANDARD, path="/next")
        assert not self.greets(visit)

    def test_greeting_is_shown_to_the_next_visitor_and_in_the_next_visit(
        self, visit: Visit, sandbox: Sandbox
    ) -> None:
        visit.open(self.STANDARD)
        visit.page.get_by_role("button", name="Close the greeting").click()
        tab = visit.page.context.new_page()  # a new tab is another visit
        tab.goto(visit.site.url())
        expect(tab.locator(".greeting")).to_be_visible()
        tab.close()
        visit.page.evaluate("UE.resetAuth({apiKey: 'ABC123'})")
        visit.settle(sandbox, 3)
        visit.open(self.STANDARD, path="/next")
        assert self.greets(visit)

    @pytest.mark.parametrize(("width", "greeting", "dot"), [(390, 0, 1), (1280, 1, 0)])
    def test_greeting_covers_no_content(
        self, visit: Visit, width: int, greeting: int, dot: int
    ) -> None:
        visit.page.set_viewport_size({"width": width, "height": 844})
        visit.open(self.STANDARD)
        # As a shop: a column of at most 700 pixels, with text at each height of the window.
        visit.page.evaluate(
            """for (let i = 0; i < 60; i++) {
              const line = document.createElement('p');
              line.textContent = `Line ${i} ` + 'of the content of a page. '.repeat(6);
              line.style = 'max-width: 700px; margin: 0 auto 10px; line-height: 20px';
              line.className = 'content';
              document.body.append(line);
            }"""
        )
        content = boxes(visit.page, ".content")
        greetings = boxes(visit.page, ".greeting")
        assert len(content) == 60
        assert (len(greetings), len(boxes(visit.page, ".dot"))) == (greeting, dot)
        for place in ("scrollTo(0, 0)", "scrollTo(0, 9e9)"):
            visit.page.evaluate(place)
            content = boxes(visit.page, ".content")
            covered = [each for each in content for box in greetings if overlap(each, box)]
            assert covered == []
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        for part in [*greetings, *boxes(visit.page, ".corner, .corner *")]:
            assert part["x"] >= 0
            assert part["x"] + part["width"] <= width
            assert part["y"] + part["height"] <= 844
        launcher = visit.page.get_by_role("button", name="Open the chat: Hi!")
        expect(launcher.first).to_be_visible()  # a narrow window greets by the name of the button

    def test_answer_in_a_narrow_window_is_a_dot_until_the_chat_opens(
        self, visit: Visit, sandbox: Sandbox, api: Api
    ) -> None:
        visit.page.set_viewport_size({"width": 390, "height": 844})
        visit.open("{apiKey: 'ABC123', state: 'simple'}")
        connected(sandbox)
        expect(visit.page.locator(".dot")).to_be_hidden()
        answer(api, sandbox, visit.key(), "Are you there?")
        expect(visit.page.locator(".dot")).to_be_visible()
        assert not self.greets(visit)
        visit.page.locator(".launcher").click()
        expect(visit.page.locator(".dot")).to_be_hidden()
        expect(visit.page.locator(".line.agent")).to_have_text("Are you there?")


def test_widget_is_for_development_by_its_label_and_one_line_in_the_console(visit: Visit) -> None:
    visit.open("{apiKey: 'ABC123', state: 'simple'}")
    visit.page.evaluate("UE.pageHit()")
    label = visit.page.locator(".corner").get_by_text("for development")
    expect(label).to_be_visible()
    assert len([line for line in visit.console if "for development" in line]) == 1
    visit.page.locator(".launcher").click()
    expect(visit.page.locator(".panel").get_by_text("for development")).to_be_visible()
