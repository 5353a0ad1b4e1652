"""Routes of the dashboard and of `widget.js`."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.routing import Route

from usercom_asgi.sandbox import responses
from usercom_asgi.sandbox.parsing import RefusedError, read_object

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from usercom_asgi.sandbox.store import User
    from usercom_asgi.sandbox.workspace import Workspace

    Endpoint = Callable[[Request], Awaitable[Response]]
    Action = Callable[[Workspace, dict[str, Any]], None]

_MAX_RECORDS = 100  # of each kind, in one response
_SWITCHES = ("unified_identification", "authorize_by_email")
# The dashboard shows untrusted input, so only its own files may run or load there.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def routes(workspace: Workspace) -> list[Route]:
    """Return all routes that are not part of User.com's API."""

    async def state(_request: Request) -> Response:
        return responses.json_response(describe(workspace))

    return [
        Route("/", _file("dashboard.html", "text/html", {"Content-Security-Policy": _POLICY})),
        Route("/sandbox/dashboard.css", _file("dashboard.css", "text/css")),
        Route("/sandbox/dashboard.js", _file("dashboard.js", "text/javascript")),
        Route("/widget.js", _sender(_widget(), "text/javascript")),
        Route("/sandbox/state", state),
        Route("/sandbox/clear", _action(workspace, _clear), methods=["POST"]),
        Route("/sandbox/faults", _action(workspace, _set_fault), methods=["POST"]),
        Route("/sandbox/settings", _action(workspace, _set_switches), methods=["POST"]),
    ]


def describe(workspace: Workspace) -> dict[str, Any]:
    """Return every user and the newest records of each kind."""
    store = workspace.store
    with store.lock:
        records: dict[str, list[Any]] = {
            "hits": list(store.hits),
            "events": list(store.events),
            "product_events": list(store.product_events),
            "updates": list(store.updates),
            "rejected": list(store.rejected),
            "faulted": list(store.faulted),
        }
        hits = Counter(hit.key for hit in store.hits)
        events = Counter(event.key for event in store.events)
        events.update(event.key for event in store.product_events)
        users = [
            _describe_user(user, hits[user.key], events[user.key]) for user in store.users.values()
        ]
    return {
        "now": time.time(),
        "api_key": workspace.api_key,
        "settings": {name: getattr(workspace, name) for name in _SWITCHES},
        "faults": workspace.faults.describe(),
        "users": users,
        "totals": {kind: len(found) for kind, found in records.items()},
        **{
            kind: [dataclasses.asdict(record) for record in found[-_MAX_RECORDS:]]
            for kind, found in records.items()
        },
    }


def _describe_user(user: User, hits: int, events: int) -> dict[str, Any]:
    return dataclasses.asdict(user) | {
        "name": user.name,
        "user_id": user.user_id,
        "email": user.email,
        "hits": hits,
        "events": events,
    }


def _file(name: str, media_type: str, headers: dict[str, str] | None = None) -> Endpoint:
    return _sender(_static(name), media_type, headers)


def _sender(content: str, media_type: str, headers: dict[str, str] | None = None) -> Endpoint:
    async def send(_request: Request) -> Response:
        return Response(
            content, media_type=media_type, headers={"Cache-Control": "no-cache", **(headers or {})}
        )

    return send


def _widget() -> str:
    """Return the widget with its styles.

    One file, like the vendor's, so that a page's policy on styles does not apply.
    """
    return _static("widget.js").replace('"@widget.css"', json.dumps(_static("widget.css")))


def _static(name: str) -> str:
    return files("usercom_asgi.sandbox").joinpath("static", name).read_text("utf-8")


def _action(workspace: Workspace, action: Action) -> Endpoint:
    async def run(request: Request) -> Response:
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            # Otherwise any open site could run actions.
            return responses.json_response(
                {"detail": "Only the dashboard's page may call this."}, 403
            )
        try:
            action(workspace, read_object(await request.body() or b"{}"))
        except (RefusedError, TypeError, ValueError) as error:
            return responses.json_response({"errors": {"detail": str(error)}}, 400)
        return responses.json_response(describe(workspace))

    return run


def _clear(workspace: Workspace, _body: dict[str, Any]) -> None:
    workspace.store.clear()


def _set_fault(workspace: Workspace, body: dict[str, Any]) -> None:
    """Replace the faults in force.

    The body is `{"kind": "status" | "latency" | "hang" | "drop" | "clear", ...}`.
    """
    kind = body.pop("kind", None)
    if kind not in ("status", "latency", "hang", "drop", "clear"):
        raise RefusedError(400, "kind must be status, latency, hang, drop or clear")
    workspace.faults.clear()
    if kind != "clear":
        getattr(workspace.faults, kind)(**body)


def _set_switches(workspace: Workspace, body: dict[str, Any]) -> None:
    """Change the named switches, such as `{"authorize_by_email": true}`."""
    for name, value in body.items():
        if name not in _SWITCHES or not isinstance(value, bool):
            raise RefusedError(
                400, f"the body must hold only {' and '.join(_SWITCHES)}, each true or false"
            )
        setattr(workspace, name, value)
