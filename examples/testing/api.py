"""A FastAPI application, whose tests are beside it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI

from usercom_asgi import UserComConfig, UserComMiddleware, Visitor, get_visitor

app = FastAPI()
app.add_middleware(UserComMiddleware, config=UserComConfig(app="acme", api_key="ABC123"))

CurrentVisitor = Annotated[Visitor, Depends(get_visitor)]


@app.post("/cart/{sku}")
async def add_to_cart(sku: str, visitor: CurrentVisitor) -> None:
    await visitor.product_event(sku, "add to cart", price=19.90)


@app.post("/renew")
def renew(visitor: CurrentVisitor) -> dict[str, bool]:  # in a thread
    visitor.sync.event("renewed", plan="gold")
    return {"is_known": visitor.is_identified}
