"""The dashboard, in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from helpers.waiting import until_sync

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import ConsoleMessage, Error, Page
    from sandbox.conftest import Api

    from usercom_asgi.sandbox import RunningSandbox, Sandbox

HOSTILE = "</script><img src=x onerror=window.broken=1>"


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
    page.locator("#health", has_text="User.com is fine").wait_for()
    yield page
    page.remove_listener("pageerror", fail)
    page.remove_listener("console", record_console)
    assert errors == []


def test_dashboard_without_visitors_shows_the_setup_snippet(
    dashboard: Page, running: RunningSandbox
) -> None:
    assert dashboard.get_by_text("No visitors yet").is_visible()
    snippet = dashboard.locator("#snippet").inner_text()
    assert f'<script src="{running.url}/widget.js"></script>' in snippet
    assert '"apiKey":"ABC123"' in snippet


def test_dashboard_with_visitors_shows_people_and_activity_newest_first(
    dashboard: Page, api: Api
) -> None:
    key = api.ping(
        url="https://shop.example.com/a",
        user_id="u-1",
        email="ann@example.com",
        name="Ann Kowalska",
    )
    api.event(key, "signed_up")
    api.ping(create_new_gu=True, url="https://shop.example.com/logout")
    api.http.post("/api/event/", json={"api_key": "WRONG"})
    dashboard.locator("li").nth(3).wait_for()
    assert [kind.inner_text() for kind in dashboard.locator(".kind").all()] == [
        "refused",
        "reset",
        "event",
        "view",
    ]
    ann = dashboard.locator("tbody tr").filter(has_text="Ann Kowalska")
    assert [cell.inner_text() for cell in ann.locator("td").all()][1:3] == [
        "u-1",
        "ann@example.com",
    ]
    assert key not in dashboard.content()
    assert key[:4] in ann.inner_text()


def test_dashboard_hostile_data_is_shown_as_text(dashboard: Page, api: Api) -> None:
    key = api.ping(
        url=HOSTILE,
        name=HOSTILE,
        email=HOSTILE,
        user_id=HOSTILE,
        event={"event_name": HOSTILE, "x": HOSTILE},
    )
    api.event(key, HOSTILE)
    api.http.post("/api/event/", content=HOSTILE)
    dashboard.locator("li").nth(3).wait_for()
    assert dashboard.locator("tbody .name").inner_text() == HOSTILE
    assert dashboard.locator("img").count() == 0
    assert dashboard.evaluate("window.broken") is None


def test_dashboard_after_a_new_ping_keeps_opened_details_open(dashboard: Page, api: Api) -> None:
    key = api.ping(colour="blue")
    dashboard.locator("summary").click()
    api.ping(userKey=key)
    dashboard.locator("li").nth(1).wait_for()
    assert dashboard.locator("details[open]").count() == 1


def test_dashboard_buttons_set_faults_and_settings_and_clear_the_store(
    dashboard: Page, api: Api, sandbox: Sandbox
) -> None:
    for label, badge in (
        ("answers 500", "User.com answers 500"),
        ("is slow (3 s)", "User.com answers after 3 s"),
        ("hangs", "User.com hangs"),
        ("drops answers", "User.com drops the answer"),
        ("is fine", "User.com is fine"),
    ):
        dashboard.get_by_role("button", name=label).click()
        dashboard.locator("#health", has_text=badge).wait_for()
        assert dashboard.locator("[aria-pressed=true]").inner_text() == label
    dashboard.get_by_text("Unified Identification").click()
    until_sync(lambda: sandbox.unified_identification)
    api.ping()
    dashboard.locator("tbody tr").wait_for()
    dashboard.get_by_role("button", name="Forget everything").click()
    dashboard.get_by_text("No visitors yet").wait_for()
    assert not sandbox.store.users


@pytest.mark.parametrize("width", [1280, 390])
def test_dashboard_with_long_values_fits_the_window_width(
    dashboard: Page, api: Api, width: int
) -> None:
    api.ping(
        email="joe.longname.with-an-unusually-long-address@subsidiary.example.co.uk",
        name="x" * 80,
        url="y" * 300,
    )
    dashboard.set_viewport_size({"width": width, "height": 800})
    dashboard.locator("li").wait_for()
    assert dashboard.evaluate("document.documentElement.scrollWidth") <= width


def test_dashboard_demo_email_in_a_wide_window_is_not_cut_off(dashboard: Page, api: Api) -> None:
    api.ping(user_id="alice", email="alice@example.com", name="Alice Kowalska")
    dashboard.set_viewport_size({"width": 1280, "height": 800})
    address = dashboard.locator("td[data-label=Email] span", has_text="alice@example.com")
    address.wait_for()
    assert address.evaluate("cell => cell.scrollWidth <= cell.clientWidth")


def test_dashboard_timeline_with_slow_answers_shows_their_latency(
    dashboard: Page, api: Api, sandbox: Sandbox
) -> None:
    sandbox.faults.latency(0.1)
    sandbox.faults.latency(0.2, before=False, times=1)
    api.ping()
    api.ping()
    dashboard.locator("li .fault").nth(1).wait_for()
    shown = [each.inner_text() for each in dashboard.locator("li:has(.fault) .what").all()]
    assert shown == ["answers after 0.1 s", "acts at once, answers after 0.2 s"]
