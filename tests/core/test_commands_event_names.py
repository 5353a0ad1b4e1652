"""Event names mean the same by both channels: the widget's and the server's."""

from __future__ import annotations

import pytest
from helpers.asgi_client import http_scope

from usercom_asgi import Event, InvalidCommand, UserComConfig
from usercom_asgi.visitor.consent import NoDelivery
from usercom_asgi.visitor.session import VisitorSession
from usercom_asgi.visitor.visitor import Visitor

CONFIG = UserComConfig(app="acme", api_key="ABC123", secret_keys=("sixteen characters or more",))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("order.created", "order_created"),
        ("event.order.created", "order_created"),
        ("event.event.order", "event_order"),
        ("v1.2.3", "v1_2_3"),
        ("order.", "order_"),
    ],
)
async def test_event_name_with_a_dot_is_refused_by_both_channels(name: str, remedy: str) -> None:
    visitor = Visitor(VisitorSession(http_scope(), NoDelivery(), CONFIG))
    message = f"^event name: must not contain a dot, got '.*': use '{remedy}'"
    with pytest.raises(InvalidCommand, match=message):
        Event(name)
    with pytest.raises(InvalidCommand, match=message):
        await visitor.event(name)
    with pytest.raises(InvalidCommand, match=message):
        visitor.browser.event(name)


@pytest.mark.parametrize(
    ("name", "kept"),
    [("order created", "order created"), ("event.order", "order"), ("event", "event")],
)
def test_event_name_without_a_dot_is_kept(name: str, kept: str) -> None:
    assert Event(name).name == kept
