"""The servers and frameworks, with what each does otherwise than the rest."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Subject:
    """A row of the matrix."""

    name: str
    command: tuple[str, ...]
    #: Distributions whose versions the table names.
    packages: tuple[str, ...]
    #: For a check: why it is left out, or what its mark needs.
    left_out: dict[str, str] = field(default_factory=dict)
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

SERVERS = (
    Subject("uvicorn, h11", uvicorn(STARLETTE, "--http", "h11"), ("uvicorn", "h11")),
    Subject(
        "uvicorn, httptools and uvloop",
        uvicorn(STARLETTE, "--http", "httptools", "--loop", "uvloop"),
        ("httptools", "uvloop"),
    ),
    Subject("uvicorn `--workers 2`", uvicorn(STARLETTE, "--workers", "2"), ()),
    Subject("uvicorn `--reload`", uvicorn(STARLETTE, "--reload", "--reload-dir", "matrix"), ()),
    Subject("uvicorn `--lifespan off`", uvicorn(STARLETTE, "--lifespan", "off"), ()),
    Subject("hypercorn, asyncio", _HYPERCORN, ("hypercorn",)),
    Subject("hypercorn, trio", (*_HYPERCORN, "--worker-class", "trio"), ("trio",)),
    Subject("hypercorn `--workers 2`", (*_HYPERCORN, "--workers", "2"), ()),
    Subject(
        "hypercorn, trio, HTTP/2",
        (*_HYPERCORN, "--worker-class", "trio"),
        ("h2",),
        is_http2=True,
    ),
    Subject("granian", _GRANIAN, ("granian",)),
    Subject("granian `--workers 2`", (*_GRANIAN, "--workers", "2"), ()),
    Subject(
        "gunicorn, uvicorn-worker",
        (*_GUNICORN, "uvicorn_worker.UvicornWorker"),
        ("gunicorn", "uvicorn-worker"),
    ),
    Subject("daphne", ("-m", "daphne", "--port", "{port}", STARLETTE), ("daphne",)),
    Subject("mangum", ("-m", "matrix.gateway", STARLETTE, "{port}"), ("mangum",)),
)
FRAMEWORKS = tuple(
    Subject(name, uvicorn(f"matrix.apps.{name.lower()}_app:app"), (package,))
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
