"""What we believe of User.com without the vendor's word for it, each fact once, with its source.

Sources are those of `docs/usercom.md`: [D] documented, [C] seen in code, [I] inferred, S3 the vendor's bundle of 2022.
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
CONVERSATION_PATH = "/api/conversation/new/"
"""The widget's own endpoints [C S3]."""

WIDGETS_OWN_KEYS = frozenset(
    {"create_new_gu", "widget_ready", "domain", "timezone", "resolution", "url", "referrer"}
)
"""Keys that the widget adds to a ping by itself [C S3]: they are no attributes [I]."""

CALLBACKS = frozenset(
    {"onLoad", "onPayloadReceived", "onMessage", "onOpen", "onClose", "onDestroy"}
)
"""Callbacks of `civchat`: the widget strips them before it sends [C S3]."""

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
"""What `client.update` leaves alone: "not all attributes may be changed this way" [D]; which ones is our guess [I]."""

UNKNOWN_KEY_MAKES_A_FRESH_KEY = True
"""A ping with a `userKey` that nobody has makes a new user under a new key; False: under the key it named [I]."""

A_RESET_WITH_A_KNOWN_KEY_KEEPS_IT = True
"""`create_new_gu` beside a known `userKey` (left in the URL or localStorage) re-adopts that user [C S3, 3.1]."""

A_NEW_ID_OVERWRITES_ANOTHER = True
"""A `user_id` nobody has goes to the current profile [D], even if that has another one already [I, pitfall 9]."""

KEY_LENGTH = 12
KEY_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
"""The look of a user key since 2022 [D S12, C many]."""


def new_user_key() -> str:
    """A user key as User.com makes them."""
    return "".join(secrets.choice(KEY_ALPHABET) for _ in range(KEY_LENGTH))


def is_from_widget(path: str, headers: Headers, body: Mapping[str, Any]) -> bool:
    """Whether a browser's widget sent this request, rather than somebody's server.

    A ping of the widget carries timezone and resolution [C S3], which no server knows. Its other requests carry
    neither, but a browser puts an Origin on every POST.
    """
    if path == PING_PATH:
        return "timezone" in body and "resolution" in body
    return "origin" in headers
