"""Routes of the dashboard and of `widget.js`."""

from __future__ import annotations

import dataclasses
import itertools
import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any, get_args

import anyio
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from usercom_asgi.sandbox import agent, responses, views
from usercom_asgi.sandbox.as_test import as_test
from usercom_asgi.sandbox.faults import Kind
from usercom_asgi.sandbox.identification import SWITCHES
from usercom_asgi.sandbox.parsing import RefusedError, read_object

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping

    from starlette.requests import Request

    from usercom_asgi.sandbox.journal import Entry
    from usercom_asgi.sandbox.workspace import Workspace

    Endpoint = Callable[[Request], Awaitable[Response]]
    Action = Callable[[Workspace, dict[str, Any]], None]
    View = Callable[[Workspace, Mapping[str, str]], dict[str, Any]]

SCRIPTS = ("dom", "format", "timeline", "visitor", "lists", "trouble", "dashboard")
_KEEP_ALIVE = 15.0
_EXPORTED_AT_ONCE = 1_000
_FAULTS = get_args(Kind)  # each is a method of Faults as well
# The dashboard shows untrusted input, so only its own files may run or load there.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_OWN_ONLY = {"Cross-Origin-Resource-Policy": "same-origin", "X-Content-Type-Options": "nosniff"}


def routes(workspace: Workspace) -> list[Route]:
    """Return all routes that are not part of User.com's API."""
    return [
        Route("/", _file("dashboard.html", "text/html", {"Content-Security-Policy": _POLICY})),
        Route("/sandbox/dashboard.css", _file("dashboard.css", "text/css")),
        *(Route(f"/sandbox/{name}.js", _file(f"{name}.js", "text/javascript")) for name in SCRIPTS),
        Route("/widget.js", _widget_sender()),
        *_reads(workspace),
        Route("/sandbox/clear", _action(workspace, _clear), methods=["POST"]),
        Route("/sandbox/faults", _action(workspace, _set_fault), methods=["POST"]),
        Route("/sandbox/settings", _action(workspace, _set_switches), methods=["POST"]),
        Route("/sandbox/act", _action(workspace, agent.act), methods=["POST"]),
    ]


def _reads(workspace: Workspace) -> list[Route]:
    def answer(view: View) -> Endpoint:
        async def read(request: Request) -> Response:
            return responses.json_response(view(workspace, request.query_params), headers=_OWN_ONLY)

        return read

    async def visitor(request: Request) -> Response:
        found = views.visitor(workspace, request.path_params["id"])
        return responses.json_response(
            found or {"detail": "no such visitor"}, 200 if found else 404, _OWN_ONLY
        )

    async def test(request: Request) -> Response:
        found = views.entry(workspace, request.path_params["seq"])
        answer = {"test": as_test(found)} if found else {"detail": "no such entry"}
        return responses.json_response(answer, 200 if found else 404, _OWN_ONLY)

    async def export(_request: Request) -> Response:
        headers = {"Content-Disposition": 'attachment; filename="sandbox.json"', **_OWN_ONLY}
        return StreamingResponse(_export(workspace), media_type="application/json", headers=headers)

    async def stream(_request: Request) -> Response:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        content = changes(workspace)
        return StreamingResponse(content, media_type="text/event-stream", headers=headers)

    return [
        Route("/sandbox/state", answer(lambda workspace, _query: views.state(workspace))),
        Route("/sandbox/visitors", answer(views.visitors)),
        Route("/sandbox/visitors/{id:int}", visitor),
        Route("/sandbox/entries", answer(views.entries)),
        Route("/sandbox/entries/{seq:int}/test", test),
        Route("/sandbox/requests", answer(views.requests)),
        Route("/sandbox/export", export),
        Route("/sandbox/stream", stream),
    ]


async def changes(workspace: Workspace) -> AsyncGenerator[str]:
    """Yield the state after each change, as server-sent events.

    A dashboard reads the lists when it has a new state. A slow one misses states and no
    entry, so there is no queue of what it has not read.
    """
    journal, faults = workspace.store.journal, workspace.faults
    stops, shown, waited = faults.stops, None, 0.0
    yield "retry: 500\n\n"
    while faults.stops == stops:
        switches = [getattr(workspace, name) for name in SWITCHES]
        now = (journal.version, faults.describe(), switches)
        if now != shown:
            shown, waited = now, 0.0
            yield f"event: state\ndata: {responses.encode(views.state(workspace))}\n\n"
        elif waited >= _KEEP_ALIVE:
            waited = 0.0
            yield ": \n\n"
        await anyio.sleep(agent.TICK)
        waited += agent.TICK


