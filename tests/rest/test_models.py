"""Guards ``rest/models.py``: recorded shapes of version 1 and 2, and what a repr shows."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from usercom_asgi import InvalidCommand
from usercom_asgi.rest import CustomId, Email
from usercom_asgi.rest.models import (
    Attribute,
    Company,
    Deal,
    Event,
    Line,
    Product,
    ProductEvent,
    Tag,
    User,
)

# fmt: off
#: Keys and types as recorded in 2022, with invented values.
V2 = {
    "id": 52, "user_key": "k3v9x0q2m7ab", "custom_id": "cust-52", "email": None,
    "name": "Ada Nowak", "gender": "unknown", "status": "visitor", "phone_number": "600100200",
    "score": 0, "page_views": 2, "first_seen": "2030-01-02T03:04:05.678901Z",
    "last_seen": None, "created_at": "2030-01-02T03:04:05.678901Z", "browser_language": None,
    "companies": [{"id": 21, "name": "Acme", "member_since": "2030-01-03T00:00:00.000001Z"}],
    "lists": [], "tags": [{"id": 5, "name": "beta"}], "notifications": True,
    "unsubscribed": False, "web_push_subscription": False, "plan": "pro", "seats": 4,
}
#: As recorded in 2018.
V1 = {
    "id": 52, "key": "Ab3dE5gH7", "user_id": "43", "email": "ada@shop.example",
    "name": "Ada", "gender": 2, "status": 1, "tags": None, "chat_id": "x",
    "attributes": [
        {"id": 1, "name": "Plan", "name_std": "plan", "value": "pro", "value_type": 1},
        {"name": "Seats", "value": 4},
        None,
    ],
}
PERSONAL = {
    "email": "ada@shop.example", "name": "Ada", "phone_number": "+48600", "city": "Oslo",
    "user_key": "k3v9x0q2m7ab", "custom_id": "cust-52", "plan": "pro", "last_ip": "1.2.3.4",
    "phone_numbers": ["+48600"], "address": "Main 6", "data": {"a": "Ada"},
}
# fmt: on


def test_user_of_version_2_reads_custom_attributes_beside_the_others() -> None:
    user = User.parse(V2)
    assert (user.id, user.user_key, user.custom_id, user.email) == (
        *(52, "k3v9x0q2m7ab", "cust-52"),
        None,
    )
    assert user.attributes == {"plan": "pro", "seats": 4}
    assert user.created_at == datetime(2030, 1, 2, 3, 4, 5, 678901, UTC)
    assert [(each.id, each.name) for each in user.tags] == [(5, "beta")]
    assert user.companies[0].member_since is not None
    assert (user.gender, user.status, user.lists) == ("unknown", "visitor", ())


def test_user_of_version_1_reads_the_same_fields() -> None:
    user = User.parse(V1)
    assert (user.user_key, user.custom_id, user.gender, user.status) == (
        *("Ab3dE5gH7", "43"),
        *("male", "visitor"),
    )
    assert user.attributes == {"plan": "pro", "Seats": 4}
    assert user.tags == ()


def test_user_custom_attribute_with_a_name_of_version_1_is_kept() -> None:
    user = User.parse({"id": 1, "user_key": None, "custom_id": "c", "key": "gold", "user_id": 7})
    assert (user.user_key, user.custom_id) == (None, "c")
    assert user.attributes == {"key": "gold", "user_id": 7}


def test_company_reads_both_versions_and_nulls() -> None:
    company = Company.parse(
        {"id": 21, "custom_id": "acme-1", "phone_numbers": None, "employees": [52], "x": "no"}
    )
    assert (company.phone_numbers, company.employees, company.attributes) == (
        (),
        (52,),
        {"x": "no"},
    )
    old = Company.parse({"company_id": "acme-1", "approx_employees": 5, "phone_numbers": ["1", 2]})
    assert (old.custom_id, old.size, old.phone_numbers) == ("acme-1", 5, ("1", "2"))


def test_deal_reads_its_value_from_text() -> None:
    deal = Deal.parse(
        {"id": 1, "value": "1250.00", "status": 1, "expected_close_date": "2030-01-02", "x": 1}
    )
    assert deal.value == Decimal("1250.00")
    assert deal.attributes == {"x": 1}
    old = Deal.parse({"deal_id": "d", "person": 52, "status": "won", "products_deal_id": ["p"]})
    assert (old.custom_id, old.user_id, old.status, old.products_custom_id) == (
        *("d", 52, None),
        ("p",),
    )


def test_event_rows_read_both_versions() -> None:
    assert Event.parse({"event": "paid", "client": 52}).user_id == 52
    assert Event.parse({"name": "paid", "user_id": 52, "data": {"a": 1}}).data == {"a": 1}
    assert ProductEvent.parse({"event_type": "view", "custom_data": []}).custom_data is None


@pytest.mark.parametrize("model", [User, Company, Deal, Event, Product, ProductEvent])
def test_repr_hides_personal_data(model: type[User]) -> None:
    shown = repr(model.parse({"id": 52, **PERSONAL}))
    assert shown.startswith(f"{model.__name__}(id=52")
    hidden = {"ada@", "+48600", "Oslo", "k3v9x0q2m7ab", "1.2.3.4", "Main 6", "pro"}
    assert not [each for each in hidden if each in shown]
    if model in (User, Company):
        assert "cust-52" not in shown


def test_repr_of_definitions_shows_their_names() -> None:
    assert repr(Tag.parse({"id": 5, "name": "beta"})) == "Tag(id=5, name='beta')"
    shown = repr(Attribute.parse({"id": 1, "name": "Plan", "name_std": "plan"}))
    assert "name_std='plan'" in shown


def test_line_names_its_product_by_the_type_of_the_identifier() -> None:
    assert Line(product=Product(id=5)).body() == Line(product=5).body()
    with pytest.raises(InvalidCommand):
        Line(product=Product()).body()
    assert Line(product=5, quantity=2, value=9.5).body() == {
        "product_id": 5,
        "quantity": 2,
        "value": 9.5,
    }
    assert Line(product=CustomId("p1"), currency="PLN").body() == {
        "product_custom_id": "p1",
        "quantity": 1,
        "currency": "PLN",
    }
    with pytest.raises(InvalidCommand):
        Line(product=Email("a@b.example")).body()  # type: ignore[arg-type]
