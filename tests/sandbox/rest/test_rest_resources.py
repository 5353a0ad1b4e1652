"""Products, companies and deals by REST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from usercom_asgi.sandbox import Sandbox

if TYPE_CHECKING:
    from sandbox.conftest import Api
    from sandbox.rest.conftest import Rest


@pytest.mark.parametrize("kind", ["products", "companies", "deals"])
def test_record_is_created_read_updated_listed_and_deleted_by_both_ids(
    rest: Rest, kind: str
) -> None:
    answer = rest.send("POST", f"/{kind}/", {"custom_id": "x-1", "name": "X", "isPrivate": True})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["custom_id"], made["name"], made["isprivate"]) == ("x-1", "X", True)
    by_id, by_custom_id = f"/{kind}/{made['id']}/", f"/{kind}-by-id/x-1/"
    assert rest.get(by_id) == rest.get(by_custom_id) == made
    assert rest.put(by_id, isprivate=False)["name"] == "X"
    assert rest.put(by_custom_id, name="Y")["isprivate"] is False
    rest.post(f"/{kind}/", name="Z")
    assert [row["name"] for row in rest.get(f"/{kind}/")["results"]] == ["Y", "Z"]
    taken = rest.send("POST", f"/{kind}/", {"custom_id": "x-1", "name": "X"})
    assert "already exists" in taken.json()["errors"]["custom_id"][0]
    for path, status in ((by_custom_id, 204), (by_id, 404)):
        assert rest.send("DELETE", path).status_code == status


@pytest.mark.parametrize("kind", ["products", "companies", "deals"])
def test_record_without_a_name_is_answered_400(rest: Rest, kind: str) -> None:
    required = {"errors": {"name": ["This field is required."]}}
    assert rest.send("POST", f"/{kind}/", {}).json() == required
    made = rest.post(f"/{kind}/", name="X")
    null = {"errors": {"name": ["This field may not be null."]}}
    assert rest.send("PUT", f"/{kind}/{made['id']}/", {"name": None}).json() == null


def test_attributes_of_a_company_are_created(rest: Rest) -> None:
    rest.post("/companies/", custom_id="acme", name="Acme")
    rest.post("/companies-by-id/acme/set_multiple_attributes/", revenue=5, size="3")
    rest.post("/companies-by-id/acme/set_attribute/", attribute="sector", value="law")
    company = rest.get("/companies-by-id/acme/")
    assert (company["revenue"], company["size"], company["sector"]) == (5, 3, "law")
    assert [row["name"] for row in rest.get("/attributes/")["results"]] == ["revenue", "sector"]


def test_company_reads_null_phone_numbers_and_its_tags(rest: Rest) -> None:
    made = rest.post("/companies/", name="Acme", tags=["a"], created_at=1)
    assert (made["phone_numbers"], made["employees"]) == (None, [])
    assert made["created_at"] == "1970-01-01T00:00:01.000000Z"
    path = f"/companies/{made['id']}"
    assert rest.put(f"{path}/", phone_numbers=["1"])["phone_numbers"] == ["1"]
    assert rest.post(f"{path}/add_tag/", name="b")["created"] is True
    tag = rest.get(f"{path}/")["tags"][1]
    assert rest.get(f"/tags/{tag['id']}/companies/")["count"] == 1
    assert rest.send("DELETE", f"{path}/remove_tag/", {"name": "b"}).status_code == 204
    assert [tag["name"] for tag in rest.get(f"{path}/")["tags"]] == ["a"]
    assert rest.send("POST", f"{path}/remove_tag/", {"name": "a"}).status_code == 405


def test_member_of_a_company_has_it_as_if_by_a_page_hit(rest: Rest, sandbox: Sandbox) -> None:
    user = rest.user(custom_id="c")
    company = rest.post("/companies/", custom_id="acme", name="Acme", plan="pro")
    rest.post("/companies-by-id/acme/add_member/", user_id=user["id"], user_custom_id="c")
    assert rest.get("/companies-by-id/acme/")["employees"] == [user["id"]]
    (shown,) = rest.get("/users-by-id/c/")["companies"]
    assert (shown["id"], shown["name"]) == (company["id"], "Acme")
    profile = sandbox.store.users[user["user_key"]]
    assert profile.company == {"company_id": "acme", "name": "Acme", "plan": "pro"}
    rest.put("/companies-by-id/acme/", name="Acme Ltd")
    assert profile.company["name"] == "Acme Ltd"
    other = rest.post("/companies/", name="Other")
    rest.put("/users-by-id/c/", company_id=other["id"])
    assert profile.company == {"name": "Other"}
    rest.post(f"/companies/{other['id']}/remove_member/", user_custom_id="c")
    assert profile.company["company_id"] == "acme"
    rest.send("DELETE", "/companies-by-id/acme/")
    assert profile.company == {}
    assert rest.get("/users-by-id/c/")["companies"] == []


def test_member_that_is_unknown_is_answered_404(rest: Rest) -> None:
    rest.post("/companies/", custom_id="acme", name="Acme")
    for verb in ("add_member", "remove_member"):
        path = f"/companies-by-id/acme/{verb}/"
        assert rest.send("POST", path, {"user_custom_id": "x"}).status_code == 404
        assert rest.send("POST", path, {}).status_code == 400


def test_company_of_a_page_hit_is_read_by_rest(rest: Rest, api: Api) -> None:
    key = api.ping(user_id="c", company={"company_id": 7, "name": "Acme", "Revenue": 5})
    api.ping(userKey=key, company={"name": "Acme Ltd"})
    api.ping(user_id="d", company={"company_id": "7"})
    company = rest.get("/companies-by-id/7/")
    assert (company["name"], company["revenue"], len(company["employees"])) == ("Acme Ltd", 5, 2)
    api.ping(user_id="e", company={"name": "Nameless"})
    api.ping(user_id="f", company={"name": "Nameless", "size": 2})
    api.ping(user_id="g", company={"size": 2})
    assert rest.get("/companies/")["count"] == 2


def test_deal_value_is_read_as_text(rest: Rest) -> None:
    deal = rest.post("/deals/", name="D", value=1250, currency="pln", status=2)
    assert (deal["value"], deal["currency"], deal["status"]) == ("1250.00", "PLN", 2)
    assert deal["activities_status"] == "planned"
    assert rest.put(f"/deals/{deal['id']}/", value="9.999")["value"] == "10.00"
    assert rest.put(f"/deals/{deal['id']}/", value=None)["value"] == "0.00"


def test_deal_update_or_create_by_its_custom_id_is_safe_to_repeat(rest: Rest) -> None:
    body: dict[str, Any] = {"custom_id": "o-1", "name": "Order", "value": 5, "currency": "PLN"}
    answers = [rest.send("POST", "/deals/update_or_create/", body) for _ in range(2)]
    assert [each.status_code for each in answers] == [201, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert rest.get("/deals/")["count"] == 1
    assert rest.send("POST", "/deals/update_or_create/", {"name": "x"}).status_code == 400


def test_order_is_a_deal_with_its_products(rest: Rest, sandbox: Sandbox) -> None:
    user = rest.user(custom_id="c")
    rest.post("/companies/", custom_id="acme", name="Acme")
    product = rest.post("/products/", custom_id="p", name="Mug")
    deal = rest.post(
        "/deals/update_or_create/",
        custom_id="o-1",
        name="Order",
        user_custom_id="c",
        company_custom_id="acme",
        order_products=[{"product_custom_id": "p", "quantity": 2, "value": 9.9, "currency": "PLN"}],
    )
    assert (deal["user_id"], deal["company_custom_id"]) == (user["id"], "acme")
    assert (deal["products"], deal["products_custom_id"]) == ([product["id"]], ["p"])
    (stored,) = sandbox.store.deals.values()
    assert stored.fields["order_products"] == [
        {"product_custom_id": "p", "quantity": 2, "value": 9.9, "currency": "PLN"}
    ]
    cleared = rest.put("/deals-by-id/o-1/", user_id=None, company_id=None, products=[])
    assert (cleared["user_id"], cleared["company_id"], cleared["products"]) == (None, None, [])


@pytest.mark.parametrize(
    "body",
    [
        {"user_custom_id": "x"},
        {"user_id": 999},
        {"company_id": 999},
        {"company_custom_id": "x"},
        {"products": [999]},
        {"products_custom_id": ["x"]},
        {"order_products": [{"product_custom_id": "x"}]},
    ],
)
def test_deal_with_an_unknown_relation_is_answered_404_and_stores_nothing(
    rest: Rest, sandbox: Sandbox, body: dict[str, Any]
) -> None:
    answer = rest.send("POST", "/deals/", {"name": "D", **body})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."})
    assert not sandbox.store.deals


@pytest.mark.parametrize(
    "body",
    [
        {"value": "x"},
        {"value": True},
        {"value": 10**16},
        {"value": "nan"},
        {"currency": "złoty"},
        {"currency": 5},
        {"status": 5},
        {"expected_close_date": "soon"},
        {"expected_close_date": 5},
        {"participants": [{}]},
        {"order_products": [5]},
        {"order_products": [{"quantity": "many"}]},
        {"user_id": "x"},
    ],
)
def test_deal_with_an_invalid_field_is_answered_400(rest: Rest, body: dict[str, Any]) -> None:
    assert rest.send("POST", "/deals/", {"name": "D", **body}).status_code == 400


def test_deals_are_listed_by_user_key_and_stage(rest: Rest) -> None:
    user = rest.user(custom_id="c")
    rest.post("/deals/", name="A", user_id=user["id"], stage=3)
    rest.post("/deals/", name="B", user_id=user["id"], stage=4)
    rest.post("/deals/", name="C", stage=3)

    def names(**query: Any) -> list[str]:
        return [row["name"] for row in rest.get("/deals/", **query)["results"]]

    assert names(user_id=user["id"]) == names(user_custom_id="c") == ["A", "B"]
    assert names(userkey=user["user_key"]) == ["A", "B"]
    assert names(userkey=user["user_key"], stage=4) == ["B"]
    assert names(userkey="unknown") == []
    assert names(stage=3) == ["A", "C"]
