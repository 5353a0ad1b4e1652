"""Users by REST: the object, writes, finding, tags and lists, merging, deleting."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from usercom_asgi.sandbox import Sandbox

if TYPE_CHECKING:
    from sandbox.conftest import Api
    from sandbox.rest.conftest import Rest

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def test_user_created_by_rest_is_answered_as_an_object_of_version_2(rest: Rest) -> None:
    answer = rest.send(
        "POST", "/users/", {"custom_id": 43, "first_name": "Ada", "last_name": "Nowak"}
    )
    assert answer.status_code == 201
    user = answer.json()
    assert isinstance(user["id"], int)
    assert user["custom_id"] == "43"
    assert (user["name"], user["gender"], user["status"]) == ("Ada Nowak", "unknown", "visitor")
    assert "first_name" not in user
    assert (user["email"], user["lists"], user["tags"], user["companies"]) == (None, [], [], [])
    assert all(TIME.fullmatch(user[name]) for name in ("created_at", "updated_at", "first_seen"))
    assert rest.get(f"/users/{user['id']}/") == rest.get("/users-by-id/43/") == user


def test_user_without_names_is_named_by_the_email(rest: Rest) -> None:
    assert rest.user(email="a@b.example")["name"] == "a@b.example"


def test_user_created_with_a_key_takes_over_the_visitor_of_a_cookie(rest: Rest, api: Api) -> None:
    user = rest.user(user_key="k3v9x0q2m7ab", email="a@b.example")
    assert user["user_key"] == "k3v9x0q2m7ab"
    assert api.ping(userKey="k3v9x0q2m7ab") == "k3v9x0q2m7ab"
    assert rest.send("POST", "/users/", {"user_key": "k3v9x0q2m7ab"}).status_code == 400


def test_update_is_partial_and_null_clears(rest: Rest) -> None:
    user = rest.user(custom_id="c", email="a@b.example", phone_number="600", gender=2)
    for path in (f"/users/{user['id']}/", "/users-by-id/c/"):
        changed = rest.put(path, phone_number=None)
        assert (changed["email"], changed["phone_number"]) == ("a@b.example", None)
        assert (changed["gender"], changed["custom_id"]) == ("male", "c")
    assert rest.send("PATCH", "/users-by-id/c/", {"status": 2}).json()["status"] == "user"


def test_update_of_a_first_name_keeps_the_last_name_of_a_page_hit(rest: Rest, api: Api) -> None:
    api.ping(user_id="c", name="Ada Nowak")
    assert rest.put("/users-by-id/c/", first_name="Eva")["name"] == "Eva Nowak"
    api.ping(user_id="c", name="Eva Kowalska")
    assert rest.get("/users-by-id/c/")["name"] == "Eva Kowalska"


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"gender": "x"}, {"gender": ['"x" is not a valid choice.']}),
        ({"status": True}, {"status": ['"True" is not a valid choice.']}),
        ({"email": "x"}, {"email": ["Enter a valid email address."]}),
        ({"email": ["x"]}, {"email": ["Not a valid string."]}),
        ({"score": "x"}, {"score": ["A valid integer is required."]}),
        (
            {"score": "9" * 19},
            {"score": ["Ensure this value is less than or equal to 9223372036854775807."]},
        ),
        ({"unsubscribed": "perhaps"}, {"unsubscribed": ["Must be a valid boolean."]}),
        ({"tags": "a"}, {"tags": ['Expected a list of items but got type "str".']}),
        ({"tags": [{}]}, {"tags": ["Not a valid string."]}),
        ({"first_seen": "yesterday"}, {"first_seen": ["Datetime has wrong format."]}),
        ({"first_seen": -1}, {"first_seen": ["Datetime has wrong format."]}),
        ({"company_id": 7}, {"company_id": ['Invalid pk "7" - object does not exist.']}),
        (
            {"company_custom_id": "c"},
            {"company_custom_id": ["Object with custom_id=c does not exist."]},
        ),
        (
            {"First name": "a" * 41, "city": "a" * 65},
            {
                "first_name": ["Ensure this field has no more than 40 characters."],
                "city": ["Ensure this field has no more than 64 characters."],
            },
        ),
    ],
)
def test_write_with_invalid_fields_is_answered_400_and_writes_nothing(
    rest: Rest, sandbox: Sandbox, body: dict[str, Any], errors: dict[str, list[str]]
) -> None:
    rest.user(custom_id="c")
    for method, path in (
        ("POST", "/users/"),
        ("PUT", "/users-by-id/c/"),
        ("POST", "/users-by-id/c/set_multiple_attributes/"),
    ):
        answer = rest.send(method, path, {"timezone": "CET", **body})
        assert (answer.status_code, answer.json()) == (400, {"errors": errors})
    (user,) = sandbox.store.users.values()
    assert user.attributes == {"user_id": "c"}
    assert len(sandbox.store.rejected) == 3


def test_custom_id_of_another_user_is_answered_400(rest: Rest) -> None:
    rest.user(custom_id="a")
    rest.user(custom_id="b")
    for method, path in (("POST", "/users/"), ("PUT", "/users-by-id/b/")):
        answer = rest.send(method, path, {"custom_id": "a"})
        assert answer.json() == {
            "errors": {"custom_id": ["user with this custom_id already exists."]}
        }
    rest.put("/users-by-id/a/", custom_id="a")


def test_update_or_create_matches_on_the_custom_id(rest: Rest) -> None:
    made = rest.send("POST", "/users/update_or_create/", {"custom_id": "c", "email": "a@b.example"})
    assert (made.status_code, made.json()["created"]) == (201, True)
    again = rest.send("POST", "/users/update_or_create/", {"user_id": "c", "First name": "Ada"})
    assert (again.status_code, again.json()) == (200, {"created": False, "id": made.json()["id"]})
    user = rest.get("/users-by-id/c/")
    assert (user["name"], user["email"]) == ("Ada", "a@b.example")
    assert (
        rest.send("POST", "/users/update_or_create/", {"email": "x@b.example"}).status_code == 400
    )


def test_set_multiple_attributes_is_answered_by_an_empty_200(rest: Rest, sandbox: Sandbox) -> None:
    user = rest.user(custom_id="c")
    rest.post("/attributes/", name="plan", value_type="string", content_type="clientuser")
    for path in (f"/users/{user['id']}", "/users-by-id/c"):
        for verb, body in (
            ("set_multiple_attributes", {"plan": "pro", "city": "Łódź"}),
            ("set_attribute", {"attribute": "plan", "value": "free"}),
        ):
            answer = rest.send("POST", f"{path}/{verb}/", body)
            assert (answer.status_code, answer.content) == (200, b"")
            assert "Content-Type" not in answer.headers
    changed = rest.get("/users-by-id/c/")
    assert (changed["plan"], changed["city"]) == ("free", "Łódź")
    assert [each.data for each in sandbox.store.updates][1] == {"plan": "pro", "city": "Łódź"}
    missing = rest.send("POST", "/users-by-id/c/set_attribute/", {"attribute": "plan"})
    assert missing.json() == {"errors": {"value": ["This field is required."]}}


def test_unknown_attribute_is_ignored_unless_the_switch_is_on(rest: Rest, sandbox: Sandbox) -> None:
    assert "plan" not in rest.user(custom_id="c", Plan="pro")
    assert [(each.names, each.reason) for each in sandbox.store.ignored] == [
        (["Plan"], "no such attribute")
    ]
    sandbox.rest_creates_attributes = True
    assert rest.put("/users-by-id/c/", Plan="pro", seats=4)["plan"] == "pro"
    rows = rest.get("/attributes/")["results"]
    assert [(row["name"], row["name_std"], row["content_type"]) for row in rows] == [
        ("Plan", "plan", "user"),
        ("seats", "seats", "user"),
    ]


@pytest.mark.parametrize(
    ("value_type", "good", "stored", "bad"),
    [
        ("integer", "5", 5, "five"),
        ("float", "1.5", 1.5, []),
        ("boolean", "true", True, "yes please"),
        ("date", "2030-01-02", "2030-01-02", "2 Jan"),
        ("datetime", "2030-01-02T03:04:05Z", "2030-01-02T03:04:05Z", "now"),
        ("fixed", "a", "a", "c"),
        ("json", {"a": [1]}, {"a": [1]}, None),
        ("string", 5, "5", {}),
    ],
)
def test_value_of_another_type_than_the_attribute_is_ignored(
    rest: Rest, sandbox: Sandbox, value_type: str, good: Any, stored: Any, bad: Any
) -> None:
    rest.post(
        "/attributes/",
        name="Plan",
        value_type=value_type,
        content_type="clientuser",
        choices=["a", "b"],
        allow_multiple_choices=False,
    )
    rest.user(custom_id="c", plan=good)
    assert rest.get("/users-by-id/c/")["plan"] == stored
    if bad is not None:
        assert rest.put("/users-by-id/c/", plan=bad)["plan"] == stored
        assert sandbox.store.ignored[0].names == ["plan"]


def test_attribute_of_a_page_hit_is_updated_under_its_own_name(
    rest: Rest, api: Api, sandbox: Sandbox
) -> None:
    key = api.ping(user_id="c", Plan="free")
    assert rest.get("/users-by-id/c/")["plan"] == "free"
    assert rest.put("/users-by-id/c/", plan="pro")["plan"] == "pro"
    assert sandbox.store.users[key].attributes == {"user_id": "c", "Plan": "pro"}


def test_infinite_number_of_a_page_hit_is_answered_as_null(rest: Rest, api: Api) -> None:
    content = (
        b'{"apiKey": "ABC123", "user_id": "c", "plan": [1e999], "score": -1e999, "t": "\\ud800"}'
    )
    api.http.post("/api/v2/user-chatping/", content=content)
    user = rest.get("/users-by-id/c/")
    assert (user["plan"], user["score"]) == ([None], None)
    assert b"Infinity" not in api.http.get("/sandbox/state").content


def test_blank_attribute_is_ignored(rest: Rest, sandbox: Sandbox) -> None:
    sandbox.rest_creates_attributes = True
    user = rest.send("POST", "/users/", {"": 1, " ": 2, "a": None}).json()
    assert not {"", " "} & user.keys()
    assert [each.names for each in sandbox.store.ignored] == [["", " "]]


def test_remove_attribute_by_the_verb_of_each_path_removes_it(rest: Rest, api: Api) -> None:
    for verb, status, path in (("DELETE", 204, "/users/{id}"), ("POST", 200, "/users-by-id/c")):
        api.ping(user_id="c", Plan="free")
        path = path.format(id=rest.get("/users-by-id/c/")["id"])
        answer = rest.send(verb, f"{path}/remove_attribute/", {"attribute": "plan"})
        assert (answer.status_code, answer.content) == (status, b"")
        assert "plan" not in rest.get("/users-by-id/c/")


def test_tags_are_added_and_removed_by_the_verb_of_each_path(rest: Rest) -> None:
    user = rest.user(custom_id="c", tags=["a"])
    for verb, path in (("DELETE", f"/users/{user['id']}"), ("POST", "/users-by-id/c")):
        name = f"beta {verb}"
        assert rest.post(f"{path}/add_tag/", name=name) == {"created": True, "tag": {"name": name}}
        assert rest.post(f"{path}/add_tag/", name=name)["created"] is False
        rest.post(f"{path}/add_many_tags/", tag_names=["m", "n"])
        names = {tag["name"] for tag in rest.get(f"{path}/")["tags"]}
        assert names == {"a", name, "m", "n"}
        assert rest.send(verb, f"{path}/remove_tag/", {"name": name}).is_success
        assert rest.send(verb, f"{path}/remove_tag/", {"name": "never"}).is_success
        assert name not in str(rest.get(f"{path}/")["tags"])
    assert rest.put("/users-by-id/c/", tags=["z"])["tags"][-1]["name"] == "z"  # only added
    assert len(rest.get("/users-by-id/c/")["tags"]) == 4


def test_empty_tags_of_a_list_are_null(rest: Rest) -> None:
    rest.user()
    assert rest.get("/users/")["results"][0]["tags"] is None


def test_list_membership_is_set_by_the_verb_of_each_path(rest: Rest) -> None:
    user = rest.user(custom_id="c")
    made = rest.post("/lists/", name="News")
    for verb, path in (("DELETE", f"/users/{user['id']}"), ("POST", "/users-by-id/c")):
        assert rest.post(f"{path}/add_to_list/", list=made["id"]) == {"id": made["id"]}
        assert rest.get(f"{path}/")["lists"] == [{"id": made["id"], "name": "News"}]
        assert rest.send(verb, f"{path}/remove_from_list/", {"list": made["id"]}).is_success
        assert rest.get(f"{path}/")["lists"] == []
        assert rest.send("POST", f"{path}/add_to_list/", {"list": 999}).status_code == 404


def test_search_by_an_identifier_answers_an_object_or_404(rest: Rest) -> None:
    user = rest.user(custom_id="c", email="a+b@b.example", phone_number="+48 600")
    path = "/users/search/"
    assert rest.get(path, email="a+b@b.example") == user
    assert rest.get(path, key=user["user_key"]) == user
    assert rest.get("/users-by-id/search/", user_id="c") == user
    for query in ({"email": "x@b.example"}, {"key": "x"}, {"email": ""}):
        assert rest.send("GET", path, params=query).json() == {"detail": "Not found."}
    # A plus that is not encoded is a space.
    assert rest.send("GET", f"{path}?email=a+b@b.example").status_code == 404


def test_search_by_email_with_many_answers_a_bare_array(rest: Rest) -> None:
    ids = {rest.user(email="a@b.example")["id"] for _ in range(2)}
    found = rest.get("/users/search/", email="A@b.example", many="true")
    assert {user["id"] for user in found} == ids
    assert rest.get("/users/search/", email="x@b.example", many="true") == []


def test_search_by_phone_number_answers_an_envelope(rest: Rest) -> None:
    user = rest.user(phone_number="+48 600")
    found = rest.get("/users/search/", phone_number="+48 600")
    assert [row["id"] for row in found["results"]] == [user["id"]]
    assert rest.get("/users/search/", phone_number="1") == {
        "count": 0,
        "next": None,
        "previous": None,
        "results": [],
    }


def test_search_by_a_range_of_times_answers_those_within(rest: Rest) -> None:
    old, new = rest.user(first_seen=1_000, last_seen="2030-01-01T00:00:00Z"), rest.user()

    def found(**query: Any) -> list[int]:
        return [row["id"] for row in rest.get("/users/search/", **query)["results"]]

    assert found(search="first_seen", min=500, max=1_000) == [old["id"]]
    assert found(search="first_seen", min=1_001) == [new["id"]]
    assert found(search="last_seen", min=1_893_456_000) == [old["id"]]
    assert found(search="updated_at", max=time.time() + 5) == [old["id"], new["id"]]
    assert found(search="last_contacted") == []


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"search": "name"},
        {"search": "first_seen", "min": "x"},
        {"search": "first_seen", "max": "nan"},
        {"color": 1},
    ],
)
def test_search_by_nothing_known_is_answered_400(rest: Rest, query: dict[str, Any]) -> None:
    assert rest.send("GET", "/users/search/", params=query).status_code == 400


@pytest.mark.parametrize(
    ("lookup", "value", "ages"),
    [
        ("__lt", 30, [9]),
        ("__lte", 30, [9, 30]),
        ("__gt", 9, [30]),
        ("__gte", "9", [9, 30]),
        ("__contains", "3", [30]),
        ("__icontains", "3", [30]),
        ("__startswith", "9", [9]),
        ("__istartswith", "9", [9]),
        ("__endswith", "0", [30]),
        ("__iendswith", "0", [30]),
        ("", "9", [9]),
    ],
)
def test_search_by_a_custom_attribute_answers_an_envelope(
    rest: Rest, sandbox: Sandbox, lookup: str, value: Any, ages: list[int]
) -> None:
    sandbox.rest_creates_attributes = True
    for age in (9, 30):
        rest.user(age=age)
    rest.user()
    found = rest.get("/users/search/", **{f"age{lookup}": value})
    assert [row["age"] for row in found["results"]] == ages


def test_list_by_standard_attributes_answers_those_that_match(rest: Rest) -> None:
    rest.user(email="ann@b.example", unsubscribed=True)
    rest.user(email="bob@b.example")
    rest.user()

    def emails(**query: Any) -> list[str]:
        return [row["email"] for row in rest.get("/users/", **query)["results"]]

    assert emails(email__contains="ann") == ["ann@b.example"]
    assert emails(email__gt="b") == ["bob@b.example"]
    assert emails(unsubscribed="True") == ["ann@b.example"]
    assert emails(with_email=1) == ["ann@b.example", "bob@b.example"]
    assert emails(with_email="false") == [None]
    assert emails(score__gte=0, email__contains="o") == ["bob@b.example"]
    assert len(emails(unknown=1)) == 3


@pytest.mark.parametrize("name", ["users_list", "user_list"])
def test_merge_keeps_the_values_of_the_parent_then_of_the_lowest_id(
    rest: Rest, api: Api, sandbox: Sandbox, name: str
) -> None:
    low = rest.user(email="low@b.example", city="low", tags=["t"])
    high = rest.user(email="high@b.example", city="high", country="high", custom_id="c")
    parent = rest.user(email="parent@b.example")
    made = rest.post("/lists/", name="l")
    rest.post(f"/users/{high['id']}/add_to_list/", list=made["id"])
    rest.post("/events/", user_id=low["id"], name="e")
    rest.post("/deals/", name="d", custom_id="d", user_id=high["id"])
    body = {"parent": parent["id"], name: [high["id"], low["id"]]}
    assert rest.post("/users/merge/", **body) == {"success": True}
    merged = rest.get(f"/users/{parent['id']}/")
    assert [merged[each] for each in ("email", "city", "country", "custom_id")] == [
        "parent@b.example",
        "low",
        "high",
        "c",
    ]
    assert (len(merged["tags"]), len(merged["lists"])) == (1, 1)
    assert rest.get(f"/users/{parent['id']}/events/")["count"] == 1
    assert rest.get("/deals-by-id/d/")["user_id"] == parent["id"]
    assert rest.send("GET", f"/users/{low['id']}/").status_code == 404
    assert api.ping(userKey=low["user_key"]) == parent["user_key"]


def test_merge_of_unknown_users_or_the_parent_is_refused(rest: Rest) -> None:
    user = rest.user()["id"]
    for status, body in (
        (404, {"parent": user, "users_list": [999]}),
        (404, {"parent": 999, "users_list": [user]}),
        (400, {"parent": user, "users_list": [user]}),
        (400, {"parent": user}),
        (400, {"parent": user, "users_list": 5}),
    ):
        assert rest.send("POST", "/users/merge/", body).status_code == status
    rest.get(f"/users/{user}/")


def test_writes_never_merge_nor_switch_users_of_one_email(rest: Rest, sandbox: Sandbox) -> None:
    sandbox.unified_identification = sandbox.authorize_by_email = True
    rest.user(custom_id="a", email="a@b.example")
    rest.user(custom_id="b")
    rest.put("/users-by-id/b/", email="a@b.example")
    rest.post("/users/update_or_create/", custom_id="c", email="a@b.example")
    assert len(sandbox.store.active_users()) == 3


def test_delete_removes_the_user_with_its_records(rest: Rest, api: Api, sandbox: Sandbox) -> None:
    key = api.ping(user_id="c", company={"company_id": "acme"})
    api.event(key)
    rest.post("/deals/", name="d", custom_id="d", user_custom_id="c")
    answer = rest.send("DELETE", "/users-by-id/c/")
    assert (answer.status_code, answer.content) == (204, b"")
    again = rest.send("DELETE", "/users-by-id/c/")
    assert (again.status_code, again.json()) == (404, {"detail": "Not found."})
    store = sandbox.store
    assert [store.users, store.hits, store.events, store.updates] == [{}, [], [], []]
    assert rest.get("/companies-by-id/acme/")["employees"] == []
    assert rest.get("/deals-by-id/d/")["user_id"] is None
    assert api.event(key).status_code == 404


def test_mass_update_writes_the_users_of_the_ids(rest: Rest) -> None:
    ids = [rest.user(custom_id=name)["id"] for name in "ab"]
    body: dict[str, Any] = {"ids": ids, "attribute": "city", "value": "Łódź"}
    assert rest.put("/users/mass_update_standard_attributes/", **body) == {"status": "ok"}
    assert {row["city"] for row in rest.get("/users/")["results"]} == {"Łódź"}
    body |= {"ids": ["a", "unknown"], "value": "Kraków"}
    rest.put("/users-by-id/mass_update_custom_attributes/", **body)
    assert [row["city"] for row in rest.get("/users/")["results"]] == ["Kraków", "Łódź"]
    wrong = rest.send("PUT", "/users/mass_update_custom_attributes/", body)
    assert wrong.json() == {"errors": {"ids": ["A valid integer is required."]}}


@pytest.mark.parametrize("custom_id", ["user@1", "ą ć", "a+b", "100%", "..", "?x=1"])
def test_custom_id_is_read_from_an_encoded_path(rest: Rest, custom_id: str) -> None:
    rest.user(custom_id=custom_id)
    path = quote(custom_id, safe="").replace(".", "%2E")
    assert rest.get(f"/users-by-id/{path}/")["custom_id"] == custom_id


def test_slash_in_a_custom_id_is_off_the_map(rest: Rest) -> None:
    rest.user(custom_id="a/b")
    answer = rest.send("GET", "/users-by-id/a%2Fb/")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/html")


def test_update_or_create_joins_the_company_that_it_names(rest: Rest) -> None:
    rest.post("/companies/", custom_id="acme", name="Acme")
    rest.post("/deals/", name="D", custom_id="d", company_custom_id="acme")
    rest.post("/users/update_or_create/", custom_id="c", company_custom_id="acme")
    assert rest.get("/users-by-id/c/")["companies"][0]["name"] == "Acme"
    rest.send("DELETE", "/companies-by-id/acme/")
    assert rest.get("/deals-by-id/d/")["company_id"] is None


def test_time_without_a_zone_is_taken_as_utc(rest: Rest) -> None:
    assert rest.user(last_seen="2030-01-02T03:04:05")["last_seen"] == "2030-01-02T03:04:05.000000Z"
    assert rest.user(last_seen="1900000000")["last_seen"].startswith("2030-03-17")
