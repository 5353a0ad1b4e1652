"""The widget's endpoints, as described in `docs/usercom.md`, 3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usercom_asgi.sandbox import chat, parsing, vendor
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

    from usercom_asgi.sandbox.workspace import Workspace

    Handler = Callable[[Workspace, dict[str, Any], Headers], dict[str, Any]]


def ping(workspace: Workspace, body: dict[str, Any], headers: Headers) -> dict[str, Any]:
    """Process a page hit or a reset."""
    parsing.require_key(body, "apiKey", workspace.api_key)
    parsing.check_ping(body)
    event = parsing.event_of_ping(body)
    user = resolve(
        workspace.store,
        Switches(workspace.unified_identification, workspace.authorize_by_email),
        body,
    )
    workspace.store.update(user, body)
    hit = _hit(user, body, headers)
    workspace.store.hits.append(hit)
    user.page_views += not hit.created_new_gu
    if event is not None:
        _record_event(workspace, user, event, body, headers)
    return _answer(user)


def event(workspace: Workspace, body: dict[str, Any], headers: Headers) -> dict[str, Any]:
    """Process an event."""
    parsing.require_key(body, "api_key", workspace.api_key)
    named = parsing.text(body, "event"), parsing.encoded_object(body, "data")
    _record_event(workspace, _user(workspace, body, "user_key"), named, body, headers)
    return {}


def product_event(workspace: Workspace, body: dict[str, Any], _headers: Headers) -> dict[str, Any]:
    """Process a product event."""
    parsing.require_key(body, "api_key", workspace.api_key)
    product_id, event_type, data = parsing.product_event(body)
    user = _user(workspace, body, "user_key")
    workspace.store.ensure_product(product_id)
    workspace.store.product_events.append(
        RecordedProductEvent(key=user.key, product_id=product_id, event_type=event_type, data=data)
    )
    return {}


def update(workspace: Workspace, body: dict[str, Any], _headers: Headers) -> dict[str, Any]:
    """Process attributes without a page view."""
    parsing.require_key(body, "apiKey", workspace.api_key)
    data = parsing.updates(body)
    parsing.check_company(data)
    user = _user(workspace, body, "userKey")
    workspace.store.update(
        user, {name: value for name, value in data.items() if name not in vendor.NOT_UPDATABLE}
    )
    workspace.store.updates.append(RecordedUpdate(key=user.key, data=data))
    return {}


HANDLERS: dict[str, Handler] = {
    vendor.PING_PATH: ping,
    vendor.EVENT_PATH: event,
    vendor.PRODUCT_EVENT_PATH: product_event,
    vendor.UPDATE_PATH: update,
    vendor.NEW_CONVERSATION_PATH: chat.new_conversation,
}
"""Handlers of what the widget sends, by path."""
READS: dict[str, Handler] = {
    vendor.CONVERSATIONS_PATH: chat.conversations,
    vendor.CONVERSATION_PATH: chat.conversation,
}
"""Handlers of what it reads, so by GET and without a body."""


def _user(workspace: Workspace, body: dict[str, Any], name: str) -> User:
    user = workspace.store.find(parsing.text(body, name))
    if user is None:
        raise parsing.RefusedError(404, f"no user has this {name}")
    return user


def _hit(user: User, body: dict[str, Any], headers: Headers) -> Hit:
    return Hit(
        key=user.key,
        url=parsing.optional_text(body, "url"),
        domain=parsing.optional_text(body, "domain"),
        referrer=parsing.optional_text(body, "referrer"),
        payload=body,
        created_new_gu=body.get("create_new_gu") is True,
        from_widget=vendor.is_from_widget(vendor.PING_PATH, headers, body),
        user_agent=headers.get("user-agent", ""),
    )


def _record_event(
    workspace: Workspace,
    user: User,
    event: tuple[str, dict[str, Any]],
    body: dict[str, Any],
    headers: Headers,
) -> None:
    name, data = event
    domain, user_agent = parsing.optional_text(body, "domain"), headers.get("user-agent", "")
    record = RecordedEvent(key=user.key, name=name, data=data, domain=domain, user_agent=user_agent)
    user.last_seen = record.at
    workspace.store.add_event(record)


def _answer(user: User) -> dict[str, Any]:
    """Return the body of a response to a ping: all that the vendor's widget reads."""
    return {
        "widget": vendor.widget_settings(chat.agent()),
        "user": {
            "key": user.key,
            "id": user.id,
            "name": user.name,
            "avatar": None,
            "email": user.email,
            "webpush": False,
            "visibility": True,
            "is_known": user.is_known,
        },
        "unreadConversationList": [user.id] if chat.has_unread(user) else [],
        "hasAnyConversations": bool(user.conversation),
    }
