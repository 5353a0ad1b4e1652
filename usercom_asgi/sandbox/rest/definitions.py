"""Definitions of a workspace: attributes, tags, lists and segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usercom_asgi.sandbox.objects import standard_name
from usercom_asgi.sandbox.rest import custom, fields, paging, users
from usercom_asgi.sandbox.rest.call import Call, empty, invalid, not_found, ok
from usercom_asgi.sandbox.rest.companies import COMPANIES
from usercom_asgi.sandbox.rest.events import segment_row
from usercom_asgi.sandbox.rest.fields import Field, iso
from usercom_asgi.sandbox.vendor import STANDARD_USER_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response

    from usercom_asgi.sandbox.objects import (
        Attribute,
        Collection,
        Company,
        ContactList,
        RestObject,
        Tag,
    )
    from usercom_asgi.sandbox.store import User

_ATTRIBUTE = {
    "name": Field(fields.text(32, blank=False), required=True),
    "content_type": Field(fields.choice(*custom.CONTENT_TYPES), required=True),
    "value_type": Field(fields.choice(*sorted(custom.VALUE_TYPES)), required=True),
    "choices": Field(fields.many(fields.text(blank=False))),
    "allow_multiple_choices": Field(fields.boolean),
}
_LIST = users.TAG | {"description": Field(fields.text(2_000))}


def list_attributes(call: Call) -> Response:
    """List the definitions."""
    return paging.page(call, [_attribute(each) for each in call.store.attributes.values()])


def create_attribute(call: Call) -> Response:
    """Create a definition; the type `fixed` needs its choices [D]."""
    given = fields.validate(call.body, _ATTRIBUTE)
    if given["value_type"] == "fixed":
        needed = ("choices", "allow_multiple_choices")
        errors = {n: [fields.REQUIRED] for n in needed if given.get(n) in (None, [])}
        if errors:
            raise invalid(errors)
    taken = call.store.attributes.first(
        content_type=given["content_type"], name_std=standard_name(given["name"])
    )
    is_standard = standard_name(given["name"]) in STANDARD_USER_FIELDS
    if taken is not None or (given["content_type"] == custom.USER and is_standard):
        raise invalid({"name": ["attribute with this name already exists."]})
    definition = call.store.attributes.add(
        name=given["name"],
        content_type=given["content_type"],
        value_type=given["value_type"],
        choices=given.get("choices") or [],
        allow_multiple_choices=bool(given.get("allow_multiple_choices")),
        checks_values=True,
    )
    return ok(_attribute(definition), 201)


def get_attribute(call: Call) -> Response:
    """Answer a definition."""
    return ok(_attribute(_find(call, call.store.attributes)))


def delete_attribute(call: Call) -> Response:
    """Delete a definition, and its values of users [I]."""
    definition = _find(call, call.store.attributes)
    del call.store.attributes[definition.id]
    if definition.content_type == custom.USER:
        for user in call.store.active_users():
            custom.remove(user.attributes, definition.name)
    return empty(204)


def users_with_attribute(call: Call) -> Response:
    """List the users who have a value of an attribute [C net]."""
    return _users(call, lambda user: _has(user.attributes, call.params["name_std"]))


def companies_with_attribute(call: Call) -> Response:
    """List the companies that have a value of an attribute [C net]."""
    return _companies(call, lambda each: _has(each.attributes, call.params["name_std"]))


def list_tags(call: Call) -> Response:
    """List the tags."""
    return paging.page(call, [_tag(each) for each in call.store.tags.values()])


def create_tag(call: Call) -> Response:
    """Create a tag."""
    name = fields.validate(call.body, users.TAG)["name"]
    if call.store.tags.first(name=name) is not None:
        raise invalid({"name": ["tag with this name already exists."]})
    return ok(_tag(call.store.tags.add(name=name)), 201)


def update_tag(call: Call) -> Response:
    """Rename a tag."""
    tag = _find(call, call.store.tags)
    name = fields.validate(call.body, users.TAG)["name"]
    if call.store.tags.first(name=name) not in (None, tag):
        raise invalid({"name": ["tag with this name already exists."]})
    tag.name = name
    return ok(_tag(tag))


def delete_tag(call: Call) -> Response:
    """Delete a tag; the users lose it."""
    del call.store.tags[_find(call, call.store.tags).id]
    return empty(204)


def users_of_tag(call: Call) -> Response:
    """List the users of a tag [D]."""
    tag = _find(call, call.store.tags)
    return _users(call, lambda user: tag.id in user.tags)


def companies_of_tag(call: Call) -> Response:
    """List the companies of a tag [C net]."""
    tag = _find(call, call.store.tags)
    return _companies(call, lambda company: tag.id in company.tags)


def list_lists(call: Call) -> Response:
    """List the lists."""
    return paging.page(call, [_list(each) for each in call.store.lists.values()])


def create_list(call: Call) -> Response:
    """Create a list."""
    given = fields.validate(call.body, _LIST)
    values = {"name": given["name"], "description": given.get("description") or ""}
    return ok(_list(call.store.lists.add(**values)), 201)


def update_list(call: Call) -> Response:
    """Write the name or the description of a list."""
    found = _find(call, call.store.lists)
    given = fields.validate(call.body, _LIST, partial=True)
    found.name = given.get("name", found.name)
    found.description = given.get("description", found.description) or ""
    return ok(_list(found))


def delete_list(call: Call) -> Response:
    """Delete a list; the users lose it."""
    del call.store.lists[_find(call, call.store.lists).id]
    return empty(204)


def list_segments(call: Call) -> Response:
    """List the segments [D]."""
    rows = [
        segment_row(call, each)
        | {
            "object_count": len(each.user_ids),
            "too_heavy": False,
            "update_interval": 60,
            "last_counted": None,
            "updated_at": iso(None),
        }
        for each in call.store.segments.values()
    ]
    return paging.page(call, rows)


def users_of_segment(call: Call) -> Response:
    """List the users of a segment [D]."""
    segment = _find(call, call.store.segments)
    return _users(call, lambda user: user.id in segment.user_ids)


def _find(call: Call, records: Collection[Any]) -> Any:
    found: RestObject | None = records.get(call.number())
    if found is None:
        raise not_found()
    return found


def _has(attributes: dict[str, Any], name: str) -> bool:
    return any(standard_name(each) == name for each in attributes)


def _users(call: Call, is_wanted: Callable[[User], bool]) -> Response:
    ids = {user.id for user in call.store.active_users() if is_wanted(user)}
    return paging.page(call, [row for row in users.rows(call.store) if row["id"] in ids])


def _companies(call: Call, is_wanted: Callable[[Company], bool]) -> Response:
    found = [each for each in call.store.companies.values() if is_wanted(each)]
    return paging.page(call, [COMPANIES.describe(call.store, each) for each in found])


def _attribute(definition: Attribute) -> dict[str, Any]:
    """Return the row of a definition, whose user kind reads `user` [C net]."""
    kind = definition.content_type
    return {
        "id": definition.id,
        "name": definition.name,
        "name_std": definition.name_std,
        "value_type": definition.value_type,
        "content_type": "user" if kind == custom.USER else kind,
    }


def _tag(tag: Tag) -> dict[str, Any]:
    return {"id": tag.id, "name": tag.name}


def _list(found: ContactList) -> dict[str, Any]:
    return {"id": found.id, "name": found.name, "description": found.description}
