"""Identifiers of users, companies, deals and products: ``Id``, ``CustomId`` and others.

User.com has several spaces of names, and ``43`` is not ``"43"``: the first is its own
id, the second the application's. So the type of an identifier, and not its value, picks
the path of a call, and the verb where that depends on the path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote, unquote

from ..core.exceptions import InvalidCommand
from ..core.user_key import is_user_key
from ..core.validation import clean_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from .models import User

_PLACE = re.compile(r":([a-z_]+)")
# Parts of a path that errors show: verbs and resources, but no ids.
_SHOWN_PART = re.compile(r":?[a-z][a-z_-]*")


@dataclass(frozen=True, slots=True)
class Id:
    """User.com's own number of an object; a plain ``int`` means the same."""

    value: int

    def __post_init__(self) -> None:
        _check_number("id", self.value)


@dataclass(frozen=True, slots=True, repr=False)
class _Hidden:
    """An identifier that may be personal data, so that its ``repr`` hides it."""

    value: str

    def __post_init__(self) -> None:
        """Check the value; each type has its own rule."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}('...')"


class CustomId(_Hidden):
    """The application's own id of an object: ``user_id`` of the browser SDK.

    An int or a UUID is converted to a string.
    """

    __slots__ = ()

    def __init__(self, value: str | int | UUID) -> None:
        object.__setattr__(self, "value", clean_id("custom_id", value))


class Key(_Hidden):
    """A visitor's user key, the value of the ``__ca__chat`` cookie.

    A browser may present any key. Never merge users on it alone.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        if not is_user_key(self.value):
            raise InvalidCommand("user_key", "must be 1 to 64 letters and digits")


class Email(_Hidden):
    """An email address, which several users may have."""

    __slots__ = ()

    def __post_init__(self) -> None:
        if not (isinstance(self.value, str) and "@" in self.value.strip("@")):
            raise InvalidCommand("email", "must be an e-mail address")


class Phone(_Hidden):
    """A phone number, which several users may have."""

    __slots__ = ()

    def __post_init__(self) -> None:
        if not (isinstance(self.value, str) and self.value.strip()):
            raise InvalidCommand("phone_number", "must be a phone number, such as '+48123456789'")


#: Identifiers that are a part of a path.
PathId: TypeAlias = "int | Id | CustomId"
#: Those of a user, of which a user that a call returned is one.
UserPathId: TypeAlias = "PathId | User"
#: All identifiers of a user. Those that are no part of a path cost a look-up.
UserId: TypeAlias = "PathId | User | Key | Email | Phone"


def number_of(field: str, value: int | Id) -> int:
    """Return the number of an :class:`Id` or an int.

    Raises:
        InvalidCommand: If it is something else, such as ``"43"``.

    """
    number = value.value if isinstance(value, Id) else value
    _check_number(field, number)
    return number


def normalize(value: object) -> Id | CustomId | Key | Email | Phone:
    """Return an identifier, with an int as an :class:`Id`.

    Raises:
        InvalidCommand: If the value is no identifier.

    """
    if isinstance(value, (Id, CustomId, Key, Email, Phone)):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Id(value)
    raise InvalidCommand(
        "identifier",
        "must be an int, Id, CustomId, Key, Email or Phone, such as CustomId('43'), "
        f"got {type(value).__name__}",
    )


def expand(template: str, parts: Mapping[str, str | int]) -> str:
    """Return the path of a route: ``/users/:id/`` with ``{"id": 5}`` is ``/users/5/``.

    Raises:
        InvalidCommand: If a part is missing, or has no text that UTF-8 can encode.

    """

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name not in parts:
            raise InvalidCommand(name, f"must be given in parts, for the path {template}")
        return encode_part(name, parts[name])

    return _PLACE.sub(fill, template)


def encode_part(field: str, value: str | int) -> str:
    """Return a part of a path with each reserved character percent-encoded.

    A slash is encoded as well. So are the dots of ``.`` and ``..``, which clients and
    servers would otherwise resolve as folders.

    Raises:
        InvalidCommand: If the value is empty or holds a lone surrogate.

    """
    text = str(value)
    try:
        encoded = quote(text, safe="")
    except UnicodeEncodeError:
        encoded = ""
    if not encoded:
        raise InvalidCommand(field, "must be text that is not empty and that UTF-8 can encode")
    return encoded.replace(".", "%2E") if text in (".", "..") else encoded


def template_of(path: str, *, slash: bool) -> str:
    """Return a path below ``/api/public/``, with its slashes.

    Raises:
        InvalidCommand: If it leads elsewhere, or holds a query.

    """
    is_path = (
        isinstance(path, str)
        and re.fullmatch(r"/?[A-Za-z0-9._~:@+%-]+(/[A-Za-z0-9._~:@+%-]+)*/?", path) is not None
        and not re.search(r"(^|/)(\.|%2e){1,2}(/|$)", path, re.IGNORECASE)
        and "://" not in path
    )
    if not is_path:
        raise InvalidCommand(
            "path",
            "must be a path below /api/public/ without host and query, such as 'notes/'; "
            "use query= and parts=",
        )
    bare = path.strip("/")
    return f"/{bare}/" if slash else f"/{bare}"


def hide_values(template: str) -> tuple[str, dict[str, str | int]]:
    """Return a template without the values that it had, and those values.

    A path such as ``users/52/`` is shown as ``/users/:part/``.
    """
    shown: list[str] = []
    hidden: dict[str, str | int] = {}
    for part in template.strip("/").split("/"):
        after_id = bool(shown) and shown[-1].endswith("-by-id")
        if _SHOWN_PART.fullmatch(part) and not (after_id and not part.startswith(":")):
            shown.append(part)
        else:
            name = "part" + "_" * len(hidden)
            hidden[name] = unquote(part)
            shown.append(f":{name}")
    end = "/" if template.endswith("/") else ""
    return f"/{'/'.join(shown)}{end}", hidden


def _check_number(field: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        given = "a negative one" if type(value) is int else type(value).__name__
        raise InvalidCommand(
            field, f"must be a whole number; a string is a CustomId('...'), got {given}"
        )
