"""The widget's endpoints, as `docs/usercom.md`, 3 tells them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from usercom_asgi.sandbox import parsing as shapes
from usercom_asgi.sandbox import vendor as facts
from usercom_asgi.sandbox.identification import Switches, resolve
from usercom_asgi.sandbox.store import (
    Hit,
    RecordedEvent,
    RecordedProductEvent,
    RecordedUpdate,
    User,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.datastructures import Headers

    from usercom_asgi.sandbox.app import Sandbox

    Handler = Callable[[Sandbox, dict[str, Any], Headers], dict[str, Any]]

AGENT = "Sandy (sandbox)"
_REPLY = "Thanks! This is the sandbox, so nobody will read this, but in User.com an agent would answer here."


def ping(sandbox: Sandbox, body: dict[str, Any], headers: Headers) -> dict[str, Any]:
    """A page hit or a reset."""
    shapes.require_key(body, "apiKey", sandbox.api_key)
    shapes.check_ping(body)
    event = shapes.event_of_ping(body)
    user = resolve(
        sandbox.store, Switches(sandbox.unified_identification, sandbox.authorize_by_email), body
    )
    sandbox.store.update(user, body)
    sandbox.store.hits.append(_hit(user, body, headers))
    if event is not None:
        _record_event(sandbox, user, event, body, headers)
    return _answer(user)


def event(sandbox: Sandbox, body: dict[str, Any], headers: Headers) -> dict[str, Any]:
    """An event."""
    shapes.require_key(body, "api_key", sandbox.api_key)
    named = shapes.text(body, "event"), shapes.encoded_object(body, "data")
    _record_event(sandbox, _user(sandbox, body, "user_key"), named, body, headers)
    return {}


def product_event(sandbox: Sandbox, body: dict[str, Any], _headers: Headers) -> dict[str, Any]:
    """A product event."""
    shapes.require_key(body, "api_key", sandbox.api_key)
    product_id, event_type, data = shapes.product_event(body)
    user = _user(sandbox, body, "user_key")
    sandbox.store.product_events.append(
        RecordedProductEvent(key=user.key, product_id=product_id, event_type=event_type, data=data)
    )
    return {}


def update(sandbox: Sandbox, body: dict[str, Any], _headers: Headers) -> dict[str, Any]:
    """Attributes without a page view."""
    shapes.require_key(body, "apiKey", sandbox.api_key)
    data = shapes.updates(body)
    user = _user(sandbox, body, "userKey")
    sandbox.store.update(
        user, {name: value for name, value in data.items() if name not in facts.NOT_UPDATABLE}
    )
    sandbox.store.updates.append(RecordedUpdate(key=user.key, data=data))
    return {}


def conversation(sandbox: Sandbox, body: dict[str, Any], _headers: Headers) -> dict[str, Any]:
    """A chat message, answered at once by nobody. The shape is ours: only the sandbox's widget calls it."""
    shapes.require_key(body, "api_key", sandbox.api_key)
    content = shapes.text(body, "content")
    user = _user(sandbox, body, "user_key")
    now = time.time()
    reply = {"content": _REPLY, "isAdmin": True, "at": now}
    user.conversation += [{"content": content, "isAdmin": False, "at": now}, reply]
    return {"reply": reply}


HANDLERS: dict[str, Handler] = {
    facts.PING_PATH: ping,
    facts.EVENT_PATH: event,
    facts.PRODUCT_EVENT_PATH: product_event,
    facts.UPDATE_PATH: update,
    facts.CONVERSATION_PATH: conversation,
}
"""Every endpoint of the API, by its path."""


def _user(sandbox: Sandbox, body: dict[str, Any], name: str) -> User:
    user = sandbox.store.find(shapes.text(body, name))
    if user is None:
        raise shapes.RefusedError(404, f"no user has this {name}")
    return user


def _hit(user: User, body: dict[str, Any], headers: Headers) -> Hit:
    return Hit(
        key=user.key,
        url=shapes.optional_text(body, "url"),
        domain=shapes.optional_text(body, "domain"),
        referrer=shapes.optional_text(body, "referrer"),
        payload=body,
        created_new_gu=body.get("create_new_gu") is True,
        from_widget=facts.is_from_widget(facts.PING_PATH, headers, body),
        user_agent=headers.get("user-agent", ""),
    )


def _record_event(
    sandbox: Sandbox,
    user: User,
    event: tuple[str, dict[str, Any]],
    body: dict[str, Any],
    headers: Headers,
) -> None:
    name, data = event
    domain, user_agent = shapes.optional_text(body, "domain"), headers.get("user-agent", "")
    record = RecordedEvent(key=user.key, name=name, data=data, domain=domain, user_agent=user_agent)
    user.last_seen = record.at
    sandbox.store.events.append(record)


def _answer(user: User) -> dict[str, Any]:
    """What a ping is answered; `conversation` is ours, in the place of the vendor's own request for it."""
    return {
        "widget": {
            "settings": {"agent": AGENT, "greeting": "Hi! How can we help you?"},
            "modules": {},
            "translations": {},
            "agents": [{"name": AGENT}],
        },
        "user": {
            "key": user.key,
            "id": user.id,
            "name": user.name,
            "avatar": None,
            "email": user.email,
            "webpush": False,
            "visibility": True,
            "is_known": user.user_id is not None or user.email is not None,
        },
        "conversation": user.conversation,
        "unreadConversationList": [],
        "hasAnyConversations": bool(user.conversation),
    }
