"""Falcon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import falcon

from examples.frameworks.falcon_app import app, shop
from matrix.apps.shared import FAILED, NOT_FOUND, STATIC, ShopError, chunks
from usercom_asgi import get_visitor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from falcon.asgi import Request, Response

__all__ = ["app"]


class Stream:
    async def on_get(self, _req: Request, resp: Response) -> None:
        async def body() -> AsyncGenerator[bytes, None]:
            async for chunk in chunks():
                yield chunk.encode()

        resp.content_type = falcon.MEDIA_HTML
        resp.stream = body()


class Reset:
    async def on_post(self, req: Request, resp: Response) -> None:
        await get_visitor(req).reset_auth()
        resp.content_type, resp.text = falcon.MEDIA_TEXT, "reset"


class Fail:
    async def on_get(self, _req: Request, _resp: Response) -> NoReturn:
        raise ShopError


class Burst:
    async def on_get(self, req: Request, resp: Response) -> None:
        await get_visitor(req).event("burst", n=req.get_param_as_int("n"))
        resp.media = {}


async def not_found(_req: Request, resp: Response, _error: Any, _params: Any) -> None:
    resp.status, resp.content_type, resp.text = 404, falcon.MEDIA_HTML, NOT_FOUND


async def failed(_req: Request, resp: Response, _error: Any, _params: Any) -> None:
    resp.status, resp.content_type, resp.text = 500, falcon.MEDIA_HTML, FAILED


shop.add_route("/stream", Stream())
shop.add_route("/reset", Reset())
shop.add_route("/fail", Fail())
shop.add_route("/burst", Burst())
shop.add_static_route("/static", STATIC)
shop.add_error_handler(falcon.HTTPNotFound, not_found)
shop.add_error_handler(ShopError, failed)
