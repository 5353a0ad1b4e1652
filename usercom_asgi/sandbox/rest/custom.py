"""Custom attributes, which are flat beside the standard fields [C rec].

Deals, companies and products create those that do not exist. Users do so if the
workspace has `rest_creates_attributes`; otherwise they ignore them silently [D, C].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usercom_asgi.sandbox.objects import standard_name
from usercom_asgi.sandbox.rest import fields
from usercom_asgi.sandbox.rest.call import invalid
from usercom_asgi.sandbox.rest.fields import Field
from usercom_asgi.sandbox.store import Ignored

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from usercom_asgi.sandbox.objects import Attribute
    from usercom_asgi.sandbox.rest.call import Call
    from usercom_asgi.sandbox.rest.fields import Check

USER = "clientuser"
CONTENT_TYPES = ("activity", USER, "company", "deal", "product", "ticket")

VALUE_TYPES: dict[str, Check] = {
    "boolean": fields.boolean,
    "date": fields.day,
    "datetime": fields.moment,
    "fixed": fields.anything,
    "float": fields.number,
    "integer": fields.integer,
    "json": fields.anything,
    "string": fields.text(),
}
ATTRIBUTE = {"attribute": Field(fields.text(blank=False), required=True)}
_VALUE = {"value": Field(fields.anything)}


def attribute_of(call: Call) -> dict[str, Any]:
    """Return the `attribute` and its `value` in a body, as a body that writes it."""
    given = fields.validate(call.body, ATTRIBUTE | _VALUE)
    if "value" not in given:
        raise invalid({"value": [fields.REQUIRED]})
    return {given["attribute"]: given["value"]}


def standard_names(body: Mapping[str, Any], table: Collection[str]) -> dict[str, Any]:
    """Return a body with its standard fields under their names.

    The vendor's Magento module writes display names, such as `First name` [C].
    """
    named = {standard_name(name): value for name, value in body.items() if name not in table}
    return {n: v for n, v in named.items() if n in table} | {
        name: value for name, value in body.items() if name in table
    }


def accept(
    call: Call, content_type: str, body: Mapping[str, Any], known: Collection[str]
) -> dict[str, Any]:
    """Return the custom attributes of a body by the names of their definitions.

    `known` are the standard names, which are left out.
    """
    store = call.store
    given = {name: v for name, v in body.items() if standard_name(name) not in known}
    if content_type != USER or call.workspace.rest_creates_attributes:
        store.define(content_type, given)
    definitions = store.definitions(content_type)
    taken: dict[str, Any] = {}
    missing: list[str] = []
    for name, value in given.items():
        definition = definitions.get(standard_name(name))
        if definition is None:
            missing.append(name)
            continue
        try:
            taken[definition.name] = _convert(definition, value)
        except fields.FieldError as error:
            reason = f"no {definition.value_type}: {error}"
            store.ignored.append(Ignored(path=call.path, names=[name], reason=reason))
    if missing:
        store.ignored.append(Ignored(path=call.path, names=missing, reason="no such attribute"))
    return taken


def put(target: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values under the names that a profile has already, such as `Plan`."""
    names = {standard_name(name): name for name in target}
    return {names.get(standard_name(name), name): value for name, value in values.items()}


def remove(target: dict[str, Any], name: str) -> None:
    """Remove an attribute by its name or its `name_std`."""
    for each in [each for each in target if standard_name(each) == standard_name(name)]:
        del target[each]


def flat(attributes: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return custom attributes for an answer: by `name_std`, without standard ones."""
    named = {standard_name(name): value for name, value in attributes.items()}
    return {name: value for name, value in named.items() if name not in known}


def _convert(definition: Attribute, value: Any) -> Any:
    """Return a value as the type of its attribute, if a call set that."""
    if value is None or not definition.checks_values:
        return value
    if definition.value_type == "fixed":
        check = fields.choice(*definition.choices)
        return (fields.many(check) if definition.allow_multiple_choices else check)(value)
    converted = VALUE_TYPES[definition.value_type](value)
    return value if definition.value_type == "datetime" else converted
