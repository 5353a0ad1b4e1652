"""The chat of a visitor: its lines, and what the widget reads of them.

The shapes are those that the vendor's chat reads and sends [C S3]. A visitor has one
conversation here, whose id is that of the visitor.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, cast

from usercom_asgi.sandbox import parsing
from usercom_asgi.sandbox.journal import Message

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from usercom_asgi.sandbox.store import User
    from usercom_asgi.sandbox.workspace import Workspace

AGENT = "Sandy (workspace)"
REPLY = "Thanks! This is the sandbox. In User.com, an agent would answer here."
MAX_LINES = 1_000
"""Lines that a conversation keeps, so that a page in a loop cannot fill the memory."""

_MAX_CONTENT = 10_000
_ENTROPY = re.compile(r"[0-9A-Za-z-]{1,40}")


def add_line(
    workspace: Workspace, user: User, content: str, *, is_admin: bool, entropy: str = ""
) -> dict[str, Any]:
    """Add a line to the conversation and the journal, and push it to the pages.

    `entropy` is the page's own name of the line, by which it knows it again.
    """
    store = workspace.store
    with store.lock:
        line = {
            "id": workspace.pushes.next_line(),
            "content": content,
            "isAdmin": is_admin,
            "at": time.time(),
            "entropy": entropy,
        }
        user.conversation.append(line)
        del user.conversation[:-MAX_LINES]
        store.journal.add(Message(key=user.key, line=content, is_admin=is_admin))
        if is_admin:
            workspace.pushes.add(user.key, {"type": "readAgent", "payload": _of(user)})
        message = message_of(user, line)
        workspace.pushes.add(user.key, {"type": "chat", "payload": message})
        return message


def receive(workspace: Workspace, user: User, payload: dict[str, Any]) -> dict[str, Any]:
    """Process a line of a visitor and reply at once; return the visitor's message."""
    content = parsing.text(payload, "content" if "content" in payload else "message")
    if len(content) > _MAX_CONTENT:
        raise parsing.RefusedError(400, f"content must have at most {_MAX_CONTENT:,} characters")
    entropy = parsing.optional_text(payload, "entropy")
    if entropy and not _ENTROPY.fullmatch(entropy):
        raise parsing.RefusedError(400, "entropy must have 1 to 40 letters and digits")
    message = add_line(workspace, user, content, is_admin=False, entropy=entropy)
    add_line(workspace, user, REPLY, is_admin=True)
    return message


def mark_read(workspace: Workspace, user: User) -> None:
    """Record that the visitor has seen all lines, and let its other pages know."""
    if has_unread(user):
        user.read_at = time.time()
        workspace.pushes.add(user.key, {"type": "selfRead", "payload": _of(user)})


def has_unread(user: User) -> bool:
    """Return whether the visitor has not seen the last line of User.com."""
    return any(line["isAdmin"] and line["at"] > user.read_at for line in user.conversation[-2:])


def new_conversation(
    workspace: Workspace, body: dict[str, Any], _headers: Headers
) -> dict[str, Any]:
    """Process the first line of a conversation.

    `reply` is an addition of ours, for a page that has no socket.
    """
    parsing.require_key(body, "api_key", workspace.api_key)
    user = workspace.store.find(parsing.text(body, "user_key"))
    if user is None:
        raise parsing.RefusedError(404, "no user has this user_key")
    message = receive(workspace, user, body)
    reply = message_of(user, user.conversation[-1])
    return {"message": message, "conversation": conversation_of(user), "reply": reply}


def conversations(workspace: Workspace, _body: dict[str, Any], headers: Headers) -> dict[str, Any]:
    """Return the visitor's conversations, which are one or none."""
    user = _user(workspace, headers)
    return {"next": None, "results": [conversation_of(user)] if user.conversation else []}


def conversation(workspace: Workspace, _body: dict[str, Any], headers: Headers) -> dict[str, Any]:
    """Return the messages of a conversation, newest first."""
    user = _user(workspace, headers)
    if headers.get("convo-id") != str(user.id) or not user.conversation:
        raise parsing.RefusedError(404, "this visitor has no conversation with this convo-id")
    results = [message_of(user, line) for line in reversed(user.conversation)]
    return {"next": None, "results": results}


def message_of(user: User, line: dict[str, Any]) -> dict[str, Any]:
    """Return a line as the widget reads it. A test may have added it without an id."""
    is_admin = bool(line.get("isAdmin"))
    return {
        "id": line.get("id") or f"{line['at']}-{line['content'][:20]}",
        "conversation_id": user.id,
        "content": line["content"],
        "timestamp": int(line["at"] * 1000),
        "is_native": is_admin,
        "author": agent() if is_admin else {"id": user.id, "name": user.name, "avatar": None},
        "entropy": line.get("entropy", ""),
        "type": "message",
        "source": 1,
        "delivered": True,
        "read": line["at"] <= user.read_at if is_admin else True,
        "chat_bot": False,
        "is_meta": False,
        "extra_data": {},
    }


def conversation_of(user: User) -> dict[str, Any]:
    """Return the conversation as a list of them shows it."""
    last = user.conversation[-1]
    return {
        "id": user.id,
        "unread": has_unread(user),
        "chat_bot": False,
        "last_message_snippet": last["content"],
        "last_message_timestamp": int(last["at"] * 1000),
        "last_message_author": agent(),
    }


def agent() -> dict[str, Any]:
    """Return the agent of the workspace."""
    return {"id": 1, "name": AGENT, "title": "", "avatar": None}


def payload_of(frame: dict[str, Any]) -> dict[str, Any]:
    """Return the payload of a frame of the socket."""
    payload = frame.get("payload")
    if not isinstance(payload, dict):
        raise parsing.RefusedError(400, "payload must be an object")
    return cast("dict[str, Any]", payload)


def _of(user: User) -> dict[str, Any]:
    return {"conversation_id": user.id}


def _user(workspace: Workspace, headers: Headers) -> User:
    user = workspace.store.find(headers.get("clientuser-key"))
    if user is None:
        raise parsing.RefusedError(404, "no user has this clientuser-key")
    return user
