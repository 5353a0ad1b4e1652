"""Attributes, tags, lists and segments by REST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from usercom_asgi.sandbox import Sandbox

if TYPE_CHECKING:
    from sandbox.conftest import Api
    from sandbox.rest.conftest import Rest


def test_attribute_is_created_read_listed_and_deleted(rest: Rest) -> None:
    body = {"name": "Shoe Size", "value_type": "integer", "content_type": "clientuser"}
    answer = rest.send("POST", "/attributes/", body)
    assert answer.status_code == 201
    made = answer.json()
    assert made == {
        "id": made["id"],
        "name": "Shoe Size",
        "name_std": "shoe_size",
        "value_type": "integer",
        "content_type": "user",
    }
    path = f"/attributes/{made['id']}/"
    assert rest.get(path) == rest.get("/attributes/")["results"][0] == made
    assert rest.user(shoe_size=43)["shoe_size"] == 43
    taken = rest.send("POST", "/attributes/", body | {"name": "shoe size"})
    assert taken.json() == {"errors": {"name": ["attribute with this name already exists."]}}
    rest.post("/attributes/", **body | {"content_type": "deal"})
    assert [rest.send("DELETE", path).status_code for _ in range(2)] == [204, 404]
    assert "shoe_size" not in rest.get("/users/")["results"][0]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"name", "value_type", "content_type"}),
        (
            {"name": "a" * 33, "value_type": "text", "content_type": "user"},
            {"name", "value_type", "content_type"},
        ),
        ({"name": "", "value_type": "string", "content_type": "deal"}, {"name"}),
        ({"name": "Email", "value_type": "string", "content_type": "clientuser"}, {"name"}),
        (
            {"name": "a", "value_type": "fixed", "content_type": "deal"},
            {"choices", "allow_multiple_choices"},
        ),
        (
            {
                "name": "a",
                "value_type": "fixed",
                "content_type": "deal",
                "choices": [],
                "allow_multiple_choices": 1,
            },
            {"choices"},
        ),
        ({"name": "a", "value_type": "fixed", "content_type": "deal", "choices": "a"}, {"choices"}),
    ],
)
def test_attribute_with_invalid_fields_is_answered_400(
    rest: Rest, body: dict[str, Any], fields: set[str]
) -> None:
    answer = rest.send("POST", "/attributes/", body)
    assert (answer.status_code, set(answer.json()["errors"])) == (400, fields)


def test_attribute_of_several_choices_takes_a_list_of_them(rest: Rest) -> None:
    rest.post(
        "/attributes/",
        name="colors",
        value_type="fixed",
        content_type="clientuser",
        choices=["red", "blue"],
        allow_multiple_choices=True,
    )
    user = rest.user(custom_id="c", colors=["red"])
    assert user["colors"] == ["red"]
    assert rest.put("/users-by-id/c/", colors=["green"])["colors"] == ["red"]
    assert "colors" not in rest.put("/users-by-id/c/", colors=None)


def test_holders_of_an_attribute_are_listed(rest: Rest, api: Api) -> None:
    api.ping(user_id="c", Plan="pro", company={"name": "Acme", "Plan": "pro"})
    api.ping(user_id="d")
    users = rest.get("/attribute-type/plan/users/")["results"]
    companies = rest.get("/attribute-type/plan/companies/")["results"]
    assert [row["custom_id"] for row in users] == ["c"]
    assert [row["name"] for row in companies] == ["Acme"]
    assert rest.get("/attribute-type/unknown/users/")["results"] == []


def test_tag_is_created_renamed_listed_and_deleted(rest: Rest) -> None:
    tag = rest.post("/tags/", name="a")
    user = rest.user(tags=["a"])
    path = f"/tags/{tag['id']}/"
    assert rest.put(path, name="b") == {"id": tag["id"], "name": "b"}
    assert rest.get("/tags/")["results"] == [{"id": tag["id"], "name": "b"}]
    (holder,) = rest.get(f"{path}users/")["results"]
    assert (holder["id"], holder["tags"]) == (user["id"], [{"id": tag["id"], "name": "b"}])
    other = rest.post("/tags/", name="c")
    for method, at in (("POST", "/tags/"), ("PUT", f"/tags/{other['id']}/")):
        assert rest.send(method, at, {"name": "b"}).status_code == 400
    assert rest.send("DELETE", path).status_code == 204
    assert rest.get(f"/users/{user['id']}/")["tags"] == []
    assert rest.send("GET", f"{path}users/").status_code == 404


def test_list_is_created_changed_listed_and_deleted(rest: Rest) -> None:
    made = rest.post("/lists/", name="News")
    assert made["description"] == ""
    user = rest.user(custom_id="c")
    rest.post("/users-by-id/c/add_to_list/", list=made["id"])
    path = f"/lists/{made['id']}/"
    changed = rest.put(path, description="monthly")
    assert rest.get("/lists/")["results"] == [changed]
    assert changed == {"id": made["id"], "name": "News", "description": "monthly"}
    assert rest.send("DELETE", path).status_code == 204
    assert rest.get(f"/users/{user['id']}/")["lists"] == []


def test_segments_that_a_test_adds_are_listed(rest: Rest, sandbox: Sandbox) -> None:
    user = rest.user()
    segment = sandbox.store.segments.add(name="VIP", description="d", user_ids=[user["id"]])
    (row,) = rest.get("/segments/")["results"]
    assert (row["name"], row["object_count"], row["too_heavy"]) == ("VIP", 1, False)
    assert rest.get(f"/segments/{segment.id}/users/")["count"] == 1
