"""WebSocket of the widget: the chat of a visitor, in both directions.

The types of frames are those of the vendor's widget [C S3]. The public app key and the
user key are all that opens a socket, from a page of any origin, as at User.com.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import anyio
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from usercom_asgi.sandbox import chat, responses, vendor
from usercom_asgi.sandbox.agent import TICK
from usercom_asgi.sandbox.journal import short
from usercom_asgi.sandbox.parsing import RefusedError, read_object
from usercom_asgi.sandbox.store import Faulted, Rejected, User

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from usercom_asgi.sandbox.faults import Fault
    from usercom_asgi.sandbox.workspace import Workspace

MAX_FRAME = 65_536
"""Characters of a frame."""
MAX_REFUSED = 10
"""Malformed frames after which a socket is closed."""
MAX_SOCKETS = 200
"""Sockets at the same time, since each one looks for news by itself."""

_PAUSE = 0.02  # seconds between the lines of one socket, so that a loop cannot flood the journal
_POLICY_VIOLATION, _TOO_BIG, _ERROR, _RESTART = 1008, 1009, 1011, 1012
_NO_SOCKET = (
    "This path is a WebSocket. If a widget's socket ends here, the server has no library for"
    " it: install wsproto, which the extra sandbox brings.\n"
)


def routes(workspace: Workspace, abort: str) -> list[BaseRoute]:
    """Return the route of the socket, and one that explains itself over HTTP.

    `abort` names the extension of the scope that closes a connection at once.
    """

    async def serve(websocket: WebSocket) -> None:
        await _Socket(workspace, websocket, abort).run()

    async def explain(_request: Request) -> Response:
        return PlainTextResponse(_NO_SOCKET, 426, {"Upgrade": "websocket"})

    return [WebSocketRoute(vendor.SOCKET_PATH, serve), Route(vendor.SOCKET_PATH, explain)]


class _Socket:
    """Connection of one page."""

    def __init__(self, workspace: Workspace, websocket: WebSocket, abort: str) -> None:
        self._workspace = workspace
        self._websocket = websocket
        self._abort = abort
        self._key: str = websocket.path_params["user_key"]
        # A whole key opens a visitor's chat, so that the page shows its beginning.
        self._path = vendor.SOCKET_PATH.format(
            api_key=websocket.path_params["api_key"][:20], user_key=short(self._key)
        )
        self._refused = 0
        self._last = 0  # number of the last push that was sent, or came before the socket

    async def run(self) -> None:
        """Answer the handshake, then exchange frames until one side closes."""
        with self._workspace.store.journal.exchange("WS", self._path, "widget") as exchange:
            try:
                exchange.status = await self._handshake()
            except (OSError, WebSocketDisconnect):
                exchange.status = 499  # the page has gone
        if exchange.status != 101:
            return
        pushes, key = self._workspace.pushes, self._key
        pushes.listeners[key] += 1
        try:
            async with anyio.create_task_group() as tasks:
                for side in (self._receive, self._send):
                    tasks.start_soon(self._until_closed, side, tasks.cancel_scope)
        finally:
            pushes.listeners[key] -= 1
            if not pushes.listeners[key]:
                del pushes.listeners[key]

    async def _until_closed(self, side: Any, scope: anyio.CancelScope) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            await side()
        scope.cancel()

    async def is_disconnected(self) -> bool:
        """Return whether the page has closed the socket, for faults that wait."""
        return WebSocketState.DISCONNECTED in (
            self._websocket.client_state,
            self._websocket.application_state,
        )

    # Handshake

    async def _handshake(self) -> int:
        """Accept or refuse; return the status."""
        await self._websocket.receive()  # websocket.connect
        fault = await self._next_fault()
        if fault is not None and fault.kind in ("drop", "down"):
            return await self._drop()
        if fault is not None and fault.kind == "status":
            return await self._deny(fault.code, "A fault of the sandbox.")
        reason = self._refusal()
        if reason is not None:
            self._reject(reason, None)
            return await self._deny(reason.status, reason.reason)
        self._last = self._workspace.pushes.last  # before the page knows that it is connected
        await self._websocket.accept()
        return 101

    def _refusal(self) -> RefusedError | None:
        if self._websocket.path_params["api_key"] != self._workspace.api_key:
            return RefusedError(403, "the app key is not this workspace's")
        if self._workspace.store.find(self._key) is None:
            return RefusedError(404, "no user has this user key")
        if self._workspace.pushes.listeners.total() >= MAX_SOCKETS:
            return RefusedError(503, f"{MAX_SOCKETS} sockets are open")
        return None

    async def _deny(self, status: int, reason: str) -> int:
        if "websocket.http.response" in self._websocket.scope.get("extensions", {}):
            await self._websocket.send_denial_response(PlainTextResponse(reason, status))
            return status
        await self._websocket.close()
        return 403  # the answer of a server that knows no other one

    async def _drop(self) -> int:
        abort = self._websocket.scope.get("extensions", {}).get(self._abort)
        if abort is None:
            await self._websocket.close(_ERROR)
        else:
            abort()
        return 499

    # Frames

    async def _receive(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            code = await self._frame(message.get("text"))
            if code:
                await self._websocket.close(code)
                return

    async def _frame(self, text: str | None) -> int | None:
        """Process a frame; return the code if the socket has to be closed."""
        if text is not None and len(text) > MAX_FRAME:
            self._reject(RefusedError(413, f"a frame has over {MAX_FRAME:,} characters"), text)
            return _TOO_BIG
        try:
            return await self._process(text)
        except RefusedError as refused:
            self._reject(refused, text)
            self._refused += 1
        return _POLICY_VIOLATION if self._refused >= MAX_REFUSED else None

    async def _process(self, text: str | None) -> int | None:
        if text is None:
            raise RefusedError(400, "a frame must be text")
        frame = read_object(text)
        kind = frame.get("type")
        if kind == "chat":
            return await self._chat(chat.payload_of(frame))
        if kind == "read":
            chat.mark_read(self._workspace, self._user())
        elif kind not in ("widget_ready", "typing"):
            raise RefusedError(400, "type must be widget_ready, chat, read or typing")
        return None

    async def _chat(self, payload: dict[str, Any]) -> int | None:
        fault = await self._next_fault()
        if fault is not None and fault.kind in ("status", "down"):
            return _ERROR
        with self._workspace.store.journal.exchange("WS", self._path, "widget") as exchange:
            exchange.status = 400
            message = chat.receive(self._workspace, self._user(), payload)
            exchange.status = 200
        if fault is not None and fault.kind == "drop":
            return _ERROR
        ids = {"temp_id": payload.get("id"), "real_id": message["id"]}
        await self._push({"type": "delivered", "payload": ids})
        await anyio.sleep(_PAUSE)
        return None

    async def _send(self) -> None:
        """Send what is pushed to the visitor, until the server stops."""
        pushes, store, faults = (
            self._workspace.pushes,
            self._workspace.store,
            self._workspace.faults,
        )
        stops = faults.stops
        while faults.stops == stops:
            for each in pushes.after(self._last):
                self._last = each.number
                user = store.find(self._key)
                if user is not None and user is store.find(each.key):
                    await self._push(each.message)
            await anyio.sleep(TICK)
        with contextlib.suppress(RuntimeError):  # the server has closed it
            await self._websocket.close(_RESTART)

    async def _push(self, message: dict[str, Any]) -> None:
        if not await self.is_disconnected():
            await self._websocket.send_text(responses.encode(message))

    # Faults and refusals

    async def _next_fault(self) -> Fault | None:
        workspace = self._workspace
        latency, fault = workspace.faults.next_faults(self._path, "widget")
        for each in filter(None, (latency, fault)):
            workspace.store.faulted.append(
                Faulted(path=self._path, fault=str(each), sender="widget")
            )
        if latency:
            await workspace.faults.wait(self, latency.seconds)
        if fault is None or fault.kind != "hang":
            return fault
        await workspace.faults.wait(self)
        return None

    def _user(self) -> User:
        user = self._workspace.store.find(self._key)
        if user is None:
            raise RefusedError(404, "no user has this user key")
        return user

    def _reject(self, refused: RefusedError, frame: str | None) -> None:
        quoted = None if frame is None else responses.quote_frame(frame)
        self._workspace.store.rejected.append(
            Rejected(
                path=self._path,
                status=refused.status,
                reason=refused.reason,
                body={"user_key": self._key, "frame": quoted},
            )
        )
