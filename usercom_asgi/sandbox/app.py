"""``Sandbox``: the ASGI application of a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from usercom_asgi.sandbox import dashboard, responses, rest, sockets, vendor
from usercom_asgi.sandbox.cors import CorsMiddleware
from usercom_asgi.sandbox.endpoints import HANDLERS, READS
from usercom_asgi.sandbox.parsing import RefusedError, read_object
from usercom_asgi.sandbox.persistence import FileMiddleware, StoreFile
from usercom_asgi.sandbox.security import SameOriginMiddleware
from usercom_asgi.sandbox.store import Faulted, Rejected
from usercom_asgi.sandbox.workspace import Workspace

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from starlette.types import Receive, Scope, Send

    from usercom_asgi.sandbox.faults import Fault, Sender
    from usercom_asgi.sandbox.rest.call import Handler

    Answer = Callable[[Request, bytes], Response]

ABORT = "usercom.sandbox.abort"
"""Extension of the scope: the sandbox's server puts a function there that closes the
connection at once."""

_NO_SLASH = "no trailing slash: a client that follows this redirect sends a GET instead of a POST"


class Sandbox(Workspace):
    """Local User.com: a workspace with its ASGI application, `app`.

    `store` has what arrived, and `faults` makes the workspace fail. The settings may be
    changed while it runs.

    Args:
        api_key: The app key that each request of the widget must have.
        unified_identification: Whether the owner of an email is found, and an anonymous
            visitor merged into it. User.com's support turns this on for a workspace.
        authorize_by_email: With ``unified_identification`` only: whether tracking
            switches to the owner of an email instead, and nothing is merged.
        rest_token: The token of the REST API.
        rest_creates_attributes: Whether writes of users by REST create the custom
            attributes that do not exist. The vendor's current pages describe that they
            must exist, and are ignored otherwise; older pages that they are created.
        rest_last_page_has_next: Whether the last page of a list has a `next`, which
            answers 404. A client of the real API was changed because of such answers.
        db: A file that keeps what the store holds. It belongs to one sandbox at a time,
            until `close()` or the end of the process.

    """

    def __init__(
        self,
        *,
        api_key: str = "ABC123",
        unified_identification: bool = False,
        authorize_by_email: bool = False,
        rest_token: str = vendor.REST_TOKEN,
        rest_creates_attributes: bool = False,
        rest_last_page_has_next: bool = False,
        db: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            api_key=api_key,
            unified_identification=unified_identification,
            authorize_by_email=authorize_by_email,
            rest_token=rest_token,
            rest_creates_attributes=rest_creates_attributes,
            rest_last_page_has_next=rest_last_page_has_next,
        )
        self._file = StoreFile(db, self) if db is not None else None
        self.app = Starlette(
            routes=[
                *self._api_routes(),
                *sockets.routes(self, ABORT),
                *self._rest_routes(),
                *dashboard.routes(self),
            ],
            middleware=[
                *([Middleware(FileMiddleware, file=self._file)] if self._file else []),
                Middleware(SameOriginMiddleware),
                Middleware(CorsMiddleware),
            ],
        )
        # _redirect answers 301 as Django does. Starlette would answer 307.
        self.app.router.redirect_slashes = False

    def flush(self) -> None:
        """Write all changes to the file, if there is one."""
        if self._file:
            self._file.flush()

    def close(self) -> None:
        """Write all changes to the file, if there is one, and release it."""
        if self._file:
            self._file.close()

    def _api_routes(self) -> list[Route]:
        paths = [*((path, ["POST"]) for path in HANDLERS), *((path, ["GET"]) for path in READS)]
        return [
            *(Route(path, self._call, methods=methods) for path, methods in paths),
            *(Route(path.rstrip("/"), self._redirect, methods=methods) for path, methods in paths),
        ]

    def _rest_routes(self) -> list[Route]:
        paths: dict[str, Mapping[str, Handler] | None] = {**rest.PATHS, "/{path:path}": None}
        return [
            Route(f"{vendor.REST_PREFIX}{path}", _RestRoute(self, handlers))
            for path, handlers in paths.items()
        ]

    async def _redirect(self, request: Request) -> Response:
        path = request.scope["path"]  # request.url raises for a malformed Host
        with self.store.journal.exchange(request.method, path, "server") as exchange:
            exchange.status = 301
            self.store.rejected.append(Rejected(path=path, status=301, reason=_NO_SLASH, body=None))
        return Response(status_code=301, headers={"Location": f"{path}/"})

    async def _call(self, request: Request) -> Response:
        """Answer one request of the widget's API."""
        return await self.respond(request, self._answer)

    async def respond(
        self, request: Request, answer: Answer, sender: Sender | None = None
    ) -> Response:
        """Answer one request and apply the faults in force.

        Without a `sender`, the request is of the widget's API, and its form names it.
        """
        path = request.scope["path"]
        try:
            raw = await request.body()
        except ClientDisconnect:
            return Response(status_code=499)  # the client has disconnected
        if sender is None:
            body = responses.parse_leniently(raw)
            is_from_widget = vendor.is_from_widget(path, request.headers, body)
            sender = "widget" if is_from_widget else "server"
        with self.store.journal.exchange(request.method, path, sender) as exchange:
            response = await self._respond(request, raw, answer, sender)
            exchange.status = response.status_code
        return response

    async def _respond(
        self, request: Request, raw: bytes, answer: Answer, sender: Sender
    ) -> Response:
        path = request.scope["path"]
        latency, fault = self.faults.next_faults(path, sender)
        for each in filter(None, (latency, fault)):
            self.store.faulted.append(Faulted(path=path, fault=str(each), sender=sender))
        if latency and latency.before and not await self.faults.wait(request, latency.seconds):
            return Response(status_code=499)
        response = await self._process(request, raw, fault, answer)
        if latency and not latency.before:
            await self.faults.wait(request, latency.seconds)
        return response

    async def _process(
        self, request: Request, raw: bytes, fault: Fault | None, answer: Answer
    ) -> Response:
        if fault is None:
            return answer(request, raw)
        if fault.kind == "status":
            return responses.json_response(
                {"detail": "A fault of the sandbox."}, fault.code, fault.headers
            )
        if fault.kind == "hang":
            is_connected = await self.faults.wait(request)
            return answer(request, raw) if is_connected else Response(status_code=499)
        if fault.kind == "drop":
            answer(request, raw)
        return await _drop(request)

    def _answer(self, request: Request, raw: bytes) -> Response:
        path = request.scope["path"]
        try:
            handler = READS.get(path) or HANDLERS[path]
            body = {} if path in READS else read_object(raw)
            with self.store.lock:
                answer: dict[str, Any] = handler(self, body, request.headers)
        except RefusedError as refused:
            self.store.rejected.append(
                Rejected(
                    path=path,
                    status=refused.status,
                    reason=refused.reason,
                    body=responses.quote_body(raw),
                )
            )
            shape = (
                {"errors": {"detail": refused.reason}}
                if refused.status == 400
                else {"detail": refused.reason}
            )
            return responses.json_response(shape, refused.status)
        return responses.json_response(answer)


class _RestRoute:
    """Route of the REST API: an ASGI application, so that it gets every method."""

    def __init__(self, sandbox: Sandbox, handlers: Mapping[str, Handler] | None) -> None:
        self._sandbox = sandbox
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._sandbox.respond(request, self._answer, sender="server")
        await response(scope, receive, send)

    def _answer(self, request: Request, raw: bytes) -> Response:
        return rest.answer(self._sandbox, request, raw, self._handlers)


async def _drop(request: Request) -> Response:
    abort = request.scope.get("extensions", {}).get(ABORT)
    if abort is None:
        raise ConnectionResetError(
            "the fault drop needs the sandbox's own server, use usercom_asgi.sandbox.serve"
        )
    abort()
    while not await request.is_disconnected():
        pass
    return Response(status_code=499)
