"""`GET /users/search/`: by one identifier, by a time, or by custom attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usercom_asgi.sandbox import vendor
from usercom_asgi.sandbox.rest import custom, fields, filters, paging, users
from usercom_asgi.sandbox.rest.call import invalid, not_found, ok

if TYPE_CHECKING:
    from starlette.responses import Response

    from usercom_asgi.sandbox.rest.call import Call
    from usercom_asgi.sandbox.store import User

_TIMES = ("first_seen", "last_seen", "last_contacted", "updated_at")
_NOTHING = "Name email, key, phone_number, search or a custom attribute."


def search(call: Call) -> Response:
    """Answer by the first parameter that the query has."""
    query, store = call.query, call.store
    if "email" in query:
        return _by_email(call, query["email"])
    if "key" in query:
        return _one(call, store.find(query["key"]))
    if "phone_number" in query:
        rows = users.rows(store)
        return paging.page(
            call, [row for row in rows if row["phone_number"] == query["phone_number"]]
        )
    if "search" in query:
        return _by_time(call)
    found = filters.select(users.rows(store), query, lambda name: _is_custom(call, name))
    if found is None:
        raise invalid({"detail": [_NOTHING]})
    return paging.page(call, found)


def search_by_custom_id(call: Call) -> Response:
    """Answer the user of `?user_id=`, which is a custom id here [C]."""
    return _one(call, call.store.by_user_id(call.query.get("user_id", "")))


def _by_email(call: Call, email: str) -> Response:
    """Answer one object, or with `many=true` a bare array [C]."""
    found = call.store.by_email(email) if email else []
    if call.query.get("many", "").lower() == "true":
        return ok([users.describe(call.store, user) for user in found])
    return _one(call, found[0] if found else None)


def _by_time(call: Call) -> Response:
    """Answer the users whose time is from `min` to `max`, in unix seconds [D]."""
    name = call.query["search"]
    if name not in _TIMES:
        raise invalid({"search": [f'"{name}" is not a valid choice.']})
    limits: dict[str, float] = {}
    for limit in ("min", "max"):
        if limit in call.query:
            try:
                limits[limit] = fields.number(call.query[limit])
            except fields.FieldError as error:
                raise invalid({limit: [str(error)]}) from None
    low, high = limits.get("min", float("-inf")), limits.get("max", float("inf"))
    ids = {
        user.id
        for user in call.store.active_users()
        if (at := _time(user, name)) is not None and low <= at <= high
    }
    return paging.page(call, [row for row in users.rows(call.store) if row["id"] in ids])


def _time(user: User, name: str) -> float | None:
    times = {
        "first_seen": user.created_at,
        "last_seen": user.last_seen,
        "updated_at": user.updated_at,
    }
    return times.get(name)


def _is_custom(call: Call, name: str) -> bool:
    return name not in vendor.STANDARD_USER_FIELDS and name in call.store.definitions(custom.USER)


def _one(call: Call, user: User | None) -> Response:
    if user is None:
        raise not_found()
    return ok(users.describe(call.store, user))
