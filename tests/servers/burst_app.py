"""The application of the server tests, in its own process: each request records one event."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from usercom_asgi import SqliteOutbox, UserComConfig, UserComMiddleware, get_visitor


async def send_event(request: Request) -> HTMLResponse:
    await get_visitor(request).event("said", n=int(request.query_params["n"]))
    return HTMLResponse("<html><body>said</body></html>")


outbox = SqliteOutbox(os.environ["OUTBOX"], lease=2) if "OUTBOX" in os.environ else None
# Configured from the environment, as in a deployment; but machines that run tests may be slow, and two workers of uvicorn need
# ten seconds for the burst anyway (their sockets wait for acknowledgements): a call that hangs so long is not to be repeated.
config = UserComConfig.from_env(shutdown_timeout=20, inline_deadline=20, timeout=60)
app = Starlette(
    routes=[Route("/", send_event)],
    middleware=[Middleware(UserComMiddleware, config=config, outbox=outbox)],
)
