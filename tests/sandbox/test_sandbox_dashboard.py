"""The dashboard, in a real browser: by role and text, and with axe-core."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from helpers.waiting import until_sync
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from playwright.sync_api import ConsoleMessage, Error, Locator, Page, Route
    from sandbox.conftest import Api, Visit

    from usercom_asgi.sandbox import RunningSandbox, Sandbox

SHOP = "https://shop.example.com"
QUICK = {"resultTypes": ["violations"]}
HOSTILE = (
    "</script><img src=x onerror=window.broken=1>",
    "<svg onload=window.broken=1>",
    "javascript:window.broken=1",
    '"><script>window.broken=1</script>',
    "'-window.broken=1-'",
    "{{constructor.constructor('window.broken=1')()}}",
    "<a href=javascript:window.broken=1>x</a>",
    "\u202e\u0000\ud800<b>",
    "__proto__",
    "<" * 200 + "x" * 3000,
)


@pytest.fixture
def dashboard(page: Page, running: RunningSandbox, sandbox: Sandbox) -> Iterator[Page]:
    errors: list[str] = []

    def fail(error: Error) -> None:
        errors.append(str(error))

    def record_console(message: ConsoleMessage) -> None:
        errors.append(message.text)

    page.on("pageerror", fail)
    page.on("console", record_console)
    page.goto(running.url)
    expect(page.get_by_role("status").first).to_have_text("User.com is fine")
    yield page
    page.remove_listener("pageerror", fail)
    page.remove_listener("console", record_console)
    page.emulate_media(color_scheme="light")
    assert errors == []


def rows(page: Page, name: str) -> Locator:
    """Return the rows of the list with this name."""
    return page.get_by_role("list", name=name, exact=True).get_by_role("listitem")


def shop(api: Api, sandbox: Sandbox) -> str:
    """Have a day at the shop; return the key of Alice."""
    key = api.ping(url=f"{SHOP}/", timezone=0, resolution="1x1")
    api.ping(
        userKey=key, user_id="u-1", email="alice@shop.example", name="Alice Kowalska", plan="pro",
        logins=3, company={"name": "Tern Ltd"}, url=f"{SHOP}/cup", timezone=0, resolution="1x1",
    )  # fmt: skip
    for _ in range(2):
        api.event(key, "added_to_basket", '{"sku": "cup"}')
    api.http.post("/api/event/", json={"api_key": "ABC123", "user_key": key, "event": ""})
    api.event("gonegonegone", "late")
    api.ping(create_new_gu=True, url=f"{SHOP}/logout", timezone=0, resolution="1x1")
    sandbox.faults.latency(0.02, times=1)
    api.event(key, "looked_at_vase")
    return key


def test_page_without_visitors_shows_the_setup_snippet(
    dashboard: Page, running: RunningSandbox
) -> None:
    expect(dashboard.get_by_text("No visitors yet")).to_be_visible()
    snippet = dashboard.get_by_role("region", name="Snippet").inner_text()
    assert f'<script src="{running.url}/widget.js"></script>' in snippet
    assert '"apiKey":"ABC123"' in snippet


def test_page_shows_visitors_and_time_line_live_without_whole_keys(
    dashboard: Page, api: Api, sandbox: Sandbox
) -> None:
    key = shop(api, sandbox)
    line = rows(dashboard, "Time line")
    expect(line.first).to_contain_text("looked_at_vase")
    expect(line.filter(has_text="Alice Kowalska → new visitor")).to_have_count(1)
    expect(line.filter(has_text="duplicate")).to_have_count(1)
    expect(line.filter(has_text="orphan")).to_have_count(1)
    alice = rows(dashboard, "Visitors").filter(has_text="Alice Kowalska")
    expect(alice).to_contain_text("id u-1 · alice@shop.example")
    expect(alice).to_contain_text("2 hits · 3 events")
    assert key not in dashboard.content()
    assert key[:4] in line.first.inner_text()


def test_filters_by_kind_mark_and_text_narrow_the_time_line(
    dashboard: Page, api: Api, sandbox: Sandbox
) -> None:
    shop(api, sandbox)
    line = rows(dashboard, "Time line")
    kinds = dashboard.get_by_role("group", name="Kinds")
    kinds.get_by_role("button", name="refused 2").click()
    expect(line).to_have_count(2)
    expect(dashboard.locator("#timeline").get_by_role("status")).to_contain_text(
        re.compile(r"1–2 of 2 \(\d+ in all\)")
    )
    kinds.get_by_role("button", name="refused 2").click()
    dashboard.get_by_label("Marks").select_option("duplicate")
    expect(line).to_have_count(1)
    dashboard.get_by_label("Marks").select_option("")
    dashboard.keyboard.press("Escape")
    dashboard.keyboard.press("/")
    dashboard.keyboard.type("VASE")
    expect(line).to_have_count(1)
    expect(line).to_contain_text("looked_at_vase")
    dashboard.get_by_label("Search visitors").fill("nothing like it")
    expect(rows(dashboard, "Visitors")).to_have_count(0)


def test_visitor_page_shows_identity_attributes_company_and_refusals(
    dashboard: Page, api: Api, sandbox: Sandbox
) -> None:
    sandbox.unified_identification = True
    key = shop(api, sandbox)
    stranger = api.ping(url=f"{SHOP}/mail")
    assert api.ping(userKey=stranger, email="alice@shop.example", url=SHOP) == key
    dashboard.get_by_role("list", name="Visitors").get_by_role("link", name="Alice").click()
    panel = dashboard.get_by_role("tabpanel", name="Alice Kowalska")
    history = rows(dashboard, "Identity history")
    expect(history).to_have_count(3)
    expect(history.nth(2)).to_contain_text("merged into Alice Kowalska")
    expect(history.nth(2)).to_contain_text("Unified Identification is on")
    plan = panel.get_by_role("row").filter(has_text="plan")
    expect(plan).to_contain_text("custom, created automatically")
    expect(panel.get_by_role("row").filter(has_text="logins")).to_contain_text("number")
    expect(panel).to_contain_text("Tern Ltd")
    expect(rows(dashboard, "Refused requests")).to_contain_text("400 event must be")
    expect(panel.get_by_role("list", name="Activity")).to_contain_text("added_to_basket")
    dashboard.keyboard.press("Escape")
    expect(panel).to_be_hidden()


def test_requests_show_status_and_timing(dashboard: Page, api: Api, sandbox: Sandbox) -> None:
    shop(api, sandbox)
    dashboard.get_by_role("tab", name="Requests").click()
    first = rows(dashboard, "Requests").first
    expect(first).to_contain_text("POST /api/event/")
    expect(first).to_contain_text(re.compile(r"200.*\d+ ms", re.DOTALL))
    dashboard.get_by_label("Which requests").select_option("failed")
    expect(rows(dashboard, "Requests")).to_have_count(2)


def test_details_stay_open_and_an_entry_is_copied_as_a_test(
    dashboard: Page, api: Api, running: RunningSandbox
) -> None:
    dashboard.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=running.url)
    key = api.ping()
    api.event(key, "signed_up", '{"plan": "pro"}')
    opener = dashboard.get_by_role("button", name="signed_up")
    opener.click()
    api.ping(userKey=key, name="Ann")
    expect(rows(dashboard, "Time line")).to_have_count(4)
    expect(opener).to_have_attribute("aria-expanded", "true")
    dashboard.get_by_role("button", name="Copy as test").click()
    expect(dashboard.get_by_text("Copied", exact=True)).to_be_visible()
    copied = dashboard.evaluate("navigator.clipboard.readText()")
    assert "assert [each.data for each in events] == [{'plan': 'pro'}]" in copied


def test_pause_keeps_the_list_and_counts_what_is_new(dashboard: Page, api: Api) -> None:
    dashboard.get_by_role("button", name="Pause").click()
    api.ping()
    expect(dashboard.get_by_role("button", name="Resume (2 new)")).to_be_visible()
    expect(rows(dashboard, "Time line")).to_have_count(0)
    dashboard.keyboard.press("p")
    expect(rows(dashboard, "Time line")).to_have_count(2)


def test_pages_of_the_list_go_to_older_entries_and_back(dashboard: Page, api: Api) -> None:
    key = api.ping()
    for number in range(120):
        api.event(key, f"event_{number}")
    shown = dashboard.locator("#timeline").get_by_role("status")
    expect(shown).to_have_text("1–50 of 122")
    older = dashboard.locator("#timeline").get_by_role("button", name="Older")
    older.click()
    expect(shown).to_have_text("51–100 of 122")
    expect(rows(dashboard, "Time line").first).to_contain_text("event_69")
    older.click()
    expect(shown).to_have_text("101–122 of 122")
    expect(older).to_be_hidden()
    dashboard.locator("#timeline").get_by_role("button", name="Newer").click()
    expect(shown).to_have_text("51–100 of 122")


def test_trouble_is_added_per_endpoint_and_removed(
    dashboard: Page, api: Api, sandbox: Sandbox
) -> None:
    dashboard.get_by_role("tab", name="Trouble").click()
    for label, health in (
        ("answers 500", "User.com answers 500"),
        ("is slow (3 s)", "User.com answers after 3 s"),
        ("drops answers", "User.com drops the answer"),
        ("is down", "User.com is down"),
        ("is fine", "User.com is fine"),
    ):
        button = dashboard.get_by_role("button", name=label, exact=True)
        button.click()
        expect(dashboard.get_by_role("status").first).to_have_text(health)
        expect(button).to_have_attribute("aria-pressed", "true")
    dashboard.get_by_label("Endpoint").select_option("/api/event/")
    dashboard.get_by_role("combobox", name="Trouble").select_option("429")
    expect(dashboard.get_by_text("Retry-After names the seconds")).to_be_visible()
    dashboard.get_by_label("Retry-After, seconds").fill("7")
    dashboard.get_by_role("button", name="Add", exact=True).click()
    force = rows(dashboard, "Trouble in force")
    expect(force).to_contain_text("answers 429, Retry-After: 7, /api/event/")
    answer = api.event(api.ping())
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    dashboard.get_by_role("button", name="Remove: answers 429").click()
    expect(force).to_have_text("Nothing: User.com is fine.")
    dashboard.get_by_role("switch", name="Unified Identification").check()
    until_sync(lambda: sandbox.unified_identification)


def test_switch_stays_as_clicked_while_older_states_arrive(
    dashboard: Page, api: Api, sandbox: Sandbox
) -> None:
    held: list[Route] = []
    # A lambda, because Playwright sets an attribute on the function.
    dashboard.route("**/sandbox/settings", lambda route: held.append(route))
    dashboard.get_by_role("tab", name="Trouble").click()
    switch = dashboard.get_by_role("switch", name="Unified Identification")
    switch.check()
    api.ping()
    expect(rows(dashboard, "Visitors")).to_have_count(1)  # a state came meanwhile
    assert switch.is_checked()
    held[0].continue_()
    until_sync(lambda: sandbox.unified_identification)
    expect(switch).to_be_checked()
    api.ping()
    expect(rows(dashboard, "Visitors")).to_have_count(2)  # a state of after the answer
    sandbox.unified_identification = False
    expect(switch).not_to_be_checked()


def test_dashboard_drops_a_state_older_than_the_one_it_shows(
    dashboard: Page, sandbox: Sandbox
) -> None:
    dashboard.get_by_role("tab", name="Trouble").click()
    health = dashboard.get_by_role("status").first

    def overtake(route: Route) -> None:
        answer = route.fetch()
        assert answer.json()["faults"] == ["is down"]
        sandbox.faults.clear()
        sandbox.faults.status(500)
        expect(health).to_have_text("User.com answers 500")
        route.fulfill(response=answer)

    dashboard.route("**/sandbox/faults", overtake)
    with dashboard.expect_response("**/sandbox/faults") as answered:
        dashboard.get_by_role("button", name="is down", exact=True).click()
    answered.value.finished()
    dashboard.evaluate("new Promise((done) => setTimeout(done, 50))")  # the page reads it
    expect(health).to_have_text("User.com answers 500")


def test_clear_asks_first(dashboard: Page, api: Api, sandbox: Sandbox) -> None:
    api.ping()
    expect(rows(dashboard, "Visitors")).to_have_count(1)
    dialog = dashboard.get_by_role("dialog", name="Clear all records?")
    for answer, kept in (("Keep", 1), ("Clear all", 0)):
        dashboard.get_by_role("button", name="Clear…").click()
        dialog.get_by_role("button", name=answer).click()
        expect(dialog).to_be_hidden()
        expect(rows(dashboard, "Visitors")).to_have_count(kept)
        until_sync(lambda kept=kept: len(sandbox.store.users) == kept)
    expect(dashboard.get_by_text("No visitors yet")).to_be_visible()


def test_keys_move_in_the_lists_and_tabs(dashboard: Page, api: Api) -> None:
    key = api.ping()
    api.event(key, "first")
    api.event(key, "second")
    expect(rows(dashboard, "Time line")).to_have_count(4)
    dashboard.keyboard.press("j")
    expect(dashboard.get_by_role("button", name="second")).to_be_focused()
    dashboard.keyboard.press("ArrowDown")
    expect(dashboard.get_by_role("button", name="first")).to_be_focused()
    dashboard.keyboard.press("k")
    expect(dashboard.get_by_role("button", name="second")).to_be_focused()
    dashboard.get_by_role("tab", name="Time line").focus()
    dashboard.keyboard.press("ArrowRight")
    expect(dashboard.get_by_role("tabpanel", name="Requests")).to_be_visible()
    expect(dashboard.get_by_role("tab", name="Requests")).to_be_focused()


def test_answer_code_open_and_close_reach_the_page_of_the_visitor(
    visit: Visit, running: RunningSandbox, sandbox: Sandbox
) -> None:
    visit.open(
        "{apiKey: 'ABC123', name: 'Ann', onMessage(m) { (window.got ||= []).push(m) },"
        " onPayloadReceived(p) { (window.got ||= []).push(p) },"
        " onOpen() { (window.got ||= []).push('open') }, onClose() { window.got.push('close') }}"
    )
    visit.page.bring_to_front()
    until_sync(lambda: +sandbox.pushes.listeners)
    number = sandbox.store.users[visit.key()].id
    # Another tab, as a person has it; the page of the shop stays visible to Chromium.
    other = visit.page.context.new_page()
    other.goto(f"{running.url}/#/visitor/{number}")
    panel = other.get_by_role("tabpanel", name="Ann")
    expect(panel).to_contain_text("A page of this visitor is open")
    panel.get_by_label("Answer as User.com").fill("We are here <b>")
    panel.get_by_role("button", name="Send", exact=True).click()
    expect(panel.get_by_role("log")).to_contain_text("We are here <b>")
    panel.get_by_label("Payload").fill('{"discount": 10}')
    panel.get_by_role("button", name="Send Code").click()
    panel.get_by_role("button", name="Open the chat").click()
    panel.get_by_role("button", name="Close the chat").click()
    visit.page.wait_for_function("window.got && window.got.length === 4")
    assert visit.page.evaluate("window.got") == [
        {"content": "We are here <b>", "isAdmin": True},
        {"discount": 10},
        "open",
        "close",
    ]
    other.close()


def test_hostile_values_are_shown_as_text(dashboard: Page, api: Api, sandbox: Sandbox) -> None:
    for text in HOSTILE:
        post_everywhere(api, sandbox, text)
    line = dashboard.get_by_role("list", name="Time line")
    expect(line.get_by_role("listitem")).to_have_count(5 * len(HOSTILE))
    line.locator(".open").evaluate_all("all => all.forEach(each => each.click())")
    for user in list(sandbox.store.users.values()):
        dashboard.evaluate("id => { location.hash = `/visitor/${id}` }", user.id)
        expect(dashboard.locator("#visitor .sub").first).to_contain_text(f"visitor {user.id}")
        dashboard.locator("#visitor .open").evaluate_all("all => all.forEach(e => e.click())")
        assert dashboard.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert dashboard.evaluate("window.broken") is None
    assert dashboard.locator("img, svg, b, a[href^=javascript], script:not([src])").count() == 0


def post_everywhere(api: Api, sandbox: Sandbox, text: str) -> None:
    """Put a text wherever a visitor can put one. Its bytes may hold a lone surrogate."""

    def post(path: str, body: dict[str, object]) -> httpx.Response:
        return api.http.post(path, content=json.dumps(body).encode())

    hit = dict.fromkeys(("url", "name", "email", "user_id", text), text)
    answer = post(
        "/api/v2/user-chatping/",
        {"apiKey": "ABC123", **hit, "company": {"name": text, text: text},
         "event": {"event_name": text, "x": text}},
    )  # fmt: skip
    key = answer.json()["user"]["key"]
    post("/api/event/", {"api_key": text, "event": text})
    post("/api/update-attribute/", {"apiKey": "ABC123", "userKey": key, "data": [{text: text}]})
    sandbox.store.users[key].conversation.append({"content": text, "isAdmin": False, "at": 1.0})


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_passes_axe_and_fits_the_window(
    dashboard: Page, api: Api, sandbox: Sandbox, scheme: str, width: int
) -> None:
    key = shop(api, sandbox)
    api.http.post("/api/conversation/new/", json={"api_key": "ABC123", "user_key": key, "domain": "d", "content": "Hi"})  # fmt: skip
    api.ping(email="joe.longname.with-an-unusual-address@subsidiary.example.co.uk", name="x" * 80)
    dashboard.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    dashboard.set_viewport_size({"width": width, "height": 800})
    dashboard.get_by_role("tab", name="Time line").click()
    rows(dashboard, "Time line").first.locator(".open").click()
    views = ["timeline", "requests", "trouble", f"visitor/{sandbox.store.users[key].id}"]
    for view in views if width == 1280 else ["visitors", "timeline", views[-1]]:
        dashboard.evaluate("view => { location.hash = `/${view}` }", view)
        panel = dashboard.locator(f"#{view.partition('/')[0]}")
        expect(panel).to_be_visible()
        expect(panel.locator(".rows li, .force li").first).to_be_visible()
        is_beside = dashboard.locator("#visitors").is_visible()
        assert is_beside == (width == 1280 or view == "visitors")
        if (scheme, width) != ("dark", 390):  # colours do not depend on the width
            results = Axe().run(dashboard, options=QUICK)
            assert (view, [each["id"] for each in results.response["violations"]]) == (view, [])
        assert dashboard.evaluate("document.documentElement.scrollWidth") <= width
    dashboard.get_by_role("button", name="Clear…").click()
    if width == 1280:
        assert Axe().run(dashboard, options=QUICK).violations_count == 0
    dashboard.get_by_role("button", name="Keep").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_widget_passes_axe(visit: Visit, sandbox: Sandbox, scheme: str) -> None:
    visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    visit.open("{apiKey: 'ABC123', name: 'Ann', widget: {state: 'expanded'}}")
    user = sandbox.store.users[visit.key()]
    user.conversation += [
        {"content": "Hello", "isAdmin": False, "at": 1.0},
        {"content": "Hi", "isAdmin": True, "at": 2.0},
    ]
    visit.page.evaluate("UE.pageHit()")
    expect(visit.page.get_by_role("log")).to_contain_text("Hello")
    results = Axe().run(visit.page, context="#__ue_widget_mount", options=QUICK)
    assert [each["id"] for each in results.response["violations"]] == []
