"""An envelope as JSON, for outboxes that outlive the process: :func:`pack` and :func:`unpack`.

What comes back has been outside of this process, and perhaps in an older version of this library: it is checked as if a
handler had said it.
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

#: Written into each; one that this version does not know is not guessed at.
VERSION = 1


def pack(envelope: Envelope) -> dict[str, Any]:
    """Return an envelope as a JSON object. It holds the visitor's key and values: keep it where secrets are kept."""
    return {
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


def unpack(packed: Mapping[str, Any]) -> Envelope:
    """Return the envelope that was packed.

    Raises:
        OutboxError: It is none, or of another version.

    """
    try:
        if packed["v"] != VERSION:
            raise OutboxError(
                f"a command of format {packed['v']!r}, where this version knows {VERSION}"
            )
        return Envelope(
            command=unpack_command(packed["command"]),
            ordering_key=str(packed["ordering_key"]),
            key=_key(packed["key"]),
            source=str(packed["source"]),
            identity=dict(packed["identity"]),
            page=PageContext(**packed["page"]),
            may_create=bool(packed["may_create"]),
            created_at=_moment(packed["created_at"]),
        )
    except (
        AttributeError,
        KeyError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise OutboxError(
            f"what was kept is no command of ours ({type(error).__name__})"
        ) from error


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
        # An Event takes one "event." off a name: that of one whose own name begins so is to stay.
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
    """Return the command that was packed."""
    values = dict(packed)
    kind = values.pop("kind")
    if kind == "page_hit" and values["event"] is not None:
        event = unpack_command(values["event"])
        values["event"] = event
    return _KINDS[kind](**values)


_KINDS: dict[str, type[Command]] = {
    "event": Event,
    "product_event": ProductEvent,
    "page_hit": PageHit,
    "reset_auth": ResetAuth,
    "update": Update,
}


def to_text(envelope: Envelope) -> str:
    """Return an envelope as one line of JSON."""
    return json.dumps(pack(envelope), separators=(",", ":"))


def from_text(text: str) -> Envelope:
    """Return the envelope that is written here.

    Raises:
        OutboxError: There is none.

    """
    try:
        packed = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise OutboxError("what was kept is no JSON, or a damaged one") from error
    return unpack(packed)
