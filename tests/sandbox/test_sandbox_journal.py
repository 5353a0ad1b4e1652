"""The journal, and the dashboard's own endpoints: pages, the stream, the export, who may call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from starlette.datastructures import Headers

from usercom_asgi.sandbox import Sandbox, dashboard
from usercom_asgi.sandbox.security import is_foreign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.conftest import Api

SAME, OTHER_PORT = {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "same-site"}
CROSS = {"Sec-Fetch-Site": "cross-site"}


def get(api: Api, path: str, **query: Any) -> dict[str, Any]:
    answer = api.http.get(f"/sandbox/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def read_states(lines: Iterator[str], count: int) -> list[dict[str, Any]]:
    states: list[dict[str, Any]] = []
    for line in lines:
        if line.startswith("data: "):
            states.append(json.loads(line.removeprefix("data: ")))
            if len(states) == count:
                break
    return states


def test_entries_by_pages_have_every_record_once(api: Api) -> None:
    key = api.ping()
    for number in range(55):
        api.event(key, f"e{number}")
    seen: list[int] = []
    before = 0
    while True:
        page = get(api, "entries", limit=20, before=before)
        if not page["rows"]:
            break
        assert (page["first"], page["matches"], page["of"]) == (len(seen) + 1, 57, 57)
        seen += [row["seq"] for row in page["rows"]]
        before = seen[-1]
    assert seen == list(range(seen[0], seen[0] - 57, -1))


@pytest.mark.parametrize("limit", ["0", "9999999", "-1", "x", "9" * 30, "²"])
def test_entries_with_a_limit_out_of_range_have_one_to_two_hundred_rows(
    api: Api, limit: str
) -> None:
    api.ping()
    assert 1 <= len(get(api, "entries", limit=limit)["rows"]) <= 200


def test_entries_are_found_by_kind_text_visitor_and_name(api: Api) -> None:
    ann, other = api.ping(name="Ann"), api.ping()
    api.event(ann, "signed_up", '{"plan": "Zinc"}')
    api.event(other, "signed_up")
    assert get(api, "entries", kind="event")["matches"] == 2
    assert get(api, "entries", kind="event,identity")["matches"] == 4
    assert get(api, "entries", q="zINc")["matches"] == 1
    assert get(api, "entries", q="ann", kind="event")["matches"] == 1
    number = get(api, "visitors", q="ann")["rows"][0]["id"]
    assert get(api, "entries", visitor=number)["matches"] == 3
    assert get(api, "entries", visitor=10**9)["matches"] == 0


def test_entries_have_their_request_with_status_and_time(api: Api, sandbox: Sandbox) -> None:
    key = api.ping()
    sandbox.faults.latency(0.05, times=1)
    api.event(key)
    event = get(api, "entries", kind="event")["rows"][0]
    assert event["request"]["status"] == 200
    assert event["request"]["ms"] >= 50
    (slow,) = get(api, "requests", q="/api/event/")["rows"]
    assert slow["id"] == event["request"]["id"]
    assert get(api, "requests", which="failed")["matches"] == 0


def test_marks_name_duplicates_repeats_and_orphans(api: Api) -> None:
    key = api.ping(event={"event_name": "login"})
    api.ping(userKey=key, event={"event_name": "login"})
    api.event(key, "paid", '{"total": 5}')
    api.event(key, "paid", '{"total": 6}')
    api.event(key, "paid", '{"total": 5}')
    assert api.event("gonegonegone").status_code == 404
    marked = {
        mark: [row["what"] for row in get(api, "entries", mark=mark)["rows"]]
        for mark in ("duplicate", "repeat", "orphan")
    }
    assert marked == {
        "duplicate": ["paid"],
        "repeat": ["login"],
        "orphan": ["404 no user has this user_key"],
    }


def test_reset_names_the_visitor_before_it(api: Api) -> None:
    browser = {"User-Agent": "Firefox"}
    body = {"apiKey": "ABC123", "domain": "shop"}
    api.http.post("/api/v2/user-chatping/", json={**body, "name": "Ann"}, headers=browser)
    api.http.post("/api/v2/user-chatping/", json={**body, "create_new_gu": True}, headers=browser)
    (reset,) = get(api, "entries", kind="reset")["rows"]
    assert reset["previous"]["name"] == "Ann"
    assert reset["is_new"] is True


def test_identity_history_has_each_change_with_its_reason(api: Api, sandbox: Sandbox) -> None:
    owner, anonymous = api.ping(email="ann@example.com"), api.ping()
    sandbox.unified_identification = True
    api.ping(userKey=anonymous, email="ann@example.com")
    sandbox.authorize_by_email = True
    api.ping(userKey=api.ping(email="bob@example.com"), email="ann@example.com")
    visitor = get(api, f"visitors/{sandbox.store.users[owner].id}")
    history = [(each["what"], each["data"]["why"]) for each in visitor["history"]]
    assert len(history) == 4
    assert "Unified Identification is off" in history[0][1]
    assert history[1] == ("new visitor", "the page hit had no user key")
    assert "merged into ann@example.com" in history[2][0]
    assert history[3][0].startswith("tracking switched from bob@example.com")
    assert visitor["keys"] == [f"{owner[:4]}…", f"{anonymous[:4]}…"]
    assert api.http.get("/sandbox/visitors/999999").status_code == 404


def test_state_and_lists_hold_no_whole_user_key_and_the_export_does(api: Api) -> None:
    key = api.ping()
    api.ping(userKey=key)
    api.event(key, "")
    number = get(api, "visitors")["rows"][0]["id"]
    for path in ("state", "visitors", f"visitors/{number}", "entries", "requests"):
        assert key not in api.http.get(f"/sandbox/{path}").text
    export = api.http.get("/sandbox/export")
    assert export.headers["content-disposition"] == 'attachment; filename="sandbox.json"'
    assert [user["key"] for user in export.json()["visitors"]] == [key]
    assert len(export.json()["entries"]) == 4


def test_export_with_numbers_beyond_json_is_json(api: Api) -> None:
    api.http.post(
        "/api/v2/user-chatping/", content=b'{"apiKey": "ABC123", "x": 1e999, "y": "\\ud800"}'
    )
    assert api.http.get("/sandbox/export").json()["visitors"][0]["attributes"]["x"] is None


def test_stream_sends_a_state_after_each_change(api: Api, sandbox: Sandbox) -> None:
    with api.http.stream("GET", "/sandbox/stream") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert read_states(lines, 1)[0]["entries"] == 0
        sandbox.store.create()
        assert read_states(lines, 1)[0]["entries"] == 1
        sandbox.faults.status(500)  # by Python, as tests do
        assert read_states(lines, 1)[0]["faults"] == ["answers 500"]


async def test_stream_ends_when_the_server_stops() -> None:
    sandbox = Sandbox()
    lines = dashboard.changes(sandbox)
    assert await anext(lines) == "retry: 500\n\n"
    assert (await anext(lines)).startswith("event: state\ndata: {")
    sandbox.faults.stop()
    with anyio.fail_after(5):
        assert [each async for each in lines] == []


async def test_slow_reader_gets_the_newest_state_and_no_queue() -> None:
    sandbox = Sandbox()
    lines = dashboard.changes(sandbox)
    await anext(lines)
    await anext(lines)
    for _ in range(1000):
        sandbox.store.create()
    message = await anext(lines)
    assert '"entries": 1000' in message
    await lines.aclose()


@pytest.mark.parametrize("path", ["clear", "faults", "settings", "act"])
@pytest.mark.parametrize(
    "headers",
    [OTHER_PORT, CROSS, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1", **SAME}],
    ids=["same-site", "cross-site", "null", "other port"],
)
def test_call_of_a_foreign_page_is_answered_403(
    api: Api, sandbox: Sandbox, path: str, headers: dict[str, str]
) -> None:
    api.ping()
    answer = api.http.post(f"/sandbox/{path}", json={"kind": "hang"}, headers=headers)
    assert answer.status_code == 403
    assert sandbox.store.users
    assert sandbox.faults.describe() == []


@pytest.mark.parametrize("path", ["state", "visitors", "entries", "requests", "export", "stream"])
def test_read_of_a_foreign_page_is_answered_403(api: Api, path: str) -> None:
    assert api.http.get(f"/sandbox/{path}", headers=CROSS).status_code == 403
    assert api.http.get(f"/sandbox/{path}", headers=OTHER_PORT).status_code == 403


def test_page_forbids_html_from_strings_and_other_sources(api: Api) -> None:
    policy = api.http.get("/").headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'" in policy
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy


@pytest.mark.parametrize(
    "body",
    [{}, {"visitor": "1"}, {"visitor": 10**9, "action": "open"}, {"visitor": True}],
)
def test_act_without_a_visitor_or_an_action_is_answered_400(
    api: Api, sandbox: Sandbox, body: dict[str, Any]
) -> None:
    assert api.http.post("/sandbox/act", json=body).status_code == 400
    number = sandbox.store.create().id
    for wrong in ({}, {"action": "message"}, {"action": "message", "content": ""}):
        answer = api.http.post("/sandbox/act", json={"visitor": number, **wrong})
        assert answer.status_code == 400


def test_entry_as_a_test_is_python_that_holds(api: Api, sandbox: Sandbox) -> None:
    hostile = "'\"\n\\ \u2028 #"
    key = api.ping(url=hostile, event={"event_name": hostile, hostile: hostile}, plan="pro")
    product = json.dumps({"product_id": "p", "event_type": "purchase", "x": hostile})
    api.http.post(
        "/api/product_event/", json={"api_key": "ABC123", "user_key": key, "data": product}
    )
    api.http.post(
        "/api/update-attribute/", json={"apiKey": "ABC123", "userKey": key, "data": [{"a": 1}]}
    )
    sandbox.faults.latency(0.01, times=1)
    api.event(key, "")
    api.ping(create_new_gu=True)
    rows = get(api, "entries")["rows"]
    assert len(rows) == 9
    for row in rows:
        code = api.http.get(f"/sandbox/entries/{row['seq']}/test").json()["test"]
        assert code.isascii()
        scope: dict[str, Any] = {}
        exec(code, scope)
        (test,) = [each for name, each in scope.items() if name.startswith("test_")]
        test(sandbox)
    assert api.http.get("/sandbox/entries/999999999/test").status_code == 404


def test_fault_with_a_rate_applies_to_a_part_of_the_requests(api: Api, sandbox: Sandbox) -> None:
    sandbox.faults.status(500, rate=0.5)
    assert sandbox.faults.describe() == ["answers 500, 50 % of the requests"]
    key = sandbox.store.create().key
    statuses = {api.event(key).status_code for _ in range(60)}
    assert statuses == {200, 500}


@pytest.mark.parametrize("rate", [0, 1.5, -1, True, "x"])
def test_fault_with_a_rate_out_of_range_is_answered_400(api: Api, rate: object) -> None:
    body = {"kind": "status", "code": 500, "rate": rate}
    assert api.http.post("/sandbox/faults", json=body).status_code == 400


def test_fault_down_closes_the_connection_and_processes_nothing(api: Api, sandbox: Sandbox) -> None:
    sandbox.faults.down(times=1)
    with pytest.raises(httpx.TransportError):
        api.ping()
    assert not sandbox.store.users
    assert api.ping()


def test_faults_are_added_beside_others_and_removed_by_their_place(
    api: Api, sandbox: Sandbox
) -> None:
    for code in (500, 503):
        api.http.post("/sandbox/faults", json={"kind": "status", "code": code, "add": True})
    api.http.post("/sandbox/faults", json={"kind": "remove", "number": 0})
    api.http.post("/sandbox/faults", json={"kind": "remove", "number": 5})
    assert sandbox.faults.describe() == ["answers 503"]
    assert api.http.post("/sandbox/faults", json={"kind": "remove"}).status_code == 400


def test_clear_empties_the_journal_and_keeps_counting(api: Api, sandbox: Sandbox) -> None:
    api.ping()
    seq = sandbox.store.journal.seq
    api.http.post("/sandbox/clear")
    assert get(api, "entries") == {"rows": [], "matches": 0, "of": 0, "first": 0}
    api.ping()
    assert [row["seq"] for row in get(api, "entries")["rows"]] == [seq + 2, seq + 1]


def test_foreign_check_without_browser_headers_lets_programs_call() -> None:
    scope = {"type": "http", "headers": [(b"host", b"127.0.0.1:8900")]}
    assert not is_foreign(Headers(scope=scope))
