"""The other side of the chat: lines, payloads and commands for the pages of a visitor.

User.com pushes them through a WebSocket. The sandbox's widget reads server-sent events,
because these need no further package. Both deliver the same messages.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
from starlette.responses import StreamingResponse

from usercom_asgi.sandbox import parsing, responses
from usercom_asgi.sandbox.journal import Message

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response

    from usercom_asgi.sandbox.store import User
    from usercom_asgi.sandbox.workspace import Workspace

STREAM_PATH = "/widget/stream"
TICK = 0.1
"""Seconds between two looks of a stream at what is new."""

_KEEP_ALIVE = 15.0
_MAX_PUSHES = 500


@dataclass(frozen=True)
class Push:
    """Message for the pages of a visitor."""

    number: int
    key: str
    message: dict[str, Any]


class Pushes:
    """The newest pushes. A stream has a place in them and no queue of its own."""

    def __init__(self) -> None:
        self.listeners: Counter[str] = Counter()
        self.last = 0
        self._kept: deque[Push] = deque(maxlen=_MAX_PUSHES)

    def add(self, key: str, message: dict[str, Any]) -> None:
        """Push a message to the pages of a visitor."""
        self._kept.append(Push(self.last + 1, key, message))
        self.last += 1

    def after(self, number: int) -> list[Push]:
        """Return the kept pushes after this one."""
        return [each for each in list(self._kept) if each.number > number]


def act(workspace: Workspace, body: dict[str, Any]) -> None:
    """Act as User.com towards a visitor.

    The body has `visitor`, its id, and `action`: `message` with a `content`, `code`
    with a `payload` of JSON, `open` or `close`.
    """
    store = workspace.store
    with store.lock:
        user = _visitor(workspace, body.get("visitor"))
        action = body.get("action")
        if action == "message":
            content, now = parsing.text(body, "content"), time.time()
            user.conversation.append({"content": content, "isAdmin": True, "at": now})
            store.journal.add(Message(key=user.key, line=content, is_admin=True))
            push = {"type": "chat", "content": content, "isAdmin": True}
        elif action == "code":
            payload = body.get("payload")
            line = "Send Code: a payload for onPayloadReceived"
            store.journal.add(
                Message(key=user.key, line=line, is_admin=True, kind="code", data=payload)
            )
            push = {"type": "json_payload", "payload": payload}
        elif action in ("open", "close"):
            push = {"type": action}
        else:
            raise parsing.RefusedError(400, "action must be message, code, open or close")
        workspace.pushes.add(user.key, push)


def stream(workspace: Workspace, request: Request) -> Response:
    """Answer the pushes to a visitor, from now on or after `Last-Event-ID`."""
    query, store = request.query_params, workspace.store
    if query.get("api_key") != workspace.api_key:
        return responses.json_response({"detail": "api_key is not this workspace's"}, 403)
    key = query.get("user_key", "")
    if store.find(key) is None:
        return responses.json_response({"detail": "no user has this user_key"}, 404)
    return event_stream(_pushes(workspace, key, last_event_id(request)))


async def _pushes(workspace: Workspace, key: str, last: int | None) -> AsyncGenerator[str]:
    pushes, store, stops = workspace.pushes, workspace.store, workspace.faults.stops
    number = pushes.last if last is None else last
    pushes.listeners[key] += 1
    try:
        yield "retry: 1000\n\n"
        waited = 0.0
        while workspace.faults.stops == stops:
            for each in pushes.after(number):
                number = each.number
                user = store.find(key)
                if user is not None and user is store.find(each.key):
                    yield event("push", each.message, number)
            await anyio.sleep(TICK)
            waited += TICK
            if waited >= _KEEP_ALIVE:
                waited = 0.0
                yield ": \n\n"
    finally:
        pushes.listeners[key] -= 1


def event(name: str, data: Any, number: int) -> str:
    """Return a server-sent event."""
    return f"id: {number}\nevent: {name}\ndata: {responses.encode(data)}\n\n"


def event_stream(content: AsyncGenerator[str]) -> Response:
    """Return a response of server-sent events."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(content, media_type="text/event-stream", headers=headers)


def last_event_id(request: Request) -> int | None:
    """Return the number that a browser resumes after."""
    text = request.headers.get("last-event-id", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _visitor(workspace: Workspace, number: Any) -> User:
    user = workspace.store.by_id(number) if isinstance(number, int) else None
    if user is None:
        raise parsing.RefusedError(400, "visitor must be the id of a visitor")
    return user
