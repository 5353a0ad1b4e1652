"""The endpoints of User.com, as the widget and a server call them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from usercom_asgi.sandbox.vendor import PRODUCT_EVENT_TYPES

if TYPE_CHECKING:
    from sandbox.conftest import Api

    from usercom_asgi.sandbox import Sandbox

PING = "/api/v2/user-chatping/"


def product_event(api: Api, key: str, **data: Any) -> httpx.Response:
    body = {"api_key": "ABC123", "user_key": key, "domain": "d", "data": json.dumps(data)}
    return api.http.post("/api/product_event/", json=body)


class TestPing:
    def test_without_a_key_makes_an_anonymous_user_with_a_12_character_key(
        self, api: Api, sandbox: Sandbox
    ) -> None:
        key = api.ping(
            url="https://shop.example.com/", domain="shop.example.com", referrer="https://r/"
        )
        assert re.fullmatch("[a-z0-9]{12}", key)
        assert re.fullmatch(r"[A-Z][a-z]+ [A-Z][a-z]+", sandbox.store.users[key].name)
        (hit,) = sandbox.store.hits
        assert (hit.key, hit.url, hit.domain, hit.referrer) == (
            key,
            "https://shop.example.com/",
            "shop.example.com",
            "https://r/",
        )
        assert not hit.created_new_gu
        assert not hit.from_widget

    def test_answer_has_the_fields_that_the_widget_reads(self, api: Api) -> None:
        answer = api.http.post(
            PING, json={"apiKey": "ABC123", "name": "Ann", "email": "ann@example.com"}
        ).json()
        assert answer["user"].items() >= {"name": "Ann", "email": "ann@example.com"}.items()
        assert set(answer) >= {"widget", "user", "unreadConversationList", "hasAnyConversations"}

    def test_known_key_updates_the_same_user(self, api: Api, sandbox: Sandbox) -> None:
        key = api.ping()
        assert api.ping(userKey=key, plan="pro") == key
        assert sandbox.store.users[key].attributes == {"plan": "pro"}
        assert len(sandbox.store.hits) == 2

    def test_unknown_key_is_a_new_user_under_a_fresh_key(self, api: Api, sandbox: Sandbox) -> None:
        key = api.ping(userKey="nobodyhasit1")
        assert key != "nobodyhasit1"
        assert list(sandbox.store.users) == [key]

    def test_widget_fields_are_not_stored_as_attributes(self, api: Api, sandbox: Sandbox) -> None:
        own = {
            "create_new_gu": False,
            "widget_ready": True,
            "domain": "d",
            "timezone": -60,
            "resolution": "1x1",
        }
        key = api.ping(
            **own, url="u", referrer="r", state="simple", event={"event_name": "e"}, colour="blue"
        )
        assert sandbox.store.users[key].attributes == {"colour": "blue"}
        assert sandbox.store.hits[0].payload["timezone"] == -60
        assert sandbox.store.hits[0].from_widget

    def test_company_is_stored_apart_from_the_attributes(self, api: Api, sandbox: Sandbox) -> None:
        key = api.ping(company={"name": "Acme", "employees": 3})
        api.ping(userKey=key, company={"employees": 4})
        assert sandbox.store.users[key].company == {"name": "Acme", "employees": 4}
        assert sandbox.store.users[key].attributes == {}

    @pytest.mark.parametrize("name", ["event_name", "name"])
    def test_event_in_a_ping_belongs_to_the_resulting_user(
        self, api: Api, sandbox: Sandbox, name: str
    ) -> None:
        ann = api.ping(user_id="1")
        stranger = api.ping()
        assert api.ping(userKey=stranger, user_id="1", event={name: "login", "via": "sso"}) == ann
        (event,) = sandbox.store.events
        assert (event.key, event.name, event.data) == (ann, "login", {"via": "sso"})

    def test_reset_makes_a_new_user(self, api: Api, sandbox: Sandbox) -> None:
        first = api.ping()
        second = api.ping(create_new_gu=True)
        assert second != first
        assert [hit.created_new_gu for hit in sandbox.store.hits] == [False, True]

    def test_reset_with_a_known_key_keeps_that_user(self, api: Api) -> None:
        key = api.ping()
        assert api.ping(create_new_gu=True, userKey=key) == key

    def test_user_agent_header_is_stored_with_the_hit(self, api: Api, sandbox: Sandbox) -> None:
        api.http.post(PING, json={"apiKey": "ABC123"}, headers={"User-Agent": "Lynx"})
        assert sandbox.store.hits[0].user_agent == "Lynx"


class TestOthers:
    def test_event_with_data_is_stored_for_its_user(self, api: Api, sandbox: Sandbox) -> None:
        key = api.ping()
        assert api.event(key, "signed_up", '{"plan": "pro"}').status_code == 200
        (event,) = sandbox.store.events
        assert (event.key, event.name, event.data, event.domain) == (
            key,
            "signed_up",
            {"plan": "pro"},
            "d",
        )

    @pytest.mark.parametrize("event_type", sorted(PRODUCT_EVENT_TYPES))
    def test_product_event_of_every_known_type_is_stored(
        self, api: Api, sandbox: Sandbox, event_type: str
    ) -> None:
        key = api.ping()
        data = {"price": 19.9, "custom_data": {"order": 1}}
        assert (
            product_event(api, key, product_id="sku-1", event_type=event_type, **data).status_code
            == 200
        )
        (event,) = sandbox.store.product_events
        assert (event.key, event.product_id, event.event_type, event.data) == (
            key,
            "sku-1",
            event_type,
            data,
        )

    def test_update_changes_attributes_and_records_no_hit(self, api: Api, sandbox: Sandbox) -> None:
        key = api.ping(user_id="1", city="Paris")
        body = {
            "apiKey": "ABC123",
            "userKey": key,
            "data": [{"city": "Rome", "user_id": "2"}, {"vip": True}],
        }
        assert api.http.post("/api/update-attribute/", json=body).status_code == 200
        assert sandbox.store.users[key].attributes == {"user_id": "1", "city": "Rome", "vip": True}
        assert len(sandbox.store.hits) == 1
        assert sandbox.store.updates[0].data == {"city": "Rome", "user_id": "2", "vip": True}

    def test_conversation_is_returned_to_its_user_key_only(self, api: Api) -> None:
        ann, joe = api.ping(), api.ping()
        body = {"api_key": "ABC123", "user_key": ann, "message": "Hello"}
        made = api.http.post("/api/conversation/new/", json=body).json()
        assert made["reply"]["is_native"] is True
        convo_id = str(made["conversation"]["id"])

        def read(key: str) -> httpx.Response:
            headers = {"clientuser-key": key, "convo-id": convo_id}
            return api.http.get("/api/v2/conversation/", headers=headers)

        assert read(ann).json()["results"][-1]["content"] == "Hello"
        assert read(joe).status_code == 404
        for key, has_any in ((ann, True), (joe, False)):
            answer = api.http.post(PING, json={"apiKey": "ABC123", "userKey": key}).json()
            assert answer["hasAnyConversations"] is has_any


class TestRefusals:
    PATHS = (
        ("/api/v2/user-chatping/", "apiKey"),
        ("/api/event/", "api_key"),
        ("/api/product_event/", "api_key"),
        ("/api/update-attribute/", "apiKey"),
        ("/api/conversation/new/", "api_key"),
    )

    @pytest.mark.parametrize(("path", "name"), PATHS)
    @pytest.mark.parametrize("key", [None, "", "WRONG", 5, ["ABC123"]])
    def test_wrong_app_key_is_answered_403(
        self, api: Api, sandbox: Sandbox, path: str, name: str, key: Any
    ) -> None:
        answer = api.http.post(path, json={} if key is None else {name: key})
        assert answer.status_code == 403
        assert name in answer.json()["detail"]
        (refused,) = sandbox.store.rejected
        assert (refused.path, refused.status) == (path, 403)
        assert not sandbox.store.users

    @pytest.mark.parametrize(("path", "name"), PATHS)
    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"x": NaN}', b"[" * 100_000]
    )
    def test_body_that_is_no_json_object_is_answered_400(
        self, api: Api, sandbox: Sandbox, path: str, name: str, body: bytes
    ) -> None:
        answer = api.http.post(path, content=body)
        assert answer.status_code == 400
        assert answer.json()["errors"]
        assert sandbox.store.rejected[0].status == 400
        assert api.http.get("/sandbox/state").status_code == 200

    @pytest.mark.parametrize(
        "values",
        [
            {"userKey": 5},
            {"email": ["a@example.com"]},
            {"user_id": {"id": 1}},
            {"user_id": True},
            {"company": "Acme"},
            {"event": "login"},
            {"event": {"via": "sso"}},
            {"event": {"event_name": 5}},
            {"url": 5},
        ],
    )
    def test_ping_with_a_malformed_field_is_answered_400(
        self, api: Api, sandbox: Sandbox, values: dict[str, Any]
    ) -> None:
        assert api.http.post(PING, json={"apiKey": "ABC123", **values}).status_code == 400
        assert sandbox.store.rejected[0].body == {"apiKey": "ABC123", **values}
        assert not sandbox.store.users
        assert not sandbox.store.hits

    @pytest.mark.parametrize("data", ["{", "[]", "5", {"a": 1}, 5])
    def test_event_data_that_is_no_json_object_in_a_string_is_answered_400(
        self, api: Api, sandbox: Sandbox, data: Any
    ) -> None:
        assert api.event(api.ping(), "e", data).status_code == 400
        assert not sandbox.store.events

    def test_event_without_a_name_is_answered_400(self, api: Api) -> None:
        assert api.event(api.ping(), "").status_code == 400

    @pytest.mark.parametrize(
        "data",
        [
            {},
            {"product_id": "1"},
            {"event_type": "purchase"},
            {"product_id": "", "event_type": "purchase"},
            {"product_id": None, "event_type": "purchase"},
            {"product_id": "1", "event_type": "Purchase"},
            {"product_id": "1", "event_type": "bought"},
            {"product_id": "1", "event_type": ["purchase"]},
        ],
    )
    def test_product_event_without_a_product_or_a_known_type_is_answered_400(
        self, api: Api, sandbox: Sandbox, data: Any
    ) -> None:
        assert product_event(api, api.ping(), **data).status_code == 400
        assert not sandbox.store.product_events

    @pytest.mark.parametrize("company", ["Acme", [1], 5])
    def test_update_with_a_company_that_is_no_object_is_answered_400(
        self, api: Api, sandbox: Sandbox, company: Any
    ) -> None:
        data = [{"plan": "gold"}, {"company": company}]
        body = {"apiKey": "ABC123", "userKey": api.ping(), "data": data}
        assert api.http.post("/api/update-attribute/", json=body).status_code == 400
        assert not sandbox.store.updates

    @pytest.mark.parametrize("data", [{}, {"a": 1}, "x", [5], None])
    def test_update_that_is_no_list_of_objects_is_answered_400(
        self, api: Api, sandbox: Sandbox, data: Any
    ) -> None:
        body = {"apiKey": "ABC123", "userKey": api.ping(), "data": data}
        if data == {"a": 1}:
            body["data"] = {"a": 1}
        assert api.http.post("/api/update-attribute/", json=body).status_code == 400
        assert not sandbox.store.updates

    def test_unknown_user_key_is_answered_404(self, api: Api, sandbox: Sandbox) -> None:
        assert api.event("nobodyhasit1").status_code == 404
        assert (
            product_event(api, "nobodyhasit1", product_id="1", event_type="view").status_code == 404
        )
        body = {"apiKey": "ABC123", "userKey": "nobodyhasit1", "data": [{"a": 1}]}
        assert api.http.post("/api/update-attribute/", json=body).status_code == 404
        assert [refused.status for refused in sandbox.store.rejected] == [404, 404, 404]

    @pytest.mark.parametrize("path", [path for path, _ in PATHS])
    def test_post_without_the_trailing_slash_is_redirected_and_lost(
        self, api: Api, sandbox: Sandbox, path: str
    ) -> None:
        answer = api.http.post(path.rstrip("/"), json={"apiKey": "ABC123"})
        assert (answer.status_code, answer.headers["Location"]) == (301, path)
        assert (
            api.http.post(
                path.rstrip("/"), json={"apiKey": "ABC123"}, follow_redirects=True
            ).status_code
            == 405
        )
        assert sandbox.store.rejected[0].status == 301
        assert not sandbox.store.users


class TestOrigins:
    @pytest.mark.parametrize(
        "origin", ["https://shop.example.com", "null", "http://localhost:3000"]
    )
    def test_api_call_from_any_origin_is_allowed_with_credentials(
        self, api: Api, origin: str
    ) -> None:
        for answer in (
            api.http.post(PING, json={"apiKey": "ABC123"}, headers={"Origin": origin}),
            api.http.post(PING, json={}, headers={"Origin": origin}),
        ):
            assert answer.headers["Access-Control-Allow-Origin"] == origin
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
            assert answer.headers["Vary"] == "Origin"

    @pytest.mark.parametrize("network", ["Private", "Local"])
    def test_preflight_for_a_private_or_local_network_is_allowed(
        self, api: Api, network: str
    ) -> None:
        asked = {
            "Origin": "https://shop.example.com",
            "Access-Control-Request-Method": "POST",
            f"Access-Control-Request-{network}-Network": "true",
        }
        answer = api.http.options(PING, headers=asked)
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example.com"
        names = answer.headers["Access-Control-Allow-Headers"].split(", ")
        assert {"Content-Type", "X-Requested-With"} <= set(names)
        assert answer.headers[f"Access-Control-Allow-{network}-Network"] == "true"

    def test_dashboard_call_from_another_origin_is_unreadable_or_answered_403(
        self, api: Api, sandbox: Sandbox
    ) -> None:
        api.ping()
        foreign = {"Origin": "https://evil.example.com"}
        assert (
            "Access-Control-Allow-Origin"
            not in api.http.get("/sandbox/state", headers=foreign).headers
        )
        assert api.http.post("/sandbox/clear", headers=foreign).status_code == 403
        assert sandbox.store.users


class TestDashboardsOwn:
    def test_state_after_a_ping_and_an_event_has_totals_and_settings(self, api: Api) -> None:
        api.event(api.ping(user_id="1", email="ann@example.com", name="Ann"))
        state = api.http.get("/sandbox/state").json()
        totals = {kind: total for kind, total in state["totals"].items() if total}
        assert totals == {"identity": 1, "view": 1, "event": 1}
        assert (state["visitors"], state["entries"], state["requests"]) == (1, 3, 2)
        assert state["settings"] == {"unified_identification": False, "authorize_by_email": False}
        assert state["faults"] == []

    def test_clear_with_records_empties_the_store(self, api: Api, sandbox: Sandbox) -> None:
        api.event(api.ping())
        api.http.post(PING, content=b"{")
        assert api.http.post("/sandbox/clear").json()["entries"] == 0
        assert (sandbox.store.users, sandbox.store.hits, sandbox.store.rejected) == ({}, [], [])

    def test_settings_with_a_known_switch_are_changed_and_others_answered_400(
        self, api: Api, sandbox: Sandbox
    ) -> None:
        assert (
            api.http.post("/sandbox/settings", json={"unified_identification": True}).status_code
            == 200
        )
        assert (sandbox.unified_identification, sandbox.authorize_by_email) == (True, False)
        assert api.http.post("/sandbox/settings", json={"api_key": "X"}).status_code == 400
        assert (
            api.http.post("/sandbox/settings", json={"unified_identification": 1}).status_code
            == 400
        )

    def test_faults_are_set_and_cleared_and_malformed_ones_answered_400(
        self, api: Api, sandbox: Sandbox
    ) -> None:
        api.http.post("/sandbox/faults", json={"kind": "status", "code": 503})
        assert sandbox.faults.describe() == ["answers 503"]
        assert api.http.post(PING, json={"apiKey": "ABC123"}).status_code == 503
        api.http.post("/sandbox/faults", json={"kind": "clear"})
        assert api.http.post(PING, json={"apiKey": "ABC123"}).status_code == 200
        for wrong in ({"kind": "_add"}, {}, {"kind": "status"}, {"kind": "hang", "no": 1}):
            assert api.http.post("/sandbox/faults", json=wrong).status_code == 400

    @pytest.mark.parametrize(
        ("path", "media_type"),
        [
            ("/", "text/html; charset=utf-8"),
            ("/sandbox/dashboard.css", "text/css; charset=utf-8"),
            ("/sandbox/dashboard.js", "text/javascript; charset=utf-8"),
            ("/sandbox/timeline.js", "text/javascript; charset=utf-8"),
            ("/widget.js", "text/javascript; charset=utf-8"),
            ("/widget.js?2", "text/javascript; charset=utf-8"),
        ],
    )
    def test_file_is_served_with_its_media_type(self, api: Api, path: str, media_type: str) -> None:
        answer = api.http.get(path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, media_type)
        assert len(answer.content) > 500

    def test_widget_script_contains_its_style(self, api: Api) -> None:
        assert "@widget.css" not in api.http.get("/widget.js").text


def test_store_after_a_merge_records_calls_with_the_old_key_for_the_owner(
    api: Api, sandbox: Sandbox
) -> None:
    sandbox.unified_identification = True
    owner = api.ping(email="ann@example.com")
    stranger = api.ping(url="first")
    api.event(stranger, "looked")
    assert api.ping(userKey=stranger, email="ann@example.com") == owner
    assert sandbox.store.users[stranger].merged_into == owner
    assert api.ping(userKey=stranger) == owner
    assert api.event(stranger, "late").status_code == 200
    assert {hit.key for hit in sandbox.store.hits} == {owner}
    assert {event.key for event in sandbox.store.events} == {owner}
