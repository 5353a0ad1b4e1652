"""Companies and their members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usercom_asgi.sandbox import membership
from usercom_asgi.sandbox.objects import Company
from usercom_asgi.sandbox.rest import fields, users
from usercom_asgi.sandbox.rest.call import empty, ok
from usercom_asgi.sandbox.rest.fields import Field
from usercom_asgi.sandbox.rest.kinds import Kind

if TYPE_CHECKING:
    from starlette.responses import Response

    from usercom_asgi.sandbox.rest.call import Call
    from usercom_asgi.sandbox.store import Store

_TEXTS = (
    "email",
    "address",
    "city",
    "region",
    "country",
    "postal_code",
    "category",
    "description",
)
FIELDS = {
    "custom_id": Field(fields.text(blank=False)),
    "name": Field(fields.text(blank=False), required=True),
    **{name: Field(fields.email if name == "email" else fields.text()) for name in _TEXTS},
    "phone_numbers": Field(fields.many(fields.text(64))),
    "size": Field(fields.integer),
    "assigned_to": Field(fields.integer),
    "tags": Field(fields.many(fields.text(blank=False))),
    "created_at": Field(fields.moment),
    "updated_at": Field(fields.moment),
}
_MEMBER = {name: users.OWNER[name] for name in ("user_id", "user_custom_id")}


def _describe(store: Store, company: Company) -> dict[str, Any]:
    values = company.fields
    return COMPANIES.common(company) | {
        "name": values.get("name"),
        **{name: values.get(name) for name in _TEXTS},
        "phone_numbers": values.get("phone_numbers") or None,
        "size": values.get("size"),
        "assigned_to": values.get("assigned_to"),
        "employees": list(company.members),
        "tags": users.tags(store, company.tags),
    }


def _resolve(_call: Call, given: dict[str, Any]) -> dict[str, Any]:
    names = ("tags", "created_at", "updated_at")
    return {name: given.pop(name) for name in names if name in given}


def _link(call: Call, company: Company, links: dict[str, Any]) -> None:
    users.add_tags(call.store, company.tags, links)
    company.created_at = links.get("created_at") or company.created_at
    company.updated_at = links.get("updated_at") or company.updated_at
    membership.refresh(call.store, company)


COMPANIES = Kind[Company](
    name="company",
    collection=lambda store: store.companies,
    table=FIELDS,
    describe=_describe,
    read_only=frozenset({"id", "employees"}),
    resolve=_resolve,
    link=_link,
)


def delete(call: Call) -> Response:
    """Delete a company; its members lose it."""
    company = COMPANIES.find(call)
    for user in call.store.active_users():
        if user.id in company.members:
            membership.remove(call.store, user, company)
    for deal in call.store.deals.values():
        deal.company_id = None if deal.company_id == company.id else deal.company_id
    return COMPANIES.delete(call)


def add_member(call: Call) -> Response:
    """Add a user, who may be named by both ids [C rudder]."""
    company = COMPANIES.find(call)
    user = users.named(call, fields.validate(call.body, _MEMBER))
    membership.add(user, company)
    return empty()


def remove_member(call: Call) -> Response:
    """Remove a user, who may be no member."""
    company = COMPANIES.find(call)
    user = users.named(call, fields.validate(call.body, _MEMBER))
    membership.remove(call.store, user, company)
    return empty()


def add_tag(call: Call) -> Response:
    """Add a tag."""
    company, name = COMPANIES.find(call), fields.validate(call.body, users.TAG)["name"]
    is_new = users.add_tag(call.store, company.tags, name)
    return ok({"created": is_new, "tag": {"name": name}})


def remove_tag(call: Call) -> Response:
    """Remove a tag."""
    company, name = COMPANIES.find(call), fields.validate(call.body, users.TAG)["name"]
    users.remove_tag(call.store, company.tags, name)
    return empty(204)
