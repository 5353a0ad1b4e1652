"""Identification of the user of a ping: the matrix of `docs/usercom.md`, 4, as a table.

The vendor documents a part of it; the rest is our model [I]. Only the sandbox needs it.
The library sends a ping and uses the key of the response.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING, Any

from usercom_asgi.sandbox import vendor
from usercom_asgi.sandbox.journal import Identified, short

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usercom_asgi.sandbox.store import Store, User


@dataclass(frozen=True)
class Switches:
    """The two settings that User.com's support turns on for a workspace."""

    unified_identification: bool = False
    authorize_by_email: bool = False

    def __str__(self) -> str:
        """Return the two settings in words."""
        unified, email = (
            "on" if each else "off"
            for each in (self.unified_identification, self.authorize_by_email)
        )
        return f"Unified Identification is {unified}, Authorize by email is {email}"


SWITCHES = tuple(each.name for each in fields(Switches))
"""Names of the two settings, here and in `Workspace`."""


class Call(Enum):
    """Function that the browser called."""

    PAGE_HIT = "pageHit"
    RESET = "resetAuth"


class Owner(Enum):
    """Owner of an email, relative to the current user (of the cookie)."""

    NONE = "no user"
    CURRENT = "the current user"
    OTHER = "another user, and the current one has no email"
    OTHER_EMAIL_DIFFERS = "another user, and the current one has a different email"


class Outcome(Enum):
    """Result of the identification."""

    UPDATE_CURRENT = "the current user is updated"
    MERGE_INTO_OWNER = "the current user is merged into the email's owner"
    SWITCH_TO_OWNER = "tracking switches to the email's owner"
    NEW_USER = "a new user is tracked"


_U, _M, _S, _N = (
    Outcome.UPDATE_CURRENT,
    Outcome.MERGE_INTO_OWNER,
    Outcome.SWITCH_TO_OWNER,
    Outcome.NEW_USER,
)

# (unified, authorize by email, call) -> the outcome for each value of Owner: NONE,
# CURRENT, OTHER, OTHER_EMAIL_DIFFERS
MATRIX: dict[tuple[bool, bool, Call], tuple[Outcome, Outcome, Outcome, Outcome]] = {
    (False, False, Call.PAGE_HIT): (_U, _U, _U, _U),
    (False, True, Call.PAGE_HIT): (_U, _U, _U, _U),
    (True, False, Call.PAGE_HIT): (_U, _U, _M, _N),
    (True, True, Call.PAGE_HIT): (_U, _U, _S, _S),
    (False, False, Call.RESET): (_N, _N, _N, _N),
    (False, True, Call.RESET): (_N, _N, _N, _N),
    (True, False, Call.RESET): (_N, _N, _N, _N),
    (True, True, Call.RESET): (_N, _S, _S, _S),
}


def resolve(store: Store, switches: Switches, payload: Mapping[str, Any]) -> User:
    """Find, create or merge the user of a ping, without writing its attributes."""
    current, call = _current(store, payload)
    user_id, email = payload.get("user_id"), payload.get("email")
    if user_id not in (None, ""):
        return _by_user_id(store, str(user_id), current)
    if email:
        return _by_email(store, switches, call, str(email), current)
    return current or store.create(why=_why_new(payload, call))


def _current(store: Store, payload: Mapping[str, Any]) -> tuple[User | None, Call]:
    """Return the user of the ping's key, and the call.

    A reset has no current user, unless the ping carries a known key [C S3, 3.1]. Such a
    key may be left in the URL or in localStorage.
    """
    key = payload.get("userKey")
    known = store.find(key)
    if payload.get("create_new_gu") and known is None:
        return None, Call.RESET
    if key and known is None and not vendor.UNKNOWN_KEY_GETS_NEW_KEY:
        known = store.create(key)
    return known, Call.PAGE_HIT


def _by_user_id(store: Store, user_id: str, current: User | None) -> User:
    """Return the user of a `user_id`, which takes precedence over the email [D S1].

    A profile without a `user_id` gets the new one [D]. One that has a `user_id` gets it
    as well [I, pitfall 9].
    """
    owner = store.by_user_id(user_id)
    if owner is not None:
        _record_switch(store, current, owner, f"user_id {user_id} is this visitor's")
        return owner
    return current or store.create(why=f"no visitor has the user_id {user_id}")


def _by_email(
    store: Store, switches: Switches, call: Call, email: str, current: User | None
) -> User:
    owners = store.by_email(email)
    row = MATRIX[switches.unified_identification, switches.authorize_by_email, call]
    owner = _owner(owners, current)
    outcome = row[list(Owner).index(owner)]
    why = f"the email {email} belongs to {owner.value}; {switches}"
    if outcome is Outcome.NEW_USER:
        return store.create(why=why)
    if outcome is Outcome.UPDATE_CURRENT:
        return current or store.create(why=why)
    if outcome is Outcome.MERGE_INTO_OWNER and current is not None:
        store.merge(current, owners[0], why)
    else:
        _record_switch(store, current, owners[0], why)
    return owners[0]


def _record_switch(store: Store, current: User | None, owner: User, why: str) -> None:
    if current is not owner:
        before = f"{current.name} ({short(current.key)})" if current else "no visitor"
        store.journal.add(
            Identified(
                key=owner.key,
                other=current.key if current else "",
                what=f"tracking switched from {before} to {owner.name}",
                why=why,
            )
        )


def _why_new(payload: Mapping[str, Any], call: Call) -> str:
    if call is Call.RESET:
        return "a reset asked for a new visitor"
    key = payload.get("userKey")
    return f"no visitor has the key {short(key)}" if key else "the page hit had no user key"


def _owner(owners: list[User], current: User | None) -> Owner:
    if not owners:
        return Owner.NONE
    if current is None:
        return Owner.OTHER
    if any(owner is current for owner in owners):
        return Owner.CURRENT
    return Owner.OTHER_EMAIL_DIFFERS if current.email else Owner.OTHER
