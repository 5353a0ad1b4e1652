"""The other side of the chat: lines, payloads and commands for the pages of a visitor.

The socket of a page delivers them.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from usercom_asgi.sandbox import chat, parsing
from usercom_asgi.sandbox.journal import Message

if TYPE_CHECKING:
    from usercom_asgi.sandbox.store import User
    from usercom_asgi.sandbox.workspace import Workspace

TICK = 0.1
"""Seconds between two looks of a stream at what is new."""

_MAX_PUSHES = 500


@dataclass(frozen=True)
class Push:
    """Message for the pages of a visitor."""

    number: int
    key: str
    message: dict[str, Any]


class Pushes:
    """The newest pushes. A socket has a place in them and no queue of its own."""

    def __init__(self) -> None:
        self.listeners: Counter[str] = Counter()
        self.last = 0
        self._kept: deque[Push] = deque(maxlen=_MAX_PUSHES)
        self._last_line = 0

    def add(self, key: str, message: dict[str, Any]) -> None:
        """Push a message to the pages of a visitor."""
        self._kept.append(Push(self.last + 1, key, message))
        self.last += 1

    def next_line(self) -> int:
        """Return a number for a line of a chat, unique in later runs as well."""
        self._last_line = max(self._last_line + 1, time.time_ns() // 1_000)
        return self._last_line

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
            chat.add_line(workspace, user, parsing.text(body, "content"), is_admin=True)
            return
        if action == "code":
            payload = body.get("payload")
            line = "Send Code: a payload for onPayloadReceived"
            store.journal.add(
                Message(key=user.key, line=line, is_admin=True, kind="code", data=payload)
            )
            push = {"type": "action", "payload": {"type": "json_payload", "content": payload}}
        elif action in ("open", "close"):
            push = {"type": action}
        else:
            raise parsing.RefusedError(400, "action must be message, code, open or close")
        workspace.pushes.add(user.key, push)


def _visitor(workspace: Workspace, number: Any) -> User:
    user = workspace.store.by_id(number) if isinstance(number, int) else None
    if user is None:
        raise parsing.RefusedError(400, "visitor must be the id of a visitor")
    return user
