"""Events, product events and page views by REST, and the records of a user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from usercom_asgi.sandbox import Sandbox

if TYPE_CHECKING:
    from sandbox.conftest import Api
    from sandbox.rest.conftest import Rest


def test_event_is_recorded_and_answered_whether_its_name_is_new(
    rest: Rest, api: Api, sandbox: Sandbox
) -> None:
    user = rest.user(custom_id="c")
    api.event(user["user_key"], "seen before")
    body = {"name": "order", "timestamp": 1_900_000_000, "data": {"total": 19.9}}
    answer = rest.send("POST", "/events/", {"user_id": user["id"], **body})
    assert (answer.status_code, answer.json()) == (201, {"id": 2, "created": True})
    assert rest.post("/users-by-id/c/events/", **body) == {"id": 3, "created": False}
    by_key = rest.post("/events/", user_key=user["user_key"], user_id=None, name="seen before")
    assert by_key == {"id": 4, "created": False}
    event = sandbox.store.events[1]
    assert (event.key, event.name, event.data) == (user["user_key"], "order", {"total": 19.9})
    assert event.at == 1_900_000_000
    assert sandbox.store.events[3].data == {}
    rest.post("/events/", user_id=user["id"], name="first", timestamp=0)
    assert sandbox.store.events[4].at == 0


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, {"name": ["This field is required."]}),
        ({"name": None}, {"name": ["This field may not be null."]}),
        ({"name": " "}, {"name": ["This field may not be blank."]}),
        ({"name": {}}, {"name": ["Not a valid string."]}),
        (
            {"name": "e", "data": []},
            {"data": ['Expected a dictionary of items but got type "list".']},
        ),
        ({"name": "e", "timestamp": "soon"}, {"timestamp": ["Datetime has wrong format."]}),
        ({"name": "e", "timestamp": 10**15}, {"timestamp": ["Datetime has wrong format."]}),
    ],
)
def test_event_with_invalid_fields_is_answered_400(
    rest: Rest, sandbox: Sandbox, body: dict[str, Any], errors: dict[str, list[str]]
) -> None:
    rest.user(custom_id="c")
    assert rest.send("POST", "/users-by-id/c/events/", body).json() == {"errors": errors}
    assert not sandbox.store.events


def test_event_of_an_unknown_user_is_answered_404_and_recorded_as_refused(
    rest: Rest, sandbox: Sandbox
) -> None:
    for path, owner in (
        ("/events/", {"user_id": 999}),
        ("/events/", {"user_key": "unknown"}),
        ("/users-by-id/unknown/events/", {}),
    ):
        answer = rest.send("POST", path, {"name": "e", **owner})
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."})
    unnamed = rest.send("POST", "/events/", {"name": "e"})
    assert unnamed.json() == {"errors": {"user_id": ["This field is required."]}}
    assert [each.status for each in sandbox.store.rejected] == [404, 404, 404, 400]
    assert sandbox.store.rejected[0].body == {"name": "e", "user_id": 999}


@pytest.mark.parametrize(
    ("domain", "url", "host"),
    [
        ("https://shop.example/x", "https://shop.example/x", "shop.example"),
        ("shop.example", "https://shop.example/x", "shop.example"),
        ("https://[", "https://[", ""),
    ],
)
def test_view_is_a_page_hit_of_the_key(
    rest: Rest, sandbox: Sandbox, domain: str, url: str, host: str
) -> None:
    user = rest.user(last_seen=1)
    answer = rest.send(
        "POST",
        "/site-views/",
        {
            "client_user": user["user_key"],
            "page_domain": domain,
            "page_path": "/x",
            "timestamp": "2030-01-04T14:13:05.801+01:00",
        },
    )
    assert answer.is_success
    (hit,) = sandbox.store.hits
    assert (hit.key, hit.url, hit.domain) == (user["user_key"], url, host)
    assert not hit.from_widget
    changed = rest.get(f"/users/{user['id']}/")
    assert (changed["page_views"], changed["last_seen"]) == (1, "2030-01-04T13:13:05.801000Z")


def test_view_needs_all_fields_and_a_known_key(rest: Rest) -> None:
    assert set(rest.send("POST", "/site-views/", {}).json()["errors"]) == {
        "client_user",
        "page_domain",
        "page_path",
        "timestamp",
    }
    body = {"client_user": "x", "page_domain": "d", "page_path": "/", "timestamp": 1}
    assert rest.send("POST", "/site-views/", body).status_code == 404


def test_product_event_is_recorded_for_the_product_of_either_id(
    rest: Rest, sandbox: Sandbox
) -> None:
    user = rest.user(custom_id="c")
    product = rest.post("/products/", custom_id="p/1", name="Mug", price="9.90")
    body = {
        "event_type": "purchase",
        "timestamp": 1,
        "data": {"Color": "red", "custom_data": {"a": 1}},
    }
    first = rest.post(f"/products/{product['id']}/product_event/", user_id=user["id"], **body)
    assert first == {"id": 1}
    rest.put(f"/products/{product['id']}/", custom_id="p-1")
    second = rest.post("/products-by-id/p-1/product_event/", user_custom_id="c", **body)
    assert second == {"id": 2}
    events = sandbox.store.product_events
    assert [(each.product_id, each.event_type) for each in events] == [
        ("p/1", "purchase"),
        ("p-1", "purchase"),
    ]
    assert events[0].data == {"Color": "red", "custom_data": {"a": 1}}
    shown = rest.get("/products-by-id/p-1/details/")
    assert (shown["color"], shown["price"]) == ("red", 9.9)


def test_product_event_of_an_unknown_product_or_user_is_answered_alike(rest: Rest) -> None:
    rest.user(custom_id="c")
    rest.post("/products/", custom_id="p", name="Mug")
    answers = [
        rest.send(
            "POST",
            f"/products-by-id/{product}/product_event/",
            {"user_custom_id": user, "event_type": "view"},
        )
        for product, user in (("x", "c"), ("p", "x"))
    ]
    assert [(each.status_code, each.json()) for each in answers] == [
        (404, {"detail": "Not found."})
    ] * 2
    wrong = rest.send(
        "POST", "/products-by-id/p/product_event/", {"user_custom_id": "c", "event_type": "looked"}
    )
    assert wrong.json() == {"errors": {"event_type": ['"looked" is not a valid choice.']}}


def test_records_of_a_user_are_listed_under_both_paths(
    rest: Rest, api: Api, sandbox: Sandbox
) -> None:
    key = api.ping(user_id="c", url="https://shop.example/a", timezone=1, resolution="1x1")
    api.ping(userKey=key, create_new_gu=True)  # a reset is no page view
    api.event(key, "signed_up", '{"plan": "pro"}')
    rest.post("/products/", custom_id="p", name="Mug")
    rest.post("/products-by-id/p/product_event/", user_custom_id="c", event_type="view")
    user = rest.get("/users-by-id/c/")
    segment = sandbox.store.segments.add(name="VIP", user_ids=[user["id"]])
    for base in (f"/users/{user['id']}", "/users-by-id/c"):
        (event,) = rest.get(f"{base}/events/")["results"]
        assert (event["event"], event["event_id"], event["client"]) == ("signed_up", 1, user["id"])
        assert event["data"] == {"plan": "pro"}
        (product_event,) = rest.get(f"{base}/product_events/")["results"]
        assert (product_event["event_type"], product_event["custom_data"]) == ("view", {})
        (hit,) = rest.get(f"{base}/ping_hits/")["results"]
        assert (hit["url"], hit["timezone"]) == ("https://shop.example/a", "1")
        names = [row["name"] for row in rest.get(f"{base}/timeline/")["results"]]
        assert names == ["Page view", "signed_up"]
        (row,) = rest.get(f"{base}/segments/")["results"]
        assert (row["id"], row["name"]) == (segment.id, "VIP")
        assert rest.http.get(row["users"]).json()["results"][0]["id"] == user["id"]
        assert rest.get(f"{base}/emails/")["results"] == []
    assert rest.send("GET", "/users-by-id/x/emails/").status_code == 404
