"""A shop on Django: a middleware hands the request to the hook.

The settings are in this file, and the users in no database, to keep it in one place.
"""

from __future__ import annotations

import os
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings

SECRET = os.environ.get("SESSION_SECRET", "for development only: 32 letters")
PAGE = "<html><body><form method=post action=/buy><button>Buy</button></form></body></html>"

settings.configure(
    ALLOWED_HOSTS=["*"],
    AUTHENTICATION_BACKENDS=[f"{__name__}.Members"],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        f"{__name__}.share_request",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY=SECRET,
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)
django.setup()

# What needs the settings is imported below them.
from asgiref.sync import sync_to_async  # noqa: E402
from django.contrib.auth import alogin, logout  # noqa: E402
from django.contrib.auth.backends import BaseBackend  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.auth.signals import user_logged_in  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.dispatch import receiver  # noqa: E402
from django.http import HttpResponse, JsonResponse  # noqa: E402
from django.shortcuts import redirect  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils.decorators import sync_and_async_middleware  # noqa: E402
from django.views.decorators.http import require_POST  # noqa: E402

from usercom_asgi import (  # noqa: E402
    UNKNOWN,
    Event,
    UserComConfig,
    UserComMiddleware,
    get_visitor,
)

if TYPE_CHECKING:
    from django.http import HttpRequest
    from starlette.requests import HTTPConnection


@sync_and_async_middleware
def share_request(get_response: Any) -> Any:
    """Put the request where the hook finds it. Django's authentication comes before."""
    if iscoroutinefunction(get_response):

        async def share_async(request: HttpRequest) -> Any:
            request.scope["state"]["django"] = request
            return await get_response(request)

        return share_async

    def share(request: HttpRequest) -> Any:
        request.scope["state"]["django"] = request
        return get_response(request)

    return share


async def who(connection: HTTPConnection) -> Any:
    """Return the logged-in user. The middleware detects login and logout."""
    request = connection.scope["state"].get("django")
    # Before Django's own middlewares have run, nothing is known.
    return UNKNOWN if request is None else await user_of(request)


@sync_to_async
def user_of(request: HttpRequest) -> dict[str, str] | None:
    user = request.user  # not `auser()`, which in Django 5.2 does not notice `alogin()`
    return {"user_id": str(user.pk)} if user.is_authenticated else None


async def home(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(PAGE)  # the middleware adds the widget


@require_POST
async def buy(request: HttpRequest) -> HttpResponse:
    visitor = get_visitor(request)
    await visitor.product_event("teapot", "purchase", price=19.90)
    visitor.browser.open()  # the chat opens on the page that the redirect leads to
    return redirect("/")


@require_POST
async def log_in(request: HttpRequest, user: int) -> HttpResponse:
    await alogin(request, Members().get_user(user))
    return redirect("/")


@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("/")


def stock(request: HttpRequest) -> HttpResponse:
    """Return JSON. A plain view runs in a thread and uses ``visitor.sync``."""
    get_visitor(request).sync.event("stock_checked")
    return JsonResponse({"teapots": 3})


@receiver(user_logged_in)
async def send_login(request: HttpRequest, **_: Any) -> None:
    """Send the login. Django has written the session already."""
    await get_visitor(request).page_hit(event=Event("login"))


class Members(BaseBackend):
    """Users without a database, where a project has its authentication backend."""

    def get_user(self, user_id: int | str) -> User:
        return User(pk=int(user_id), username=f"user {user_id}")


user_logged_in.disconnect(dispatch_uid="update_last_login")  # it would write to a database

urlpatterns = [
    path("", home),
    path("buy", buy),
    path("login/<int:user>", log_in),
    path("logout", log_out),
    path("stock", stock),
]
config = UserComConfig.from_env(secret_keys=(SECRET,))
app = UserComMiddleware(get_asgi_application(), config, identify=who)
