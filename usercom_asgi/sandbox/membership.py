"""Membership of users in companies.

A page hit carries the company of its user as an object, `user.company`. REST has
companies with members. Both describe the same companies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usercom_asgi.sandbox.objects import Company
    from usercom_asgi.sandbox.store import Store, User


def join(store: Store, user: User) -> None:
    """Make a user a member of the company of its page hit; create the company."""
    custom_id, name = user.company.get("company_id"), user.company.get("name")
    company = next((c for c in store.companies.values() if _is_same(user.company, c)), None)
    if company is None:
        if not (_is_id(custom_id) or (name and isinstance(name, str))):
            return  # nothing to find the company by
        company = store.companies.add()
        if _is_id(custom_id):
            company.fields["custom_id"] = str(custom_id)
    if isinstance(name, str):
        company.fields["name"] = name
    own = {each: v for each, v in user.company.items() if each not in ("company_id", "name")}
    store.define("company", own)
    company.attributes.update(own)
    company.members.setdefault(user.id, company.touch())


def add(user: User, company: Company) -> None:
    """Make a user a member and set its `company`."""
    company.members.setdefault(user.id, company.touch())
    user.company = _shown(company)


def remove(store: Store, user: User, company: Company) -> None:
    """End a membership."""
    company.touch()
    company.members.pop(user.id, None)
    if _is_same(user.company, company):
        others = [other for other in store.companies.values() if user.id in other.members]
        user.company = _shown(others[-1]) if others else {}


def refresh(store: Store, company: Company) -> None:
    """Repeat the values of a company in its members."""
    others = [other for other in store.companies.values() if other is not company]
    for user in store.active_users():
        if user.id in company.members and not any(_is_same(user.company, o) for o in others):
            user.company = _shown(company)


def _shown(company: Company) -> dict[str, Any]:
    values = {"company_id": company.custom_id, "name": company.fields.get("name")}
    return {n: v for n, v in (values | company.attributes).items() if v is not None}


def _is_same(values: Mapping[str, Any], company: Company) -> bool:
    """Return whether the company of a page hit is this one: by id, else by name."""
    if _is_id(values.get("company_id")):
        return company.custom_id == str(values["company_id"])
    name = values.get("name")
    return company.custom_id is None and bool(name) and company.fields.get("name") == name


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""
