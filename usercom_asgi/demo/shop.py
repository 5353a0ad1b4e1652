"""A small shop on Starlette with User.com on its pages.

`usercom-asgi demo` runs it beside the sandbox, and `examples/starlette_shop.py` alone.
One line of middleware adds the widget to every page, see `create_app`. The rest is
optional: it names the logged-in user, and sends events that a browser does not see.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from usercom_asgi import Event, EventType, UserComConfig, UserComMiddleware, Visitor, get_visitor

from . import pages
from .catalog import PRODUCTS, Product
from .people import PEOPLE, Person

if TYPE_CHECKING:
    from starlette.requests import Request

_STATIC = Path(__file__).parent / "static"


def create_app(config: UserComConfig, session_secret: str | None = None) -> Starlette:
    """Return the shop. Nothing is sent before a server starts it.

    Without a secret for its sessions, a restart logs all users out.
    """
    app = Starlette(
        routes=[
            Route("/", home),
            Route("/products/{sku}", product),
            Route("/buy/{sku}", buy, methods=["POST"]),
            Route("/thanks", thanks),
            Route("/login/{name}", login, methods=["POST"]),
            Route("/logout", logout, methods=["POST"]),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[
            Middleware(SessionMiddleware, secret_key=session_secret or secrets.token_urlsafe(32)),
            # This line tracks visitors, adds the widget to pages and delivers events.
            Middleware(UserComMiddleware, config=config),
        ],
        exception_handlers={404: not_found},
    )
    app.state.dashboard = config.origin
    return app


async def home(request: Request) -> Response:
    """Show all products."""
    return _page(request, "Tern: stoneware for every day", pages.home())


async def product(request: Request) -> Response:
    """Show one product, and send which one; the widget reports only the view."""
    found = _product(request)
    response = _page(request, found.name, pages.product(found))
    # Awaited helpers return at once, even if User.com is slow or down.
    await get_visitor(request).product_event(
        found.sku,
        EventType.DETAIL,
        name=found.name,
        price=found.price,
        product_url=str(request.url),
    )
    return response


async def buy(request: Request) -> Response:
    """Buy a product. The response is a redirect, so the widget does not see it."""
    found = _product(request)
    visitor = get_visitor(request)
    _introduce(visitor, _person(request))
    # One hit carries the user and the event, so the event is recorded for the user that
    # User.com finds.
    await visitor.page_hit(
        event=Event("purchase", {"sku": found.sku, "revenue": found.price, "currency": "EUR"})
    )
    # Attributes such as the price change the product's profile. `custom_data` belongs
    # to this purchase.
    await visitor.product_event(
        found.sku,
        "purchase",
        name=found.name,
        price=found.price,
        custom_data={"quantity": 1, "glaze": found.glaze},
    )
    request.session["bought"] = found.sku
    return RedirectResponse("/thanks", 303)


async def thanks(request: Request) -> Response:
    """Show the last purchase."""
    bought = PRODUCTS.get(request.session.get("bought", ""))
    if bought is None:
        return RedirectResponse("/", 303)
    return _page(request, "Thank you", pages.thanks(bought, _person(request)))


async def login(request: Request) -> Response:
    """Log in as one of two people, without a password."""
    name = request.path_params["name"]
    if name not in PEOPLE:
        raise HTTPException(404)
    visitor, person = get_visitor(request), PEOPLE[name]
    if request.session.get("person") not in (None, name):
        # Another person was logged in at this browser. End that visitor, because this
        # person must not see their chat.
        await visitor.reset_auth(**_about(person))
    request.session.clear()
    request.session["person"] = name
    _introduce(visitor, person)
    await visitor.page_hit(event=Event("login"))
    return RedirectResponse("/", 303)


async def logout(request: Request) -> Response:
    """Log out. Without the reset, the next person would see the last one's chat."""
    request.session.clear()
    await get_visitor(request).reset_auth()
    return RedirectResponse("/", 303)


async def not_found(request: Request, _error: Exception) -> Response:
    """Show a page with the widget, as for other addresses."""
    return _page(request, "Nothing here", pages.not_found(), status=404)


def _page(request: Request, title: str, content: str, *, status: int = 200) -> Response:
    person = _person(request)
    _introduce(get_visitor(request), person)
    return HTMLResponse(pages.document(title, content, person, request.app.state.dashboard), status)


def _introduce(visitor: Visitor, person: Person | None) -> None:
    """Name the logged-in user for the page and for the commands of this request."""
    if person is not None:
        visitor.identify(**_about(person))


def _about(person: Person) -> dict[str, Any]:
    return {
        "user_id": person.id,
        "email": person.email,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "customer_since": person.customer_since,  # an attribute of the shop's own
    }


def _person(request: Request) -> Person | None:
    return PEOPLE.get(request.session.get("person", ""))


def _product(request: Request) -> Product:
    found = PRODUCTS.get(request.path_params["sku"])
    if found is None:
        raise HTTPException(404)
    return found
