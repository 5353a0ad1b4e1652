"""Who is a ping about? The identification matrix of `docs/usercom.md`, 4, in one table.

The vendor states some of it; the model for the rest is ours [I]. Only the sandbox needs it: the library asks, and
believes the key that comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from usercom_asgi.sandbox import vendor as facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usercom_asgi.sandbox.store import Store, User


@dataclass(frozen=True)
class Switches:
    """The two settings that User.com's support turns on for a workspace."""

    unified_identification: bool = False
    authorize_by_email: bool = False


class Call(Enum):
    """What the browser called."""

    PAGE_HIT = "pageHit"
    RESET = "resetAuth"


class Owner(Enum):
    """Whose email it is, seen from the current (cookie) user."""

    NOBODY = "nobody"
    CURRENT = "the current user"
    OTHER = "another user, and the current one has no email"
    OTHER_AND_MINE_DIFFERS = "another user, and the current one has a different email"


class Outcome(Enum):
    """What becomes of the visitor."""

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

# (unified, authorize by email, call) -> the outcome for each of Owner: NOBODY, CURRENT, OTHER, OTHER_AND_MINE_DIFFERS
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
    """The user that a ping is about, found, made or merged; its attributes are not written yet."""
    current, call = _current(store, payload)
    user_id, email = payload.get("user_id"), payload.get("email")
    if user_id not in (None, ""):
        return _by_user_id(store, str(user_id), current)
    if email:
        return _by_email(store, switches, call, str(email), current)
    return current or store.create()


def _current(store: Store, payload: Mapping[str, Any]) -> tuple[User | None, Call]:
    """The user whose key came along, and the call: a reset has no current user, unless a key survived it."""
    key = payload.get("userKey")
    known = store.find(key)
    if payload.get("create_new_gu") and not (known and facts.A_RESET_WITH_A_KNOWN_KEY_KEEPS_IT):
        return None, Call.RESET
    if key and known is None and not facts.UNKNOWN_KEY_MAKES_A_FRESH_KEY:
        known = store.create(key)
    return known, Call.PAGE_HIT


def _by_user_id(store: Store, user_id: str, current: User | None) -> User:
    """The site's own id takes precedence over the email [D S1]."""
    owner = store.by_user_id(user_id)
    if owner is not None:
        return owner
    if current is None:
        return store.create()
    taken = current.user_id is not None and not facts.A_NEW_ID_OVERWRITES_ANOTHER
    return store.create() if taken else current


def _by_email(
    store: Store, switches: Switches, call: Call, email: str, current: User | None
) -> User:
    owners = store.by_email(email)
    row = MATRIX[switches.unified_identification, switches.authorize_by_email, call]
    outcome = row[list(Owner).index(_owner(owners, current))]
    if outcome is Outcome.NEW_USER:
        return store.create()
    if outcome is Outcome.UPDATE_CURRENT:
        return current or store.create()
    if outcome is Outcome.MERGE_INTO_OWNER and current is not None:
        store.merge(current, owners[0])
    return owners[0]


def _owner(owners: list[User], current: User | None) -> Owner:
    if not owners:
        return Owner.NOBODY
    if current is None:
        return Owner.OTHER
    if any(owner is current for owner in owners):
        return Owner.CURRENT
    return Owner.OTHER_AND_MINE_DIFFERS if current.email else Owner.OTHER
