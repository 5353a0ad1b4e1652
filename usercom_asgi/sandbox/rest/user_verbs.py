"""Calls on one user by name, merging, and writes of many users."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from usercom_asgi.sandbox.rest import custom, fields, users
from usercom_asgi.sandbox.rest.call import empty, invalid, not_found, ok
from usercom_asgi.sandbox.rest.fields import Field
from usercom_asgi.sandbox.vendor import REST_PREFIX

if TYPE_CHECKING:
    from starlette.responses import Response

    from usercom_asgi.sandbox.rest.call import Call
    from usercom_asgi.sandbox.store import User

_TAGS = {"tag_names": Field(fields.many(fields.text(blank=False)), required=True)}
_LIST = {"list": Field(fields.integer, required=True)}
_IDS = {"ids": Field(fields.many(fields.text()), required=True)}


def set_attribute(call: Call) -> Response:
    """Write one field or attribute."""
    user = users.find(call)
    call.body = custom.attribute_of(call)
    users.write(call, user, users.values(call, user))
    return empty()


def set_multiple_attributes(call: Call) -> Response:
    """Write fields and attributes; the answer is empty [C rec]."""
    user = users.find(call)
    users.write(call, user, users.values(call, user))
    return empty()


def remove_attribute(call: Call) -> Response:
    """Remove an attribute; 204 for a DELETE, else an empty 200 [I]."""
    user, name = users.find(call), fields.validate(call.body, custom.ATTRIBUTE)["attribute"]
    custom.remove(user.attributes, "user_id" if name == "custom_id" else name)
    user.updated_at = time.time()
    return _removed(call)


def add_tag(call: Call) -> Response:
    """Add a tag; `created` is whether the tag is new [C net]."""
    user, name = users.find(call), fields.validate(call.body, users.TAG)["name"]
    return ok({"created": users.add_tag(call.store, user.tags, name), "tag": {"name": name}})


def add_many_tags(call: Call) -> Response:
    """Add tags; the answer is not known, an empty one is sent [I]."""
    user = users.find(call)
    for name in fields.validate(call.body, _TAGS)["tag_names"]:
        users.add_tag(call.store, user.tags, name)
    return empty()


def remove_tag(call: Call) -> Response:
    """Remove a tag from the user, who may lack it."""
    user, name = users.find(call), fields.validate(call.body, users.TAG)["name"]
    users.remove_tag(call.store, user.tags, name)
    return _removed(call)


def add_to_list(call: Call) -> Response:
    """Add the user to a list; answer its id [C net]."""
    user, list_id = users.find(call), _list_id(call)
    if list_id not in user.lists:
        user.lists.append(list_id)
    return ok({"id": list_id})


def remove_from_list(call: Call) -> Response:
    """Remove the user from a list, which may lack the user."""
    user, list_id = users.find(call), _list_id(call)
    if list_id in user.lists:
        user.lists.remove(list_id)
    return _removed(call)


def merge(call: Call) -> Response:
    """Merge users into a parent, whose values win, then those of the lowest id [D]."""
    ids = fields.many(fields.integer)
    # The vendor's example has user_list, clients send users_list [D, C].
    name = "user_list" if "user_list" in call.body else "users_list"
    given = fields.validate(
        call.body,
        {"parent": Field(fields.integer, required=True), name: Field(ids, required=True)},
    )
    if given["parent"] in given[name]:
        raise invalid({name: ["The parent may not be in this list."]})
    parent = call.store.by_id(given["parent"])
    losers = [call.store.by_id(each) for each in sorted(set(given[name]))]
    if parent is None or None in losers:
        raise not_found()
    for loser in filter(None, losers):
        call.store.merge(loser, parent)
    return ok({"success": True})


def mass_update(call: Call) -> Response:
    """Write one field or attribute of many users; unknown ids are skipped [I]."""
    given = fields.validate(call.body, _IDS)
    call.body = custom.attribute_of(call)
    by_custom_id = call.path.startswith(f"{REST_PREFIX}/users-by-id/")
    found = [_one(call, each, by_custom_id=by_custom_id) for each in given["ids"]]
    for user in filter(None, found):
        users.write(call, user, users.values(call, user))
    return ok({"status": "ok"})


def _one(call: Call, text: str, *, by_custom_id: bool) -> User | None:
    if by_custom_id:
        return call.store.by_user_id(text)
    try:
        return call.store.by_id(fields.integer(text))
    except fields.FieldError as error:
        raise invalid({"ids": [str(error)]}) from None


def _list_id(call: Call) -> int:
    list_id: int = fields.validate(call.body, _LIST)["list"]
    if list_id not in call.store.lists:
        raise not_found()
    return list_id


def _removed(call: Call) -> Response:
    return empty(204 if call.method == "DELETE" else 200)
