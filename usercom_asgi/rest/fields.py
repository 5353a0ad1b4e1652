"""Fields of writes: how values and names go into a body."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypedDict

from ..core.exceptions import InvalidCommand
from ..core.problems import did_you_mean
from .call import Unset, check_aware, mapping
from .identifiers import CustomId, Id, normalize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Text = str | Unset | None
Number = int | Unset | None
Flag = bool | Unset | None
Moment = datetime | int | Unset | None
_GENDERS = {"unknown": 1, "male": 2, "female": 3}
_STATUSES = {"visitor": 1, "user": 2}
#: Fields that are unix seconds in writes.
MOMENTS = ("first_seen", "last_seen", "created_at")


class UserFields(TypedDict, total=False):
    """Standard fields of a user in writes; None sends null.

    ``gender`` and ``status`` are numbers in writes; their words are converted.
    """

    custom_id: Text
    user_key: Text
    email: Text
    first_name: Text
    last_name: Text
    phone_number: Text
    gender: Literal["unknown", "male", "female"] | str | Number  # noqa: PYI051  for editors
    status: Literal["visitor", "user"] | str | Number  # noqa: PYI051  for editors
    score: Number
    unsubscribed: Flag
    notifications: Flag
    assigned_to: Number
    company_id: Number
    company_custom_id: Text
    country: Text
    region: Text
    city: Text
    timezone: Text
    facebook_url: Text
    google_url: Text
    gravatar_url: Text
    linkedin_url: Text
    twitter_url: Text
    last_ip: Text
    first_seen: Moment
    last_seen: Moment
    created_at: Moment
    tags: Sequence[str] | Unset


def user_body(fields: UserFields, attributes: Mapping[str, object] | None) -> dict[str, object]:
    """Return the body of a write of a user."""
    body = body_of(fields, UserFields.__annotations__, attributes)
    for name, words in (("gender", _GENDERS), ("status", _STATUSES)):
        given = body.get(name)
        if isinstance(given, str):
            if given not in words:
                raise InvalidCommand(name, f"must be one of {', '.join(words)}")
            body[name] = words[given]
    for name in MOMENTS:
        if name in body:
            body[name] = unix_seconds(body[name])
    return body


def as_custom_id(value: object) -> CustomId:
    """Return a custom id that is given as such or as text.

    Raises:
        InvalidCommand: If it is something else. An int would be User.com's own id.

    """
    if isinstance(value, CustomId):
        return value
    if isinstance(value, str):
        return CustomId(value)
    raise InvalidCommand(
        "custom_id", f"must be text or a CustomId, such as 'cust-52', got {type(value).__name__}"
    )


def reference(name: str, value: object) -> dict[str, str | int]:
    """Return the field that names another object: ``user_id`` or ``user_custom_id``.

    Raises:
        InvalidCommand: If it is neither an id nor a custom id.

    """
    given = normalize(value)
    if isinstance(given, Id):
        return {f"{name}_id": given.value}
    if isinstance(given, CustomId):
        return {f"{name}_custom_id": given.value}
    raise InvalidCommand(name, f"must be an int, Id or CustomId, got {type(given).__name__}")


def body_of(
    given: Mapping[str, object],
    known: Mapping[str, object],
    attributes: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Return the body of a write: standard fields, and custom attributes beside them.

    Raises:
        TypeError: If a keyword is not a known field.
        InvalidCommand: If a custom attribute has the name of a standard one.

    """
    for name in given:
        if name not in known:
            raise TypeError(
                f"{name!r} is not a field{did_you_mean(name, known)}; custom attributes go into "
                f"attributes={{...}}"
            )
    custom = mapping("attributes", attributes)
    for name in custom:
        if not isinstance(name, str) or not name:
            raise InvalidCommand("attributes", "must have names that are text")
        if name in known:
            raise InvalidCommand(
                "attributes", f"must hold custom attributes only; pass {name} as a keyword"
            )
    return {**custom, **given}


def list_of(names: Sequence[str]) -> list[str]:
    """Return names as a list.

    Raises:
        InvalidCommand: If they are one string, whose letters would be taken for names.

    """
    if isinstance(names, str):
        raise InvalidCommand("names", "must be a list of names, such as ['beta']")
    return [*names]


def unix_seconds(value: object) -> object:
    """Return a moment in unix seconds, and another value as it is.

    Raises:
        InvalidCommand: If a datetime has no time zone.

    """
    if not isinstance(value, datetime):
        return value
    check_aware(value)
    return int(value.timestamp())
