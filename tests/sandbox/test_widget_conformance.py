"""The stand-in does what the vendor's own widget did when it ran with our snippet.

One test for each observation. The vendor's build was that of 2022-05-28, in Chromium.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from helpers.waiting import until_sync
from playwright.sync_api import expect

if TYPE_CHECKING:
    from sandbox.conftest import Api, Visit

    from usercom_asgi.sandbox import Sandbox

HAS_KEY = "key => document.cookie.includes(key)"


def test_01_ping_answer_has_all_that_the_vendors_widget_reads(api: Api) -> None:
    answer = api.http.post("/api/v2/user-chatping/", json={"apiKey": "ABC123"}).json()
    assert set(answer) == {"widget", "user", "unreadConversationList", "hasAnyConversations"}
    widget, user = answer["widget"], answer["user"]
    assert set(widget) >= {"settings", "modules", "translations", "agents", "visible_pages"}
    assert set(user) >= {"key", "id", "name", "avatar", "email", "webpush", "visibility"}
    # `.some` is called on it, and without it the widget stops.
    places = [widget, widget["settings"], *widget["modules"].values()]
    assert len(places) > 2
    assert all(place["visible_pages"] == [] for place in places)
    assert set(widget["modules"]) >= {"chat", "knowledge_base"}
    assert {"greeting", "greeting_title", "prompt", "chat_heading_title"} <= set(
        widget["translations"]
    )
    assert {"name", "avatar"} <= set(widget["agents"][0])
    assert (answer["unreadConversationList"], answer["hasAnyConversations"]) == ([], False)


def test_02_async_tag_after_a_stub_starts_with_civchat_in_the_first_ping(
    visit: Visit, sandbox: Sandbox
) -> None:
    visit.site.pages["/"] = (
        "<script>window.userengage = function () {}; window.civchat = {apiKey: 'ABC123', plan: 'pro'}</script>"
        f"<script async src='{visit.widget}'></script>"
    )
    visit.page.goto(visit.site.url())
    visit.ready()
    assert [hit.payload["plan"] for hit in sandbox.store.hits] == ["pro"]
    visit.page.evaluate("userengage('event.one')")
    until_sync(lambda: [event.name for event in sandbox.store.events] == ["one"])


def test_03_cookie_is_set_for_the_vendors_idea_of_the_domain(visit: Visit) -> None:
    rule = {
        "example.com": ".example.com",
        "shop.example.com": ".example.com",
        "www.example.co.uk": ".example.co.uk",
        "shop.example.com.pl": ".example.com.pl",
        "www.foo.co": ".www.foo.co",
        "app.abc.io": ".app.abc.io",
        "app.longer.io": ".longer.io",
        "www.a.de": ".a.de",
        "foo.herokuapp.com": ".herokuapp.com",
        "localhost": "localhost",
        "10.0.0.7": "10.0.0.7",
        "intranet": None,
    }
    visit.open(host="shop.example.com")
    assert visit.page.evaluate(
        "hosts => hosts.map(UE.__internal.cookieDomain)", list(rule)
    ) == list(rule.values())
    (cookie,) = visit.page.context.cookies()
    assert (cookie["domain"], cookie["sameSite"], cookie["secure"]) == (
        ".example.com",
        "Lax",
        False,
    )


def test_04_call_at_the_first_answer_overtakes_the_early_calls(
    visit: Visit, sandbox: Sandbox
) -> None:
    visit.open(
        "{apiKey: 'ABC123', onLoad() { userengage('event.late') }}",
        after="userengage('event.one'); userengage('event.two')",
    )
    until_sync(lambda: len(sandbox.store.events) == 3)
    assert [event.name for event in sandbox.store.events] == ["late", "one", "two"]


def test_05_early_calls_after_one_that_fails_are_sent_for_the_next_visitor(
    visit: Visit, sandbox: Sandbox
) -> None:
    sandbox.faults.status(500, times=1, only="/api/event/")
    visit.open(after="userengage('event.one'); userengage('event.two')")
    old = visit.key()
    visit.page.wait_for_timeout(200)
    assert sandbox.store.events == []
    visit.page.evaluate("UE.resetAuth({apiKey: 'ABC123'})")
    until_sync(lambda: [event.name for event in sandbox.store.events] == ["two"])
    assert sandbox.store.events[0].key != old


def test_05_early_calls_after_an_unknown_one_are_not_sent(visit: Visit, sandbox: Sandbox) -> None:
    visit.open(after="userengage('nonsense'); userengage('event.two')")
    visit.page.wait_for_timeout(200)
    assert sandbox.store.events == []


def test_06_event_name_ends_at_its_first_dot(visit: Visit, sandbox: Sandbox, api: Api) -> None:
    visit.open()
    visit.page.evaluate("userengage('event.order.created')")
    until_sync(lambda: [event.name for event in sandbox.store.events] == ["order"])
    api.event(visit.key(), "order.created")  # a server's name is kept
    assert sandbox.store.events[-1].name == "order.created"


def test_07_event_of_a_page_hit_is_sent_again_with_every_later_ping(
    visit: Visit, sandbox: Sandbox, api: Api
) -> None:
    ann = api.ping(user_id="1")
    visit.open("{apiKey: 'ABC123', user_id: '1'}")
    visit.page.evaluate(
        "UE.pageHit({event: {event_name: 'login', via: 'sso'}}); UE.pageHit(); UE.pageHit()"
    )
    visit.settle(sandbox, 5)
    events = [(event.key, event.name, event.data) for event in sandbox.store.events]
    assert events == [(ann, "login", {"via": "sso"})] * 3


def test_07_undefined_event_ends_the_repetition(visit: Visit, sandbox: Sandbox) -> None:
    visit.open()
    visit.page.evaluate(
        "UE.pageHit({event: {event_name: 'login'}}); UE.pageHit({event: undefined}); UE.pageHit()"
    )
    visit.settle(sandbox, 4)
    assert len(sandbox.store.events) == 1


def test_08_callbacks_leave_civchat_and_end_at_the_next_page_hit(
    visit: Visit, sandbox: Sandbox
) -> None:
    visit.open(
        "{apiKey: 'ABC123', state: 'simple'}",
        before="window.calls = []; for (const name of ['onLoad', 'onOpen', 'onClose'])"
        " civchat[name] = () => calls.push(name)",
    )
    assert visit.page.evaluate("Object.keys(civchat)") == ["apiKey", "state"]
    visit.page.evaluate("userengage('widget.open'); userengage('widget.close'); UE.pageHit()")
    visit.settle(sandbox, 2)
    visit.page.evaluate("userengage('widget.open')")
    assert visit.page.evaluate("calls") == ["onLoad", "onOpen", "onClose"]


def test_09_page_hit_after_the_cookie_has_gone_brings_the_old_key_back(
    visit: Visit, sandbox: Sandbox
) -> None:
    visit.open("{apiKey: 'ABC123', user_id: 'ann'}")
    old = visit.key()
    visit.page.context.clear_cookies()  # as a logout by fetch does
    visit.page.evaluate("history.pushState({}, '', '/next'); UE.pageHit()")
    visit.settle(sandbox, 2)
    assert sandbox.store.hits[1].payload["user_id"] == "ann"
    assert visit.key() == old


def test_10_late_answer_to_a_ping_before_a_reset_writes_the_old_cookie_again(
    visit: Visit, sandbox: Sandbox
) -> None:
    visit.open()
    old = visit.key()
    sandbox.faults.latency(60, before=False, times=1)
    visit.page.evaluate("UE.pageHit()")
    until_sync(lambda: len(sandbox.store.hits) == 2)
    visit.page.evaluate("UE.resetAuth({apiKey: 'ABC123'})")
    visit.settle(sandbox, 3)
    assert sandbox.store.hits[-1].key != old
    sandbox.faults.clear()
    visit.page.wait_for_function(HAS_KEY, arg=old)
    visit.page.evaluate("userengage('event.later')")
    until_sync(lambda: [event.key for event in sandbox.store.events] == [old])


def test_11_page_hit_of_an_old_tab_takes_the_new_key_and_the_old_attributes(
    visit: Visit, sandbox: Sandbox, api: Api
) -> None:
    other = api.ping()
    visit.open("{apiKey: 'ABC123', plan: 'pro'}")
    visit.page.evaluate(
        f"document.cookie = '__ca__chat={other}; path=/; domain=127.0.0.1'; UE.pageHit()"
    )
    visit.settle(sandbox, 3)
    assert sandbox.store.hits[-1].key == other
    assert sandbox.store.hits[-1].payload["plan"] == "pro"


def test_12_page_with_a_key_in_its_address_takes_that_key_again(
    visit: Visit, sandbox: Sandbox, api: Api
) -> None:
    old = api.ping()
    visit.open(path=f"/?__ca__chat={old}")
    assert visit.key() == old
    visit.open(path="/logout", after="UE.resetAuth({apiKey: 'ABC123'})")
    until_sync(lambda: len(sandbox.store.users) == 2)
    visit.page.go_back()
    visit.page.wait_for_function(HAS_KEY, arg=old)
    assert len(sandbox.store.users) == 2


def test_13_slow_answer_after_the_cookie_has_gone_writes_it_again(
    visit: Visit, sandbox: Sandbox
) -> None:
    visit.open()
    old = visit.key()
    sandbox.faults.latency(60, before=False, times=1)
    visit.open(path="/next", wait=False)
    until_sync(lambda: len(sandbox.store.hits) == 2)
    visit.page.context.clear_cookies()
    assert visit.cookies() == {}
    sandbox.faults.clear()
    visit.page.wait_for_function(HAS_KEY, arg=old)


def test_14_ping_of_a_reset_is_no_repeat_and_its_attributes_are_sent_once(
    visit: Visit, sandbox: Sandbox
) -> None:
    visit.open("{apiKey: 'ABC123', plan: 'pro'}")
    visit.page.evaluate("UE.resetAuth({apiKey: 'ABC123', email: 'ann@example.com'})")
    visit.settle(sandbox, 2)
    reset = sandbox.store.hits[1].payload
    assert reset.items() >= {"create_new_gu": True, "email": "ann@example.com"}.items()
    assert not {"widget_ready", "plan", "userKey"} & set(reset)
    visit.page.evaluate("UE.pageHit({colour: 'blue'})")
    visit.settle(sandbox, 3)
    later = sandbox.store.hits[2].payload
    assert later.items() >= {"apiKey": "ABC123", "widget_ready": True, "colour": "blue"}.items()
    assert not {"create_new_gu", "email", "plan"} & set(later)


def test_15_destroy_keeps_the_functions_and_later_calls_wait(
    visit: Visit, sandbox: Sandbox
) -> None:
    visit.open()
    visit.page.evaluate("UE.destroy(); userengage('event.late'); UE.pageHit()")
    visit.page.wait_for_timeout(100)
    types = visit.page.evaluate("[typeof UE.pageHit, typeof userengage]")
    assert types == ["function", "function"]
    assert visit.page.locator("#__ue_widget_mount").count() == 0
    assert sandbox.store.events == []
    visit.page.add_script_tag(url=visit.widget)
    visit.ready()
    assert [hit.payload.get("userKey") for hit in sandbox.store.hits] == [None, visit.key()]


def test_15_page_hit_with_the_app_key_after_destroy_makes_a_new_user(
    visit: Visit, sandbox: Sandbox
) -> None:
    visit.open()
    visit.page.evaluate("UE.destroy(); UE.pageHit({apiKey: 'ABC123'})")
    visit.settle(sandbox, 2)
    assert len(sandbox.store.users) == 2


def test_16_civchat_has_the_key_before_the_ping_if_one_is_known(
    visit: Visit, sandbox: Sandbox
) -> None:
    visit.open()
    assert visit.page.evaluate("civchat.userKey") is None
    sandbox.faults.hang()
    visit.open(path="/next", wait=False)
    visit.page.wait_for_function("civchat.userKey")
    assert visit.page.evaluate("[UE.isReady, civchat.userKey]") == [False, visit.key()]


def test_17_swap_of_the_body_leaves_commands_working_and_no_chat(
    visit: Visit, sandbox: Sandbox
) -> None:
    visit.open()
    visit.page.evaluate(
        "window.chat = document.getElementById('__ue_widget_mount');"
        "document.body = document.createElement('body')"
    )
    visit.page.add_script_tag(url=visit.widget)
    visit.page.evaluate("userengage('event.later'); userengage('widget.open')")
    until_sync(lambda: sandbox.store.events)
    assert visit.page.locator("#__ue_widget_mount").count() == 0
    assert any("attached multiple times" in line for line in visit.console)
    visit.page.evaluate("document.body.append(chat)")  # a page that keeps the element
    expect(visit.page.locator(".panel")).to_be_visible()
    visit.page.evaluate("UE.destroy()")
    visit.page.add_script_tag(url=visit.widget)
    visit.ready()
    expect(visit.page.locator(".launcher")).to_be_visible()


def open_under(visit: Visit, policy: str) -> None:
    visit.site.pages["/"] = (
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<script>window.civchat = {{apiKey: 'ABC123'}}</script><script src='{visit.widget}'></script>"
    )
    visit.page.goto(visit.site.url())


def test_18_under_a_policy_without_styles_the_widget_has_no_look(visit: Visit) -> None:
    policy = f"default-src 'none'; script-src 'unsafe-inline' {visit.widget}; connect-src *"
    for styles, has_look in (("", False), ("; style-src 'unsafe-inline'", True)):
        open_under(visit, policy + styles)
        visit.ready()
        box = visit.page.locator(".launcher").bounding_box()
        assert box
        assert (box["width"] == 60) is has_look


def test_18_under_required_trusted_types_the_widget_does_not_start(
    visit: Visit, sandbox: Sandbox
) -> None:
    with visit.page.expect_event("pageerror"):
        open_under(visit, "require-trusted-types-for 'script'")
    assert "TrustedHTML" in visit.errors.pop()
    assert visit.page.evaluate("UE.isReady") is False
    assert not sandbox.store.hits


def test_19_widget_on_a_host_of_the_sites_own_finds_no_app_domain_and_sends_nothing(
    visit: Visit, sandbox: Sandbox
) -> None:
    # As a proxy of the site serves it: its own host to the browser, that of the sandbox here.
    visit.site.pages["/widget.js"] = httpx.get(visit.widget).text
    with visit.page.expect_console_message(lambda each: "cannot find the app domain" in each.text):
        visit.site.pages["/"] = (
            "<script>window.civchat = {apiKey: 'ABC123'}</script>"
            f"<script src='{visit.site.url('/widget.js', 'chat.example.com')}'></script>"
        )
        visit.page.goto(visit.site.url())
    assert visit.page.evaluate("typeof window.UE") == "undefined"
    visit.page.wait_for_timeout(50)
    assert not sandbox.store.hits
    assert not sandbox.store.rejected


def test_20_parameters_of_the_address_are_sent_and_override_the_page(
    visit: Visit, sandbox: Sandbox
) -> None:
    visit.open(
        "{apiKey: 'ABC123', user_id: 'ann'}",
        path="/?user_id=mallory&state=hidden&plan=free&__ca__chat=",
    )
    visit.page.evaluate("UE.pageHit()")
    visit.settle(sandbox, 2)
    assert [hit.payload["user_id"] for hit in sandbox.store.hits] == ["ann", "mallory"]
    assert [hit.payload["plan"] for hit in sandbox.store.hits] == ["free", "free"]
    assert sandbox.store.hits[0].payload["state"] == "hidden"


def test_21_pings_without_a_key_at_the_same_moment_make_two_users(
    visit: Visit, sandbox: Sandbox
) -> None:
    visit.open(after="UE.pageHit({colour: 'blue'})")
    visit.settle(sandbox, 2)
    assert len(sandbox.store.users) == 2


def test_chat_reads_conversations_by_the_headers_of_the_vendors_widget(api: Api) -> None:
    key = api.ping()
    cross = {"Origin": "https://shop.example.com"}
    asked = {**cross, "Access-Control-Request-Headers": "clientuser-key,convo-id"}
    allowed = api.http.options("/api/v2/conversations/", headers=asked)
    names = allowed.headers["access-control-allow-headers"].split(", ")
    assert {"clientuser-key", "convo-id"} <= set(names)

    def read(path: str, **headers: str) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return api.http.get(path, headers=cross | names)

    empty: dict[str, object] = {"next": None, "results": []}
    assert read("/api/v2/conversations/", clientuser_key=key).json() == empty
    assert read("/api/v2/conversations/", clientuser_key="unknown").status_code == 404
    body = {"api_key": "ABC123", "user_key": key, "message": "Hello", "source_context": {}}
    made = api.http.post("/api/conversation/new/", json=body).json()
    assert made["message"]["content"] == "Hello"
    (talk,) = read("/api/v2/conversations/", clientuser_key=key).json()["results"]
    assert talk["id"] == made["conversation"]["id"] == made["message"]["conversation_id"]
    assert talk["unread"] is True
    answer = read("/api/v2/conversation/", clientuser_key=key, convo_id=str(talk["id"]))
    newest, oldest = answer.json()["results"]
    assert (oldest["content"], oldest["is_native"]) == ("Hello", False)
    assert newest["is_native"] is True
    assert read("/api/v2/conversation/", clientuser_key=key, convo_id="7x").status_code == 404
