"""Users: the object of version 2, and its reads and writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usercom_asgi.sandbox import membership, vendor
from usercom_asgi.sandbox.rest import custom, fields, filters, paging
from usercom_asgi.sandbox.rest.call import empty, invalid, not_found, ok
from usercom_asgi.sandbox.rest.fields import Field, iso
from usercom_asgi.sandbox.store import RecordedUpdate

if TYPE_CHECKING:
    from starlette.responses import Response

    from usercom_asgi.sandbox.objects import Company
    from usercom_asgi.sandbox.rest.call import Call
    from usercom_asgi.sandbox.store import Store, User

FIELDS: dict[str, Field] = {
    "assigned_to": Field(fields.integer),
    "browser_language": Field(fields.text()),
    "city": Field(fields.text(64)),
    "company_custom_id": Field(fields.text()),
    "company_id": Field(fields.integer),
    "country": Field(fields.text()),
    "created_at": Field(fields.moment),
    "custom_id": Field(fields.text(blank=False)),
    "email": Field(fields.email),
    "facebook_url": Field(fields.text()),
    "first_name": Field(fields.text(40)),
    "first_seen": Field(fields.moment),
    "gender": Field(fields.choice(*vendor.GENDERS)),
    "google_url": Field(fields.text()),
    "gravatar_url": Field(fields.text()),
    "last_ip": Field(fields.text()),
    "last_name": Field(fields.text(40)),
    "last_seen": Field(fields.moment),
    "linkedin_url": Field(fields.text()),
    "notifications": Field(fields.boolean),
    "phone_number": Field(fields.text(64)),
    "region": Field(fields.text()),
    "score": Field(fields.integer),
    "status": Field(fields.choice(*vendor.STATUSES)),
    "tags": Field(fields.many(fields.text(blank=False))),
    "timezone": Field(fields.text()),
    "twitter_url": Field(fields.text()),
    "unsubscribed": Field(fields.boolean),
    "user_id": Field(fields.text(blank=False)),
}
"""Fields of a user in writes [D]; names, city and phone number have limits [D]."""

OWNER = {
    "user_id": Field(fields.integer),
    "user_custom_id": Field(fields.text()),
    "user_key": Field(fields.text(64)),
}
"""Fields that name the user of a record; see `named`."""
TAG = {"name": Field(fields.text(blank=False), required=True)}
_KEY = {"user_key": OWNER["user_key"]}
_NOT_ATTRIBUTES = ("company", "created_at", "custom_id", "first_seen", "last_seen", "tags")
_AS_STORED = (
    "phone_number",
    "browser_language",
    "country",
    "city",
    "region",
    "timezone",
    "gravatar_url",
    "google_url",
    "facebook_url",
    "linkedin_url",
    "twitter_url",
    "last_ip",
    "assigned_to",
)
_BOOLEANS = {"notifications": True, "unsubscribed": False, "web_push_subscription": False}


def describe(store: Store, user: User) -> dict[str, Any]:
    """Return the object of version 2 [C rec]."""
    values = user.attributes
    return custom.flat(values, vendor.STANDARD_USER_FIELDS) | {
        "id": user.id,
        "user_key": user.key,
        "custom_id": user.user_id,
        "email": user.email,
        "name": user.name,
        "gender": _chosen(values.get("gender"), vendor.GENDERS),
        "status": _chosen(values.get("status"), vendor.STATUSES),
        "score": values.get("score") or 0,
        "page_views": user.page_views,
        "first_seen": iso(user.created_at),
        "last_seen": iso(user.last_seen),
        "last_contacted": None,
        "created_at": iso(user.created_at),
        "updated_at": iso(user.updated_at),
        "companies": [
            {"id": each.id, "name": each.fields.get("name"), "member_since": iso(since)}
            for each in store.companies.values()
            if (since := each.members.get(user.id)) is not None
        ],
        "lists": [
            {"id": each, "name": store.lists[each].name}
            for each in user.lists
            if each in store.lists
        ],
        "tags": tags(store, user.tags),
        **{name: values.get(name) for name in _AS_STORED},
        **{n: default if values.get(n) is None else values[n] for n, default in _BOOLEANS.items()},
    }


def tags(store: Store, ids: list[int]) -> list[dict[str, Any]]:
    """Return tags as their rows."""
    return [{"id": each, "name": store.tags[each].name} for each in ids if each in store.tags]


def rows(store: Store) -> list[dict[str, Any]]:
    """Return all users as the rows of a list, whose empty `tags` are null [C rec]."""
    users = sorted(store.active_users(), key=lambda user: user.id)
    described = [describe(store, user) for user in users]
    return [row | {"tags": row["tags"] or None} for row in described]


def find(call: Call) -> User:
    """Return the user of a path, or raise a 404."""
    if "custom_id" in call.params:
        found = call.store.by_user_id(call.params["custom_id"])
    else:
        found = call.store.by_id(call.number())
    if found is None:
        raise not_found()
    return found


def named(call: Call, values: dict[str, Any]) -> User:
    """Return the user that a body names by id, custom id or key, or raise a 404."""
    names = ["user_id", "user_custom_id", "user_key"][: 3 if vendor.EVENTS_TAKE_USER_KEY else 2]
    name = next((name for name in names if values.get(name) is not None), None)
    if name is None:
        raise invalid({"user_id": [fields.REQUIRED]})
    store, value = call.store, values[name]
    if name == "user_id":
        found = store.by_id(value)
    else:
        found = store.by_user_id(value) if name == "user_custom_id" else store.find(value)
    if found is None:
        raise not_found()
    return found


def list_all(call: Call) -> Response:
    """List users by their standard fields."""
    found = rows(call.store)
    if "with_email" in call.query:
        wanted = call.query["with_email"].lower() not in ("", "0", "false")
        found = [row for row in found if bool(row["email"]) is wanted]
    selected = filters.select(found, call.query, vendor.STANDARD_USER_FIELDS.__contains__)
    return paging.page(call, found if selected is None else selected)


def get(call: Call) -> Response:
    """Answer the object."""
    return ok(describe(call.store, find(call)))


def create(call: Call) -> Response:
    """Create a user, who takes over the key of a cookie if the body names one [C]."""
    given = values(call, None)
    key = fields.validate(call.body, _KEY)["user_key"] if "user_key" in call.body else None
    if key and key in call.store.users:
        raise invalid({"user_key": ["user with this user_key already exists."]})
    user = call.store.create(key)
    write(call, user, given)
    return ok(describe(call.store, user), 201)


def update_or_create(call: Call) -> Response:
    """Write the user of a custom id, who may be new [D]."""
    body = custom.standard_names(call.body, FIELDS)
    custom_id = body.get("custom_id") or body.get("user_id")
    if not custom_id:
        raise invalid({"custom_id": [fields.REQUIRED]})
    user = call.store.by_user_id(str(custom_id))
    given = values(call, user)
    is_new = user is None
    user = user or call.store.create()
    write(call, user, given)
    return ok({"created": is_new, "id": user.id}, 201 if is_new else 200)


def update(call: Call) -> Response:
    """Write the fields that a body has, for `PUT` is partial [C rec]."""
    user = find(call)
    write(call, user, values(call, user))
    return ok(describe(call.store, user))


def delete(call: Call) -> Response:
    """Delete a user and all its records [C rec]."""
    call.store.delete(find(call))
    return empty(204)


def write(call: Call, user: User, given: dict[str, Any]) -> None:
    """Set checked fields, and the custom attributes of the body."""
    store = call.store
    own = custom.accept(call, custom.USER, call.body, vendor.STANDARD_USER_FIELDS)
    for name in ("created_at", "first_seen"):
        if given.get(name) is not None:
            user.created_at = given[name]
    if given.get("last_seen") is not None:
        user.last_seen = given["last_seen"]
    standard = {name: v for name, v in given.items() if name not in _NOT_ATTRIBUTES}
    if "custom_id" in given:
        standard["user_id"] = given["custom_id"]
    attributes = standard | custom.put(user.attributes, own)
    store.set_attributes(user, attributes)
    for name in [name for name, value in attributes.items() if value is None]:
        user.attributes.pop(name, None)  # null clears
    add_tags(store, user.tags, given)
    if "company" in given:
        membership.add(user, given["company"])
    store.updates.append(RecordedUpdate(key=user.key, data=dict(call.body)))


def add_tag(store: Store, ids: list[int], name: str) -> bool:
    """Add a tag by its name; return whether the tag is new."""
    tag = store.tags.first(name=name)
    is_new = tag is None
    tag = tag or store.tags.add(name=name)
    if tag.id not in ids:
        ids.append(tag.id)
    return is_new


def add_tags(store: Store, ids: list[int], given: dict[str, Any]) -> None:
    """Add the tags of a write, which removes none [D]."""
    names: list[str] = given.get("tags") or list[str]()
    for name in names:
        add_tag(store, ids, name)


def remove_tag(store: Store, ids: list[int], name: str) -> None:
    """Remove a tag by its name."""
    tag = store.tags.first(name=name)
    if tag is not None and tag.id in ids:
        ids.remove(tag.id)


def values(call: Call, user: User | None) -> dict[str, Any]:
    """Return the checked standard fields of a body, with its company."""
    given = fields.validate(custom.standard_names(call.body, FIELDS), FIELDS)
    if "user_id" in given:  # the name of version 1, which Magento's module sends as well
        given.setdefault("custom_id", given.pop("user_id"))
    if given.get("custom_id"):
        owner = call.store.by_user_id(given["custom_id"])
        if owner is not None and owner is not user:
            raise invalid({"custom_id": ["user with this custom_id already exists."]})
    company = _company(call, given)
    return given | ({"company": company} if company else {})


def _company(call: Call, values: dict[str, Any]) -> Company | None:
    companies = call.store.companies
    by_id, custom_id = values.pop("company_id", None), values.pop("company_custom_id", None)
    if by_id is not None and by_id not in companies:
        raise invalid({"company_id": [f'Invalid pk "{by_id}" - object does not exist.']})
    if by_id is not None:
        return companies[by_id]
    if not custom_id:
        return None
    company = companies.first(custom_id=custom_id)
    if company is None:
        sentence = f"Object with custom_id={custom_id} does not exist."
        raise invalid({"company_custom_id": [sentence]})
    return company


def _chosen(value: Any, names: dict[int, str]) -> str:
    """Return the text of a number; a page hit may hold either."""
    by_number = {str(number): name for number, name in names.items()}
    return by_number.get(str(value), value if value in names.values() else names[1])
