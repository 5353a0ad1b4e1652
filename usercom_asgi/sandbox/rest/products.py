"""Products and their events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usercom_asgi.sandbox.objects import Product
from usercom_asgi.sandbox.rest import custom, fields, users
from usercom_asgi.sandbox.rest.call import ok
from usercom_asgi.sandbox.rest.fields import Field
from usercom_asgi.sandbox.rest.kinds import Kind
from usercom_asgi.sandbox.store import RecordedProductEvent
from usercom_asgi.sandbox.vendor import PRODUCT_EVENT_TYPES

if TYPE_CHECKING:
    from starlette.responses import Response

    from usercom_asgi.sandbox.rest.call import Call
    from usercom_asgi.sandbox.store import Store

FIELDS = {
    "custom_id": Field(fields.text(blank=False)),
    "name": Field(fields.text(blank=False), required=True),
    "price": Field(fields.number),
    "product_url": Field(fields.text(2_000)),
    "image_url": Field(fields.text(2_000)),
    "category_name": Field(fields.text()),
}
_EVENT = users.OWNER | {
    "event_type": Field(fields.choice(*sorted(PRODUCT_EVENT_TYPES)), required=True),
    "timestamp": Field(fields.moment),
    "data": Field(fields.mapping),
}


def _describe(_store: Store, product: Product) -> dict[str, Any]:
    return PRODUCTS.common(product) | {
        name: product.fields.get(name) for name in FIELDS if name != "custom_id"
    }


PRODUCTS = Kind[Product](
    name="product",
    collection=lambda store: store.products,
    table=FIELDS,
    describe=_describe,
    read_only=frozenset({"id", "created_at", "updated_at"}),
)


def create_event(call: Call) -> Response:
    """Record an event of a product; a 404 is of the product or of the user [C].

    Its `data` is stored on the product as well [D].
    """
    product = PRODUCTS.find(call)
    given = fields.validate(call.body, _EVENT)
    user = users.named(call, given)
    data: dict[str, Any] = given.get("data") or dict[str, Any]()
    own = {name: value for name, value in data.items() if name != "custom_data"}
    product.attributes |= custom.put(
        product.attributes, custom.accept(call, "product", own, FIELDS)
    )
    product.touch()
    call.store.product_events.append(
        RecordedProductEvent(
            key=user.key,
            product_id=product.custom_id or str(product.id),
            event_type=given["event_type"],
            data=data,
            at=fields.now_if_none(given.get("timestamp")),
        )
    )
    return ok({"id": len(call.store.product_events)}, 201)
