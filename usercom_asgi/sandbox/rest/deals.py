"""Deals, and orders: deals with `order_products`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usercom_asgi.sandbox.objects import Deal, Resource
from usercom_asgi.sandbox.rest import fields, filters, paging, users
from usercom_asgi.sandbox.rest.call import not_found
from usercom_asgi.sandbox.rest.fields import Field, iso
from usercom_asgi.sandbox.rest.kinds import Kind

if TYPE_CHECKING:
    from starlette.responses import Response

    from usercom_asgi.sandbox.objects import Collection
    from usercom_asgi.sandbox.rest.call import Call
    from usercom_asgi.sandbox.store import Store


def _currency(value: Any) -> str:
    """Check a currency of ISO 4217, whose list the sandbox does not have."""
    if not (isinstance(value, str) and len(value) == 3 and value.isascii() and value.isalpha()):
        raise fields.FieldError(f'"{value}" is not a valid choice.')
    return value.upper()


_LINE = {
    "product_id": Field(fields.integer),
    "product_custom_id": Field(fields.text()),
    "quantity": Field(fields.integer),
    "value": Field(fields.number),
    "currency": Field(_currency),
}
FIELDS = {
    "custom_id": Field(fields.text(blank=False)),
    "name": Field(fields.text(blank=False), required=True),
    "value": Field(fields.number),
    "currency": Field(_currency),
    "status": Field(fields.choice(0, 1, 2, 3, 4)),
    "stage": Field(fields.integer),
    "pipeline": Field(fields.integer),
    "activities_status": Field(fields.text()),
    "assigned_to": Field(fields.integer),
    "company_id": Field(fields.integer),
    "company_custom_id": Field(fields.text()),
    "user_id": Field(fields.integer),
    "user_custom_id": Field(fields.text()),
    "expected_close_date": Field(fields.day),
    "won_at": Field(fields.moment),
    "lost_at": Field(fields.moment),
    "loss_reason": Field(fields.integer),
    "participants": Field(fields.many(fields.integer)),
    "products": Field(fields.many(fields.integer)),
    "products_custom_id": Field(fields.many(fields.text())),
    "order_products": Field(fields.many(fields.mapping)),
}
"""Fields of a deal in writes [D]."""

_PRODUCTS = ("products", "products_custom_id", "order_products")
_READ_ONLY = frozenset(
    {
        "agent",
        "created_at",
        "created_by",
        "id",
        "loss_reason_description",
        "restricted_to",
        "scope",
        "tags",
        "updated_at",
    }
)


def _describe(store: Store, deal: Deal) -> dict[str, Any]:
    values = deal.fields
    user = store.by_id(deal.user_id) if deal.user_id is not None else None
    company = store.companies.get(deal.company_id or 0)
    products = [store.products[each] for each in deal.product_ids if each in store.products]
    return DEALS.common(deal) | {
        "name": values.get("name"),
        "value": f"{values.get('value', 0):.2f}",  # text, not a number [D]
        "currency": values.get("currency"),
        "stage": values.get("stage"),
        "pipeline": values.get("pipeline"),
        "status": values.get("status", 1),
        "scope": None,
        "assigned_to": values.get("assigned_to"),
        "agent": None,
        "restricted_to": None,
        "company_id": company.id if company else None,
        "company_custom_id": company.custom_id if company else None,
        "user_id": user.id if user else None,
        "user_custom_id": user.user_id if user else None,
        "products": [each.id for each in products],
        "products_custom_id": [each.custom_id for each in products if each.custom_id is not None],
        "participants": values.get("participants", []),
        "tags": users.tags(store, deal.tags),
        "activities_status": values.get("activities_status", "planned"),
        "expected_close_date": values.get("expected_close_date"),
        "loss_reason": values.get("loss_reason"),
        "loss_reason_description": "",
        "lost_at": iso(values.get("lost_at")),
        "won_at": iso(values.get("won_at")),
        "created_by": None,
    }


def _resolve(call: Call, given: dict[str, Any]) -> dict[str, Any]:
    """Return the ids of user, company and products; raise a 404 for an unknown one.

    That of an unknown `user_custom_id` is seen [C sylius], the others are alike [I].
    """
    store, links = call.store, dict[str, Any]()
    if "user_id" in given or "user_custom_id" in given:
        by_id, custom_id = given.pop("user_id", None), given.pop("user_custom_id", None)
        is_named = by_id is not None or custom_id is not None
        owner = {"user_id": by_id, "user_custom_id": custom_id}
        links["user_id"] = users.named(call, owner).id if is_named else None
    if "company_id" in given or "company_custom_id" in given:
        by_id, custom_id = given.pop("company_id", None), given.pop("company_custom_id", None)
        links["company_id"] = _id_of(store.companies, by_id, custom_id)
    lists = {name: given.get(name) or list[Any]() for name in _PRODUCTS if name in given}
    lines = [fields.validate(each, _LINE) for each in lists.get("order_products", [])]
    if lists:
        pairs: list[tuple[Any, Any]] = [
            *((each, None) for each in lists.get("products", [])),
            *((None, each) for each in lists.get("products_custom_id", [])),
            *((line.get("product_id"), line.get("product_custom_id")) for line in lines),
        ]
        found = [_id_of(store.products, *pair) for pair in pairs]
        links["product_ids"] = list(dict.fromkeys(each for each in found if each is not None))
        given.pop("products", None)
        given.pop("products_custom_id", None)
    if "order_products" in given:
        given["order_products"] = lines
    return links


def _link(_call: Call, deal: Deal, links: dict[str, Any]) -> None:
    deal.user_id = links.get("user_id", deal.user_id)
    deal.company_id = links.get("company_id", deal.company_id)
    deal.product_ids = links.get("product_ids", deal.product_ids)


def _id_of(records: Collection[Any], by_id: int | None, custom_id: str | None) -> int | None:
    if by_id is None and custom_id is None:
        return None
    found: Resource | None = (
        records.get(by_id) if by_id is not None else records.first(custom_id=custom_id)
    )
    if found is None:
        raise not_found()
    return found.id


DEALS = Kind[Deal](
    name="deal",
    collection=lambda store: store.deals,
    table=FIELDS,
    describe=_describe,
    read_only=_READ_ONLY,
    is_filter=frozenset({"user_id", "user_custom_id", "stage"}).__contains__,
    resolve=_resolve,
    link=_link,
)


def list_all(call: Call) -> Response:
    """List deals by user or stage; the key is the parameter `userkey` [D]."""
    if "userkey" not in call.query:
        return DEALS.list_all(call)
    user = call.store.find(call.query["userkey"])
    owned = [each for each in call.store.deals.values() if user and each.user_id == user.id]
    rows = [_describe(call.store, each) for each in owned]
    selected = filters.select(rows, call.query, DEALS.is_filter)
    return paging.page(call, rows if selected is None else selected)
