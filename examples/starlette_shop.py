"""A small shop on Starlette: what an application does to have User.com on its pages and in the know.

``make demo`` runs it beside the sandbox. Alone::

    uvicorn examples.starlette_shop:app

The widget is on every page because of one line of middleware, see :func:`create_app`.
All else here is optional: saying who is logged in, and telling User.com what a browser
does not see.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from examples.settings import config_from_env, session_secret
from examples.shop import pages
from examples.shop.catalog import PRODUCTS, Product
from examples.shop.people import PEOPLE, Person
from usercom_asgi import Event, EventType, UserComConfig, UserComMiddleware, Visitor, get_visitor

if TYPE_CHECKING:
    from starlette.requests import Request

_STATIC = Path(__file__).parent / "shop" / "static"


def create_app(config: UserComConfig) -> Starlette:
    """Return the shop. Nothing runs and nothing is sent before a server starts it."""
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
            Middleware(SessionMiddleware, secret_key=session_secret()),
            # This line tracks visitors, puts the widget on the pages, and delivers what
            # is said below.
            Middleware(UserComMiddleware, config=config),
        ],
        exception_handlers={404: not_found},
    )
    app.state.dashboard = config.origin
    return app


async def home(request: Request) -> Response:
    """The shelf."""
    return _page(request, "Tern: stoneware for every day", pages.home())


async def product(request: Request) -> Response:
    """One product. The widget reports the page view; which product was looked at is for us to say."""
    found = _product(request)
    response = _page(request, found.name, pages.product(found))
    # Helpers are awaited and do not wait: User.com may be slow or down, this page is
    # not.
    await get_visitor(request).product_event(
        found.sku,
        EventType.DETAIL,
        name=found.name,
        price=found.price,
        product_url=str(request.url),
    )
    return response


async def buy(request: Request) -> Response:
    """The purchase. Its answer is a redirect, so no widget will ever see it: only the server can tell."""
    found = _product(request)
    visitor = get_visitor(request)
    _introduce(visitor, _person(request))
    # One hit says who it is and what they did: the event goes to whoever User.com then
    # takes them for.
    await visitor.page_hit(
        event=Event("purchase", {"sku": found.sku, "revenue": found.price, "currency": "EUR"})
    )
    # Attributes such as the price describe the product from now on; `custom_data` stays
    # with this one purchase.
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
    """After the purchase."""
    bought = PRODUCTS.get(request.session.get("bought", ""))
    if bought is None:
        return RedirectResponse("/", 303)
    return _page(request, "Thank you", pages.thanks(bought, _person(request)))


async def login(request: Request) -> Response:
    """Log in as one of two people; a real shop asks for a password first."""
    name = request.path_params["name"]
    if name not in PEOPLE:
        raise HTTPException(404)
    visitor, person = get_visitor(request), PEOPLE[name]
    if request.session.get("person") not in (None, name):
        # Somebody else was logged in at this browser: their chat is none of this
        # person's business.
        await visitor.reset_auth(**_about(person))
    request.session.clear()
    request.session["person"] = name
    _introduce(visitor, person)
    await visitor.page_hit(event=Event("login"))
    return RedirectResponse("/", 303)


async def logout(request: Request) -> Response:
    """Log out. Without the reset, the next person at this browser would read the last one's chat."""
    request.session.clear()
    await get_visitor(request).reset_auth()
    return RedirectResponse("/", 303)


async def not_found(request: Request, _error: Exception) -> Response:
    """A page like the others, widget included: lost customers have questions."""
    return _page(request, "Nothing here", pages.not_found(), status=404)


def _page(request: Request, title: str, content: str, *, status: int = 200) -> Response:
    person = _person(request)
    _introduce(get_visitor(request), person)
    return HTMLResponse(pages.document(title, content, person, request.app.state.dashboard), status)


def _introduce(visitor: Visitor, person: Person | None) -> None:
    """Say who is logged in: for the widget on this page, and for what else this request says. Sends nothing by itself."""
    if person is not None:
        visitor.identify(**_about(person))


def _about(person: Person) -> dict[str, Any]:
    return {
        "user_id": person.id,
        "email": person.email,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "customer_since": person.customer_since,  # an attribute of our own: numbers, dates, lists of choices are all fine
    }


def _person(request: Request) -> Person | None:
    return PEOPLE.get(request.session.get("person", ""))


def _product(request: Request) -> Product:
    found = PRODUCTS.get(request.path_params["sku"])
    if found is None:
        raise HTTPException(404)
    return found


def __getattr__(name: str) -> Starlette:
    """Make ``app`` when a server asks for it, and not where somebody imports ``create_app``: it reads the environment."""
    if name == "app":
        globals()[name] = app = create_app(config_from_env())  # so that it is made once
        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