def _export(workspace: Workspace) -> Iterator[str]:
    """Yield all visitors and entries as JSON, with whole keys."""
    store = workspace.store
    with store.lock:
        users, entries = list(store.users.values()), list(store.journal.entries)
    yield '{"visitors": ['
    yield from _joined(dataclasses.asdict(user) for user in users)
    yield '],\n"entries": ['
    yield from _joined(_exported(each) for each in entries)
    yield "]}\n"


def _joined(values: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield an array's content by many values: each part is a turn of a thread."""
    separator, rest = "\n", iter(values)
    while part := list(itertools.islice(rest, _EXPORTED_AT_ONCE)):
        yield separator + ",\n".join(responses.encode(value) for value in part)
        separator = ",\n"


def _exported(each: Entry) -> dict[str, Any]:
    """Return an entry with its whole keys."""
    return {
        "seq": each.seq,
        "kind": each.kind,
        "key": each.key,
        "at": each.at,
        "what": each.record.summary(),
        "data": each.record.content(),
        "marks": each.marks,
        "request": dataclasses.asdict(each.exchange) if each.exchange else None,
    }


def _file(name: str, media_type: str, headers: dict[str, str] | None = None) -> Endpoint:
    return _sender(_static(name), media_type, headers)


def _sender(content: str, media_type: str, headers: dict[str, str] | None = None) -> Endpoint:
    async def send(_request: Request) -> Response:
        return Response(
            content, media_type=media_type, headers={"Cache-Control": "no-cache", **(headers or {})}
        )

    return send


def _widget_sender() -> Endpoint:
    script = _widget()

    async def send(request: Request) -> Response:
        host = json.dumps(request.headers.get("host", ""))
        return await _sender(script.replace('"@host"', host), "text/javascript")(request)

    return send


def _widget() -> str:
    """Return the widget with its styles, its chat and its interface.

    One file, like the vendor's, so that a page loads nothing else.
    """
    script = _static("widget.js")
    for part in ("widget-channel.js", "widget-interface.js"):
        script = script.replace(f"  /* @{part} */", _static(part))
    return script.replace('"@widget.css"', json.dumps(_static("widget.css")))


def _static(name: str) -> str:
    return files("usercom_asgi.sandbox").joinpath("static", name).read_text("utf-8")


def _action(workspace: Workspace, action: Action) -> Endpoint:
    async def run(request: Request) -> Response:
        try:
            action(workspace, read_object(await request.body() or b"{}"))
        except (RefusedError, TypeError, ValueError) as error:
            return responses.json_response({"errors": {"detail": str(error)}}, 400)
        return responses.json_response(views.state(workspace))

    return run


def _clear(workspace: Workspace, _body: dict[str, Any]) -> None:
    workspace.store.clear()


def _set_fault(workspace: Workspace, body: dict[str, Any]) -> None:
    """Add a fault, remove one or all, or replace all by one.

    The body is `{"kind": "status" | "latency" | "hang" | "drop" | "down", ...}`; with
    `"add": true` the others stay. `{"kind": "clear"}` and `{"kind": "remove",
    "number": 0}` remove.
    """
    kind, adds = body.pop("kind", None), body.pop("add", False)
    if kind == "remove":
        number = body.get("number")
        if not isinstance(number, int):
            raise RefusedError(400, "number must be the place of a fault")
        workspace.faults.remove(number)
        return
    if kind not in (*_FAULTS, "clear"):
        raise RefusedError(400, f"kind must be {', '.join(_FAULTS)}, remove or clear")
    if not adds:
        workspace.faults.clear()
    if kind != "clear":
        getattr(workspace.faults, kind)(**body)


def _set_switches(workspace: Workspace, body: dict[str, Any]) -> None:
    """Change the named switches, such as `{"authorize_by_email": true}`."""
    for name, value in body.items():
        if name not in SWITCHES or not isinstance(value, bool):
            raise RefusedError(
                400, f"the body must hold only {' and '.join(SWITCHES)}, each true or false"
            )
        setattr(workspace, name, value)
