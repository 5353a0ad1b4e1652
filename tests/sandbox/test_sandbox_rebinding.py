"""DNS rebinding, in a real browser: a site whose name leads to 127.0.0.1."""

from __future__ import annotations

from helpers.chromium import chromium

from usercom_asgi.sandbox import Sandbox, serve

FETCH = "(path) => fetch(path, {method: 'POST', body: '{}'}).then(a => a.status).catch(String)"


def test_sandbox_of_a_rebinding_site_shows_nothing_and_changes_nothing() -> None:
    sandbox = Sandbox()
    with (
        serve(sandbox) as server,
        chromium("MAP *.example 127.0.0.1") as browser,
    ):
        alice = sandbox.store.create()
        alice.attributes.update(user_id="1", email="alice@example.com")
        tab = browser.new_page()
        tab.goto(f"http://evil.example:{server.url.rpartition(':')[2]}/widget.js")
        assert "--allowed-host evil.example" in tab.inner_text("body")
        state = tab.evaluate("fetch('/sandbox/state').then(a => a.text()).catch(String)")
        assert "alice@example.com" not in state
        paths = ["/sandbox/faults", "/sandbox/clear", "/api/v2/user-chatping/"]
        assert [tab.evaluate(FETCH, path) for path in paths] == [421] * 3
        assert list(sandbox.store.users.values()) == [alice]
        # By its own address, too: the browser names the site as the origin.
        for path in paths[:2]:
            assert tab.evaluate(FETCH, server.url + path) in (403, "TypeError: Failed to fetch")
        assert list(sandbox.store.users.values()) == [alice]
