"""The servers and frameworks, with what each does otherwise than the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Subject:
    """A row of the matrix."""

    name: str
    command: tuple[str, ...]
    #: Distributions whose versions the table names.
    packages: tuple[str, ...]
    #: Checks that are left out, those that may fail, and those that pass with a remark:
    #: for each the reason.
    left_out: dict[str, str] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    is_http2: bool = False
    asks_json: bool = False


def uvicorn(app: str, *options: str) -> tuple[str, ...]:
    """Return the command of a uvicorn process."""
    return ("-m", "uvicorn", app, "--port", "{port}", *options)


STARLETTE = "matrix.apps.starlette_app:app"
_HYPERCORN = ("-m", "hypercorn", STARLETTE, "--bind", "127.0.0.1:{port}")
_GRANIAN = ("-m", "granian", "--interface", "asgi", "--port", "{port}", STARLETTE)
_GUNICORN = ("-m", "gunicorn", STARLETTE, "--bind", "127.0.0.1:{port}", "--worker-class")

_INLINE = (
    "The server runs no lifespan, so each request delivers after its own response: see "
    "[delivery](delivery.md#without-a-lifespan)."
)
_MASTER = (
    "When one worker has ended, hypercorn kills the others while they still deliver. With a "
    "[`SqliteOutbox`](guides/outbox.md), all commands arrive after the next start. Or run one "
    "process with one worker for each core, on one port by `SO_REUSEPORT` or behind a proxy."
)
_CUT_OFF = (
    "daphne runs no lifespan, so each request delivers after its own response. At SIGTERM daphne "
    "does not wait for that, so commands in flight are lost. Use a server with a lifespan."
)
_GATEWAY = "API Gateway takes only whole responses."
_OWN_SOCKETS = "API Gateway has websockets with a protocol of its own."
_RETURNS = "Each invocation delivers before it returns."

SERVERS = (
    Subject("uvicorn, h11", uvicorn(STARLETTE, "--http", "h11"), ("uvicorn", "h11")),
    Subject(
        "uvicorn, httptools, uvloop",
        uvicorn(STARLETTE, "--http", "httptools", "--loop", "uvloop"),
        ("httptools", "uvloop"),
    ),
    Subject("uvicorn `--workers 2`", uvicorn(STARLETTE, "--workers", "2"), ()),
    Subject("uvicorn `--reload`", uvicorn(STARLETTE, "--reload", "--reload-dir", "matrix"), ()),
    Subject(
        "uvicorn `--lifespan off`",
        uvicorn(STARLETTE, "--lifespan", "off"),
        (),
        remarks={"SIGTERM": _INLINE},
    ),
    Subject("hypercorn, asyncio", _HYPERCORN, ("hypercorn",)),
    Subject("hypercorn, trio", (*_HYPERCORN, "--worker-class", "trio"), ("trio",)),
    Subject(
        "hypercorn `--workers 2`", (*_HYPERCORN, "--workers", "2"), (), known={"SIGTERM": _MASTER}
    ),
    Subject(
        "hypercorn, trio, HTTP/2",
        (*_HYPERCORN, "--worker-class", "trio"),
        ("h2",),
        is_http2=True,
    ),
    Subject("granian", _GRANIAN, ("granian",)),
    Subject("granian `--workers 2`", (*_GRANIAN, "--workers", "2"), ()),
    Subject(
        "gunicorn",
        (*_GUNICORN, "uvicorn_worker.UvicornWorker"),
        ("gunicorn", "uvicorn-worker"),
    ),
    Subject(
        "daphne",
        ("-m", "daphne", "--port", "{port}", STARLETTE),
        ("daphne",),
        known={"SIGTERM": _CUT_OFF},
    ),
    Subject(
        "mangum",
        ("-m", "matrix.gateway", STARLETTE, "{port}"),
        ("mangum",),
        left_out={"stream": _GATEWAY, "websocket": _OWN_SOCKETS},
        remarks={"SIGTERM": _RETURNS},
    ),
)
_INSIDE = (
    "`add_middleware` puts the middleware inside of the code that makes the page of an unhandled "
    "error. With `UserComMiddleware(app, ...)` around the application, that page has the widget."
)
_CHANNELS = "By Channels, with `get_visitor(self)` in the consumer."
_NOTES: dict[str, dict[str, Any]] = {
    "FastAPI": {"left_out": {"500": _INSIDE}},
    "FastHTML": {"left_out": {"500": _INSIDE}, "asks_json": True},
    "NiceGUI": {
        "left_out": {"500": _INSIDE},
        "remarks": {
            "websocket": "A route of FastAPI, because NiceGUI's own websocket is for its elements."
        },
    },
    "Django": {"remarks": {"websocket": _CHANNELS}},
}
FRAMEWORKS = tuple(
    Subject(
        name, uvicorn(f"matrix.apps.{name.lower()}_app:app"), (package,), **_NOTES.get(name, {})
    )
    for name, package in {
        "Starlette": "starlette",
        "FastAPI": "fastapi",
        "Litestar": "litestar",
        "Quart": "quart",
        "Django": "django",
        "BlackSheep": "blacksheep",
        "Sanic": "sanic",
        "FastHTML": "python-fasthtml",
        "Falcon": "falcon",
        "NiceGUI": "nicegui",
    }.items()
)
