"""A small box office on FastAPI: logins noticed by a hook, the visitor as a dependency, a purchase in the background.

Start the sandbox (``python -m usercom_asgi.sandbox``), then::

    uvicorn examples.fastapi_app:app
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.middleware.sessions import SessionMiddleware

from examples.settings import config_from_env, session_secret
from usercom_asgi import Event, UserComConfig, UserComMiddleware, Visitor, get_visitor

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

# FastAPI looks at get_visitor and hands in `request.state.usercom`, typed.
CurrentVisitor = Annotated[Visitor, Depends(get_visitor)]

_SHOW = {"product_id": "lantern-42", "name": "Night of the Lanterns", "price": 18.0}
_MEMBER = {"user_id": "2001", "email": "carol@example.com", "first_name": "Carol"}


def create_app(config: UserComConfig) -> FastAPI:
    """Return the box office. Nothing runs and nothing is sent before a server starts it."""
    app = FastAPI(
        title="Lantern Hall", docs_url=None, redoc_url=None
    )  # which are HTML, and would carry the widget
    if not config.secret_keys:  # what the cookie is signed with that remembers who was logged in
        config = replace(config, secret_keys=(session_secret(),))
    app.add_middleware(UserComMiddleware, config=config, identify=who)
    # Added last, so it is outside: the hook sees the session.
    app.add_middleware(SessionMiddleware, secret_key=session_secret())
    app.state.seats = 42
    app.get("/", response_class=HTMLResponse)(home)
    app.get("/api/seats")(seats)
    app.post("/tickets", status_code=303)(buy)
    app.post("/login", status_code=303)(login)
    app.post("/logout", status_code=303)(logout)
    return app


def who(connection: HTTPConnection) -> dict[str, str] | None:
    """Say who is logged in. Pages and what is said below carry it, and a login or a logout is noticed by itself."""
    return _MEMBER if connection.session.get("member") else None


async def home(request: Request) -> str:
    """Return plain HTML: the widget is put into it on the way out, with what the hook says of the visitor."""
    return _page(
        is_member="member" in request.session, has_bought=request.session.pop("has_bought", False)
    )


async def seats(request: Request, visitor: CurrentVisitor) -> dict[str, int]:
    """Return JSON, which carries no widget: that somebody asked is for the server to say."""
    await visitor.event("seats_checked", show=_SHOW["name"])
    return {"seats": request.app.state.seats}


async def buy(
    request: Request, visitor: CurrentVisitor, background: BackgroundTasks
) -> RedirectResponse:
    """Answer at once; the card is charged afterwards, and only then User.com hears of a purchase."""
    background.add_task(_charge, request.app, visitor)
    request.session["has_bought"] = True
    return RedirectResponse("/", 303, background=background)


async def _charge(app: FastAPI, visitor: Visitor) -> None:
    await asyncio.sleep(0.2)  # the bank
    app.state.seats -= 1
    # A visitor stays good after the response, as long as the request's own background
    # tasks run.
    await visitor.page_hit(
        event=Event("ticket_bought", {"show": _SHOW["name"], "revenue": _SHOW["price"]})
    )
    await visitor.product_event(
        str(_SHOW["product_id"]), "purchase", name=str(_SHOW["name"]), price=_SHOW["price"]
    )


async def login(request: Request, visitor: CurrentVisitor) -> RedirectResponse:
    """Log in as the one member there is."""
    request.session["member"] = True  # before the visitor is used, which asks the hook
    # In a hit: the event goes to whoever User.com takes the visitor for, now that it
    # knows the name.
    await visitor.page_hit(event=Event("login"))
    return RedirectResponse("/", 303)


async def logout(request: Request) -> RedirectResponse:
    """Log out. Nobody calls ``reset_auth()``: that the member is gone is noticed, and the next person is somebody else."""
    request.session.clear()
    return RedirectResponse("/", 303)


_STYLE = """
:root { color-scheme: dark; }
body { max-width: 36rem; margin: 0 auto; padding: 12vh 24px 96px; background: #12151f; color: #eceae4;
  font: 17px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0 0 .3em; font: 400 clamp(38px, 9vw, 60px)/1.05 Georgia, serif; letter-spacing: -.02em; }
p { margin: 0 0 1.4em; color: #a9a69d; }
form { display: inline; }
button { padding: 10px 22px; border: 1px solid #3b4052; border-radius: 99px; background: none; color: inherit;
  font: inherit; cursor: pointer; }
button.main { border-color: #f0b45a; background: #f0b45a; color: #2b1c04; font-weight: 600; }
small { display: block; margin-top: 3em; color: #a9a69d; }
small button { padding: 2px 12px; }
"""


def _page(*, is_member: bool, has_bought: bool) -> str:
    login_or_out = ("/logout", "Log out") if is_member else ("/login", "Log in as Carol")
    account = f"{'Carol' if is_member else 'Nobody'} is logged in. {_button(*login_or_out)}"
    note = (
        "Your ticket is being printed. See you there!"
        if has_bought
        else "Tonight at eight, in the courtyard. Bring a coat."
    )
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Lantern Hall</title><link rel="icon" href="data:,"><style>{_STYLE}</style></head>
<body>
<h1>{escape(str(_SHOW["name"]))}</h1>
<p>{note} <span id="seats" role="status"></span></p>
{_button("/tickets", f"Buy a ticket, €&thinsp;{_SHOW['price']:.2f}", "main")}
<button id="ask">Seats left?</button>
<small>{account}</small>
<script>
document.getElementById("ask").onclick = async () => {{
  const {{ seats }} = await (await fetch("/api/seats")).json();
  document.getElementById("seats").textContent = `${{seats}} seats left.`;
}};
</script>
</body>
</html>
"""


def _button(action: str, label: str, kind: str = "") -> str:
    return f'<form method="post" action="{action}"><button class="{kind}">{label}</button></form>'


def __getattr__(name: str) -> FastAPI:
    """Make ``app`` when a server asks for it, and not where somebody imports ``create_app``: it reads the environment."""
    if name == "app":
        globals()[name] = app = create_app(config_from_env())  # so that it is made once
        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
