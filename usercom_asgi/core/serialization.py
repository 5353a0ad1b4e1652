"""Envelopes as JSON, for outboxes that outlive the process.

An envelope may come back from an older version of this library, so :func:`unpack`
checks it as strictly as the values of a handler.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .commands import Event, PageHit, ProductEvent, ResetAuth, Update
from .envelope import Envelope, PageContext
from .exceptions import OutboxError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .commands import Command

#: Version of the format, written into each envelope. Other versions are refused.
VERSION = 1


def pack(envelope: Envelope) -> dict[str, Any]:
    """Return an envelope as a JSON object, which holds the visitor's key and values."""
    packed = {
        "v": VERSION,
        "command": pack_command(envelope.command),
        "ordering_key": envelope.ordering_key,
        "key": envelope.key,
        "source": envelope.source,
        "identity": dict(envelope.identity),
        "page": asdict(envelope.page),
        "may_create": envelope.may_create,
        "created_at": envelope.created_at,
    }
    # Only where there is one. Older versions of this library ignore it.
    if envelope.trace_parent:
        packed["traceparent"] = envelope.trace_parent
    return packed


def unpack(packed: Mapping[str, Any]) -> Envelope:
    """Return the envelope of a JSON object.

    Raises:
        OutboxError: If the object is not an envelope of this version.

    """
    try:
        if packed["v"] != VERSION:
            raise OutboxError(f"the stored command must have format {VERSION}, got another")
        return Envelope(
            command=unpack_command(packed["command"]),
            ordering_key=str(packed["ordering_key"]),
            key=_key(packed["key"]),
            source=str(packed["source"]),
            identity=dict(packed["identity"]),
            page=PageContext(**packed["page"]),
            may_create=bool(packed["may_create"]),
            created_at=_moment(packed["created_at"]),
            trace_parent=str(packed.get("traceparent", "")),
        )
    except (
        AttributeError,
        KeyError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise OutboxError(f"the stored command cannot be read ({type(error).__name__})") from error


def _key(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError
    return value


def _moment(value: Any) -> float:
    if not math.isfinite(moment := float(value)):
        raise ValueError
    return moment


def pack_command(command: Command) -> dict[str, Any]:
    """Return a command as a JSON object."""
    if isinstance(command, Event):
        # Event() removes one "event." prefix, so add one for a name that
        # begins with it.
        name = f"event.{command.name}" if command.name.startswith("event.") else command.name
        return {"kind": "event", "name": name, "data": dict(command.data)}
    if isinstance(command, ProductEvent):
        return {
            "kind": "product_event",
            "product_id": command.product_id,
            "event_type": str(command.event_type),
            "name": command.name,
            "description": command.description,
            "attributes": dict(command.attributes),
            "custom_data": dict(command.custom_data),
        }
    if isinstance(command, PageHit):
        event = pack_command(command.event) if command.event else None
        return {
            "kind": "page_hit",
            "url": command.url,
            "event": event,
            "attributes": dict(command.attributes),
        }
    kind = "reset_auth" if isinstance(command, ResetAuth) else "update"
    return {"kind": kind, "attributes": dict(command.attributes)}


def unpack_command(packed: Mapping[str, Any]) -> Command:
    """Return the command of a JSON object."""
    values = dict(packed)
    kind = values.pop("kind")
    if kind == "event":
        return Event(values["name"], values["data"])
    if kind == "page_hit" and values["event"] is not None:
        event = unpack_command(values["event"])
        values["event"] = event
    return _KINDS[kind](**values)


_KINDS: dict[str, type[PageHit | ResetAuth | ProductEvent | Update]] = {
    "product_event": ProductEvent,
    "page_hit": PageHit,
    "reset_auth": ResetAuth,
    "update": Update,
}


def to_text(envelope: Envelope) -> str:
    """Return an envelope as one line of JSON."""
    return json.dumps(pack(envelope), separators=(",", ":"))


def from_text(text: str) -> Envelope:
    """Return the envelope of a line of JSON.

    Raises:
        OutboxError: If the text is not an envelope of this version.

    """
    try:
        packed = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise OutboxError("the stored command is not valid JSON") from error
    return unpack(packed)
