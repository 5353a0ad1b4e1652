"""Django, with websockets by Channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.sessions import SessionMiddlewareStack
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.static import serve

from examples.frameworks import django_app as example
from matrix.apps.shared import FAILED, NOT_FOUND, STATIC, ShopError, chunks
from usercom_asgi import UserComMiddleware, get_visitor

if TYPE_CHECKING:
    from django.http import HttpRequest


async def stream(_request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(chunks())


async def reset(request: HttpRequest) -> HttpResponse:
    await get_visitor(request).reset_auth()
    return HttpResponse("reset", content_type="text/plain")


def fail(_request: HttpRequest) -> NoReturn:
    raise ShopError


def burst(request: HttpRequest) -> JsonResponse:
    get_visitor(request).sync.event("burst", n=int(request.GET["n"]))
    return JsonResponse({})


def not_found(_request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse(NOT_FOUND, status=404)


def failed(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(FAILED, status=500)


class Live(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: Any = None) -> None:
        await get_visitor(self).event("asked", question=text_data)
        await self.send("3 teapots")
        await self.close()


example.urlpatterns += [
    path("stream", stream),
    path("reset", reset),
    path("fail", fail),
    path("burst", burst),
    path("static/<path:path>", serve, {"document_root": STATIC}),
]
example.handler404, example.handler500 = not_found, failed  # type: ignore[attr-defined]
shop = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": SessionMiddlewareStack(URLRouter([path("live", Live.as_asgi())])),
    }
)
app = UserComMiddleware(shop, example.config, identify=example.who)
