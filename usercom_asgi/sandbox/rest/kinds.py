"""Create, read, update and delete of products, companies and deals, by tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from usercom_asgi.sandbox.objects import Resource
from usercom_asgi.sandbox.rest import custom, fields, filters, paging
from usercom_asgi.sandbox.rest.call import empty, invalid, not_found, ok
from usercom_asgi.sandbox.rest.fields import Field, iso

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.responses import Response

    from usercom_asgi.sandbox.objects import Collection
    from usercom_asgi.sandbox.rest.call import Call
    from usercom_asgi.sandbox.store import Store

T = TypeVar("T", bound=Resource)


def _nothing(_call: Call, _given: dict[str, Any]) -> dict[str, Any]:
    return {}


def _keep(_call: Call, _record: Any, _links: dict[str, Any]) -> None:
    return None


@dataclass(frozen=True)
class Kind(Generic[T]):
    """Kind of record; its methods are handlers.

    `resolve` removes what a body refers to from its values and returns the records,
    before anything is written. `link` joins them with the record afterwards.
    """

    name: str
    collection: Callable[[Store], Collection[T]]
    table: Mapping[str, Field]
    describe: Callable[[Store, T], dict[str, Any]]
    read_only: frozenset[str]
    is_filter: Callable[[str], bool] = field(default=lambda _name: False)
    resolve: Callable[[Call, dict[str, Any]], dict[str, Any]] = _nothing
    link: Callable[[Call, T, dict[str, Any]], None] = _keep

    def find(self, call: Call) -> T:
        """Return the record of a path, or raise a 404."""
        records = self.collection(call.store)
        if "custom_id" in call.params:
            found = records.first(custom_id=call.params["custom_id"])
        else:
            found = records.get(call.number())
        if found is None:
            raise not_found()
        return found

    def list_all(self, call: Call) -> Response:
        """List the records."""
        records = self.collection(call.store).values()
        rows = [self.describe(call.store, each) for each in records]
        selected = filters.select(rows, call.query, self.is_filter)
        return paging.page(call, rows if selected is None else selected)

    def get(self, call: Call) -> Response:
        """Answer the object."""
        return ok(self.describe(call.store, self.find(call)))

    def create(self, call: Call) -> Response:
        """Create a record."""
        return ok(self.describe(call.store, self._create(call)), 201)

    def update(self, call: Call) -> Response:
        """Write the fields that a body has."""
        record = self.find(call)
        self._write(call, record)
        return ok(self.describe(call.store, record))

    def update_or_create(self, call: Call) -> Response:
        """Write the record of a custom id, which may be new [D]."""
        custom_id = custom.standard_names(call.body, self.table).get("custom_id")
        if not custom_id:
            raise invalid({"custom_id": [fields.REQUIRED]})
        record = self.collection(call.store).first(custom_id=str(custom_id))
        if record is None:
            return self.create(call)
        self._write(call, record)
        return ok(self.describe(call.store, record))

    def delete(self, call: Call) -> Response:
        """Delete a record."""
        del self.collection(call.store)[self.find(call).id]
        return empty(204)

    def set_attribute(self, call: Call) -> Response:
        """Write one field or attribute."""
        record = self.find(call)
        call.body = custom.attribute_of(call)
        self._write(call, record)
        return empty()

    def set_multiple_attributes(self, call: Call) -> Response:
        """Write fields and attributes; the answer is empty, as that of users."""
        self._write(call, self.find(call))
        return empty()

    def _create(self, call: Call) -> T:
        given, links = self._check(call, None)
        record = self.collection(call.store).add()
        self._set(call, record, given, links)
        return record

    def _write(self, call: Call, record: T) -> None:
        self._set(call, record, *self._check(call, record))

    def _check(self, call: Call, record: T | None) -> tuple[dict[str, Any], dict[str, Any]]:
        body = custom.standard_names(call.body, self.table)
        given = fields.validate(body, self.table, partial=record is not None)
        if given.get("custom_id"):
            owner = self.collection(call.store).first(custom_id=given["custom_id"])
            if owner is not None and owner is not record:
                sentence = f"{self.name} with this custom_id already exists."
                raise invalid({"custom_id": [sentence]})
        return given, self.resolve(call, given)

    def _set(self, call: Call, record: T, given: dict[str, Any], links: dict[str, Any]) -> None:
        known = self.table.keys() | self.read_only
        own = custom.accept(call, self.name, call.body, known)
        for name, value in custom.put(record.attributes, own).items():
            record.attributes[name] = value
        for name, value in given.items():
            if value is None:
                record.fields.pop(name, None)  # null clears
            else:
                record.fields[name] = value
        record.touch()
        self.link(call, record, links)

    def common(self, record: T) -> dict[str, Any]:
        """Return what the objects of all kinds have, and the custom attributes."""
        known = self.table.keys() | self.read_only
        return custom.flat(record.attributes, known) | {
            "id": record.id,
            "custom_id": record.custom_id,
            "created_at": iso(record.created_at),
            "updated_at": iso(record.updated_at),
        }
