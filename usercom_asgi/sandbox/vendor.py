"""Facts about User.com that the vendor does not document fully, each with its source.

Sources are those of `docs/usercom.md`: [D] documented, [C] seen in code, [I] inferred,
S3 the vendor's bundle of 2022.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.datastructures import Headers

PRODUCT_EVENT_TYPES = frozenset(
    {
        "add to cart",
        "purchase",
        "liking",
        "add to observation",
        "order",
        "reservation",
        "return",
        "view",
        "click",
        "detail",
        "add",
        "remove",
        "checkout",
        "checkout option",
        "refund",
        "promo click",
    }
)
"""The closed list of product event types [D S1, S11; C S6]."""

PING_PATH = "/api/v2/user-chatping/"
EVENT_PATH = "/api/event/"
PRODUCT_EVENT_PATH = "/api/product_event/"
UPDATE_PATH = "/api/update-attribute/"
NEW_CONVERSATION_PATH = "/api/conversation/new/"
CONVERSATIONS_PATH = "/api/v2/conversations/"
CONVERSATION_PATH = "/api/v2/conversation/"
SOCKET_PATH = "/ws/widget/{api_key}/{user_key}/"
"""The widget's own endpoints [C S3]."""

WIDGETS_OWN_KEYS = frozenset(
    {"create_new_gu", "widget_ready", "domain", "timezone", "resolution", "url", "referrer"}
)
"""Keys that the widget adds to a ping [C S3]; they are not attributes [I]."""

CALLBACKS = frozenset(
    {"onLoad", "onPayloadReceived", "onMessage", "onOpen", "onClose", "onDestroy"}
)
"""Callbacks of `civchat`, which the widget does not send [C S3]."""

NOT_ATTRIBUTES = (
    WIDGETS_OWN_KEYS
    | CALLBACKS
    | {
        "apiKey",
        "userKey",
        "state",
        "event",
        "company",
        "widget",
        "source_context",
        "__internal",
        "__ca__chat",
    }
)
"""Keys of a ping that never become attributes of the user ([C S3], partly [I])."""

NOT_UPDATABLE = frozenset({"user_id"})
"""Attributes that `client.update` does not change.

The vendor documents that some exist [D]; which ones is a guess [I].
"""

UNKNOWN_KEY_GETS_NEW_KEY = True
"""Whether a ping with an unknown `userKey` creates a user under a new key [I].

False creates it under the key of the ping.
"""

REST_PREFIX = "/api/public"
"""Path of the REST API [D]."""

REST_TOKEN = "0123456789abcdef" * 4
"""Token unless a sandbox is given another; the vendor's have 64 characters, too [D]."""

STANDARD_USER_FIELDS = frozenset(
    {
        "assigned_to",
        "browser",
        "browser_language",
        "city",
        "companies",
        "company_custom_id",
        "company_id",
        "country",
        "created_at",
        "custom_id",
        "email",
        "facebook_url",
        "first_name",
        "first_seen",
        "gender",
        "google_url",
        "gravatar_url",
        "id",
        "last_contacted",
        "last_ip",
        "last_name",
        "last_seen",
        "linkedin_url",
        "lists",
        "most_active_time",
        "name",
        "notifications",
        "os_type",
        "page_views",
        "phone_number",
        "region",
        "resolution",
        "score",
        "status",
        "tags",
        "timezone",
        "twitter_url",
        "unsubscribed",
        "updated_at",
        "user_id",
        "user_key",
        "web_push_subscription",
    }
)
"""Names of a user's standard fields in REST and in the browser [D, C rec]."""

GENDERS = {1: "unknown", 2: "male", 3: "female"}
STATUSES = {1: "visitor", 2: "user"}
"""Numbers in writes, texts in reads [D, C rec]."""

EVENTS_TAKE_USER_KEY = True
"""Whether events by REST take `user_key` instead of `user_id` [C, unverified]."""

GREETING = "Hi! How can we help you?"
"""What the launcher greets with."""

KEY_LENGTH = 12
KEY_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
"""Form of a user key since 2022 [D S12, C many]."""


def new_user_key() -> str:
    """Return a new user key of the form that User.com uses."""
    return "".join(secrets.choice(KEY_ALPHABET) for _ in range(KEY_LENGTH))


def widget_settings(agent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the workspace's widget, as a response to a ping has it.

    The vendor's widget reads the names in it [C S3]. It calls `visible_pages.some`, and
    where it looks for these pages is a guess [I]: they are in each likely place.
    """
    pages: list[str] = []
    module = {"enabled": True, "visible_pages": pages}
    return {
        "visible_pages": pages,
        "settings": {
            "agent": agent["name"],
            "alignment": 1,
            "direction": 1,
            "greeting": GREETING,
            "launcher_icon": None,
            "primary_color": "#3247d3",
            "show_branding": False,
            "state": 0,
            "use_gradient": False,
            "visible_pages": pages,
        },
        "modules": {
            "chat": {**module, "show_prompt": False},
            "knowledge_base": {**module, "enabled": False},
        },
        "translations": {
            "chat_heading_description": "We answer in this chat",
            "chat_heading_title": "Chat",
            "greeting": GREETING,
            "greeting_title": "Hi!",
            "prompt": "Write a message",
        },
        "agents": [dict(agent)],
    }


def is_from_widget(path: str, headers: Headers, body: Mapping[str, Any]) -> bool:
    """Return whether a browser's widget sent this request, not a server.

    A ping of the widget carries timezone and resolution [C S3], which a server does not
    have. Its other requests carry neither, but a browser adds an Origin to every POST.
    """
    if path == PING_PATH:
        return "timezone" in body and "resolution" in body
    return "origin" in headers
