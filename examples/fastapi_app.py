"""A box office on FastAPI: a hook for logins, and the visitor as a dependency.

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

# FastAPI passes `request.state.usercom` with its type.
CurrentVisitor = Annotated[Visitor, Depends(get_visitor)]

_SHOW = {"product_id": "lantern-42", "name": "Night of the Lanterns", "price": 18.0}
_MEMBER = {"user_id": "2001", "email": "carol@example.com", "first_name": "Carol"}


def create_app(config: UserComConfig) -> FastAPI:
    """Return the box office. Nothing is sent before a server starts it."""
    # The pages of the documentation are HTML, so they would get the widget.
    app = FastAPI(title="Lantern Hall", docs_url=None, redoc_url=None)
    if not config.secret_keys:  # they sign the cookie that holds the last identity
        config = replace(config, secret_keys=(session_secret(),))
    app.add_middleware(UserComMiddleware, config=config, identify=who)
    # Add it last, so that it is outside and the hook can read the session.
    app.add_middleware(SessionMiddleware, secret_key=session_secret())
    app.state.seats = 42
    app.get("/", response_class=HTMLResponse)(home)
    app.get("/api/seats")(seats)
    app.post("/tickets", status_code=303)(buy)
    app.post("/login", status_code=303)(login)
    app.post("/logout", status_code=303)(logout)
    return app


def who(connection: HTTPConnection) -> dict[str, str] | None:
    """Return the logged-in user, or None. The middleware detects login and logout."""
    return _MEMBER if connection.session.get("member") else None


async def home(request: Request) -> str:
    """Return HTML, to which the middleware adds the widget and the user of the hook."""
    return _page(
        is_member="member" in request.session, has_bought=request.session.pop("has_bought", False)
    )


async def seats(request: Request, visitor: CurrentVisitor) -> dict[str, int]:
    """Return JSON, which has no widget, so the server sends the event."""
    await visitor.event("seats_checked", show=_SHOW["name"])
    return {"seats": request.app.state.seats}


async def buy(
    request: Request, visitor: CurrentVisitor, background: BackgroundTasks
) -> RedirectResponse:
    """Respond at once. A background task charges the card, then sends the purchase."""
    background.add_task(_charge, request.app, visitor)
    request.session["has_bought"] = True
    return RedirectResponse("/", 303, background=background)


async def _charge(app: FastAPI, visitor: Visitor) -> None:
    await asyncio.sleep(0.2)  # the bank
    app.state.seats -= 1
    # A visitor can be used in the background tasks of its request.
    await visitor.page_hit(
        event=Event("ticket_bought", {"show": _SHOW["name"], "revenue": _SHOW["price"]})
    )
    await visitor.product_event(
        str(_SHOW["product_id"]), "purchase", name=str(_SHOW["name"]), price=_SHOW["price"]
    )


async def login(request: Request, visitor: CurrentVisitor) -> RedirectResponse:
    """Log in as the only member."""
    request.session["member"] = True  # before the visitor is used, which calls the hook
    # A hit carries the user, so the event is recorded for the user that User.com finds.
    await visitor.page_hit(event=Event("login"))
    return RedirectResponse("/", 303)


async def logout(request: Request) -> RedirectResponse:
    """Log out. The middleware detects it by the hook and resets the visitor."""
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
    """Create ``app`` when a server requests it, because it reads the environment."""
    if name == "app":
        globals()[name] = app = create_app(config_from_env())  # create it once
        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
