"""Answer of one call: token, version, method, body, handler, in this order.

The order of the first three is that of Django REST Framework [I].
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.responses import Response

from usercom_asgi.sandbox import responses
from usercom_asgi.sandbox.parsing import RefusedError, read_object
from usercom_asgi.sandbox.rest.call import Call, RestError, empty, invalid
from usercom_asgi.sandbox.rest.fields import check_values
from usercom_asgi.sandbox.store import Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from usercom_asgi.sandbox.rest.call import Handler
    from usercom_asgi.sandbox.workspace import Workspace

_VERSION = re.compile(r";\s*version\s*=\s*\"?2\"?\s*(?:[;,]|$)")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_PAGE = "<!doctype html><title>Not found</title><h1>Not found</h1>"


def answer(
    workspace: Workspace, request: Request, raw: bytes, handlers: Mapping[str, Handler] | None
) -> Response:
    """Answer a call by the handlers of its route; None if there is no such route."""
    try:
        return _answer(workspace, request, raw, handlers)
    except RestError as error:
        is_read = handlers is not None and request.method in ("GET", "HEAD")
        if not (is_read and error.status == 404):  # a read that finds nothing is no refusal
            workspace.store.rejected.append(
                Rejected(
                    path=request.scope["path"],
                    status=error.status,
                    reason=error.reason,
                    body=responses.quote_body(raw),
                )
            )
        return error.response()


def _answer(
    workspace: Workspace, request: Request, raw: bytes, handlers: Mapping[str, Handler] | None
) -> Response:
    if handlers is None:
        raise RestError(404, _PAGE)
    _authenticate(workspace, request)
    if not _VERSION.search(request.headers.get("accept", "")):
        raise RestError(
            406, {"detail": 'The sandbox has version 2 only: send "Accept: */*; version=2".'}
        )
    allowed = [method for method in _METHODS if method in handlers or method == "OPTIONS"]
    if "GET" in handlers:
        allowed.insert(allowed.index("OPTIONS"), "HEAD")
    allow = {"Allow": ", ".join(allowed)}
    if request.method == "OPTIONS":
        return Response(headers=allow)
    handler = handlers.get("GET" if request.method == "HEAD" else request.method)
    if handler is None:
        raise RestError(405, {"detail": f'Method "{request.method}" not allowed.'}, allow)
    call = Call(
        workspace=workspace,
        method=request.method,
        path=request.scope["path"],
        origin=f"{request.scope['scheme']}://{_host(request)}",
        user_agent=request.headers.get("user-agent", ""),
        params=request.path_params,
        query=request.query_params,
    )
    if request.method not in ("GET", "HEAD"):
        call.body.update(_body(request, raw))
    with workspace.store.lock:
        response = handler(call)
    return empty(response.status_code) if request.method == "HEAD" else response


def _authenticate(workspace: Workspace, request: Request) -> None:
    scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "token" and token.strip() == workspace.rest_token:
        return
    sentence = "Invalid token." if token else "Authentication credentials were not provided."
    raise RestError(401, {"detail": sentence}, {"WWW-Authenticate": "Token"})


def _body(request: Request, raw: bytes) -> dict[str, object]:
    if not raw:
        return {}
    media_type = request.headers.get("content-type", "")
    if media_type.partition(";")[0].strip().lower() != "application/json":
        raise RestError(415, {"detail": f'Unsupported media type "{media_type}" in request.'})
    try:
        body = read_object(raw)
    except RefusedError as refused:
        raise invalid({"detail": [f"JSON parse error - {refused.reason}"]}) from None
    check_values(body)
    return body


def _host(request: Request) -> str:
    """Return the host that the client named, for absolute links."""
    host, port = request.scope.get("server") or ("localhost", None)
    return request.headers.get("host") or (f"{host}:{port}" if port else host)
