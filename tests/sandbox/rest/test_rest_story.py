"""One visitor, half through the widget's endpoints and half through REST: one profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from usercom_asgi.sandbox import Sandbox

if TYPE_CHECKING:
    from sandbox.conftest import Api
    from sandbox.rest.conftest import Rest


@pytest.mark.parametrize("unified", [False, True])
def test_story_half_by_the_widget_and_half_by_rest_ends_in_one_profile(
    api: Api, rest: Rest, sandbox: Sandbox, unified: bool
) -> None:
    sandbox.unified_identification = unified
    # The browser: an anonymous visitor, who logs in.
    key = api.ping(url="https://shop.example/", timezone=0, resolution="1x1")
    api.ping(userKey=key, user_id="c-1", email="ada@b.example", name="Ada Nowak", Plan="free")
    api.event(key, "signed_up")
    # The server: knows the custom id only.
    made = rest.post("/users/update_or_create/", custom_id="c-1", plan="pro", phone_number="600")
    assert made["created"] is False
    rest.post("/users-by-id/c-1/events/", name="invoice_paid", data={"total": 19.9})
    rest.post("/companies/", custom_id="acme", name="Acme")
    rest.post("/companies-by-id/acme/add_member/", user_custom_id="c-1")
    rest.post("/users-by-id/c-1/add_tag/", name="beta")
    user = rest.get("/users/search/", key=key)
    view = {
        "client_user": user["user_key"],
        "page_domain": "https://shop.example/account",
        "page_path": "/account",
        "timestamp": "2030-01-04T14:13:05Z",
    }
    rest.post("/site-views/", **view)
    # The browser again: a product, then the next page with an attribute.
    data = '{"product_id": "p-1", "event_type": "view"}'
    product_event = {"api_key": "ABC123", "user_key": key, "data": data}
    assert api.http.post("/api/product_event/", json=product_event).status_code == 200
    rest.post("/products-by-id/p-1/product_event/", user_custom_id="c-1", event_type="purchase")
    api.ping(userKey=key, url="https://shop.example/b", seats=4)
    rest.post("/deals/", name="Order", custom_id="o-1", user_custom_id="c-1", value=19.9)

    (profile,) = sandbox.store.active_users()
    assert profile.key == key
    assert profile.attributes == {
        "user_id": "c-1",
        "email": "ada@b.example",
        "name": "Ada Nowak",
        "Plan": "pro",
        "phone_number": "600",
        "seats": 4,
    }
    assert profile.company == {"company_id": "acme", "name": "Acme"}
    store = sandbox.store
    assert [event.name for event in store.events] == ["signed_up", "invoice_paid"]
    assert [event.event_type for event in store.product_events] == ["view", "purchase"]
    for records in (store.hits, store.events, store.product_events):
        assert {record.key for record in records} == {key}
    assert not store.rejected
    user = rest.get("/users-by-id/c-1/")
    assert user == rest.get("/users/search/", email="ada@b.example")
    assert {name: user[name] for name in ("name", "plan", "seats", "page_views")} == {
        "name": "Ada Nowak",
        "plan": "pro",
        "seats": 4,
        "page_views": 4,
    }
    assert [tag["name"] for tag in user["tags"]] == ["beta"]
    assert [company["name"] for company in user["companies"]] == ["Acme"]
    assert rest.get("/deals/", userkey=key)["count"] == 1


def test_anonymous_visitor_is_joined_to_a_user_of_rest_by_merge_alone(
    api: Api, rest: Rest, sandbox: Sandbox
) -> None:
    owner = rest.user(custom_id="c-1", email="ada@b.example")
    cookie = api.ping(url="https://shop.example/")
    api.event(cookie, "added_to_cart")
    visitor = rest.get("/users/search/", key=cookie)
    rest.put(f"/users/{visitor['id']}/", email="ada@b.example")
    assert len(sandbox.store.active_users()) == 2
    rest.post("/users/merge/", parent=owner["id"], users_list=[visitor["id"]])
    assert rest.get("/users/search/", key=cookie)["id"] == owner["id"]
    assert rest.get("/users-by-id/c-1/events/")["results"][0]["event"] == "added_to_cart"
    assert api.ping(userKey=cookie) == owner["user_key"]
