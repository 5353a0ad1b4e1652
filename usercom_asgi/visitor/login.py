"""Detection of logins and logouts: the logged-in user beside the browser's last one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import anyio

from ..core.exceptions import InvalidCommand
from ..core.hooks import (
    UNKNOWN,
    Hook,
    MustWaitError,
    Unknown,
    call_hook,
    call_hook_now,
    warns_of_session,
)
from ..core.log import failed_hook, warn_once
from ..core.problems import report
from ..core.validation import Json, clean_attributes
from .signed_cookies import IDENTITY_COOKIE

if TYPE_CHECKING:
    from starlette.types import Scope

    from ..core.problems import Problems
    from .request import RequestInfo
    from .signed_cookies import IdentityCookie

logger = logging.getLogger("usercom_asgi")

#: Returns the logged-in user (``user_id``, ``email``, attributes), None if there is
#: none, or ``UNKNOWN``.
IdentifyHook: TypeAlias = Hook[Mapping[str, Any] | Unknown | None]

#: The tracker whose hook this task is running, or the task that the hook has started.
_CHECKING: ContextVar[LoginTracker | None] = ContextVar("usercom_asgi.checking", default=None)


class LoginChange(Enum):
    """How the logged-in user compares to the one that this browser had last."""

    SAME = auto()
    #: There was none before.
    LOGGED_IN = auto()
    #: There was another one, who has logged out or was replaced.
    SWITCHED = auto()


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LoginCheck:
    """The result of a check; ``user`` is empty without a logged-in user."""

    change: LoginChange
    user: Mapping[str, Json]


class LoginTracker:
    """Calls the ``identify`` hook at most once a request, and only when the user matters."""

    #: False while the caller cannot wait: an asynchronous hook then raises MustWaitError.
    may_wait = True

    def __init__(
        self,
        hook: IdentifyHook,
        identity_cookie: IdentityCookie,
        scope: Scope,
        request: RequestInfo,
    ) -> None:
        self._hook = hook
        self._identity_cookie = identity_cookie
        self._scope: Scope | None = scope
        self._request = request
        # The fingerprints in the cookies, once they were read: verifying one costs more
        # than most pages.
        self._loaded: list[str | None] | None = None
        self._current: str | None = None
        # The user of the hook, or the one that the application has named;
        # None if unknown.
        self._user: Mapping[str, Json] | None = None
        # Identifiers of the hook that User.com does not accept.
        self._unusable: Mapping[str, Json] = {}
        self._is_known = False
        #: True while a task waits for the hook.
        self.is_checking = False
        # Made only if a second task waits: most requests have one, and an event
        # is not cheap.
        self._checked: anyio.Event | None = None

    def had_user(self) -> bool:
        """Return whether this browser was identified before."""
        return any(self._previous())

    async def check(self, named: Mapping[str, Json]) -> LoginCheck | None:
        """Return how the user has changed; None if that is known already, or the hook fails.

        ``named`` holds the attributes that the application has given in this request.
        Where they are of another user than the hook's, they count: a hook that reads
        the cookies of the request sees the session of before a login.

        The caller acts on the result before its next ``await``, because a second task
        that waits here goes on after that.
        """
        while self.is_checking:
            if _CHECKING.get() is self:  # the hook itself uses the visitor, and must not wait
                return None
            self._checked = self._checked or anyio.Event()
            await self._checked.wait()
        if self._is_known or self._scope is None:
            return self._check_named(named)
        scope, self._scope = self._scope, None  # called once, and no reference cycle remains
        self.is_checking, token = True, _CHECKING.set(self)
        try:
            user = await self._call_hook(scope)
        except BaseException:
            # This task was cancelled. Another one may go on, and calls the hook again.
            self._scope = scope
            raise
        finally:
            _CHECKING.reset(token)
            self.is_checking = False
            if self._checked is not None:
                self._checked.set()
                self._checked = None
        if self._is_known:  # the hook itself may have reset the visitor
            return None
        self._user = user
        other = self._check_named(named)
        if other is not None or user is None:
            return other
        self._is_known = True
        # An identifier that User.com does not accept still tells one user from the next.
        known = {**self._unusable, **user}
        self._current = self._identity_cookie.fingerprint(known)
        return LoginCheck(self._compare(known), user)

    def _check_named(self, named: Mapping[str, Json]) -> LoginCheck | None:
        """Return the change to the user that the application names, if it is another one."""
        before = self._user
        if not self._is_other(named):
            return None
        self._is_known, self._user = True, named
        # A guest who has filled in a form is no user to the hook at the
        # next request either.
        is_guest = before is not None and not before
        self._current = None if is_guest else self._identity_cookie.fingerprint(named)
        return LoginCheck(LoginChange.SWITCHED, named)

    def _is_other(self, named: Mapping[str, Json]) -> bool:
        user = self._user
        for name in ("user_id", "email"):
            if user and name in user:  # without it in `named`, only other attributes are given
                return name in named and str(named[name]) != str(user[name])
        if "user_id" not in named and (user is None or "email" not in named):
            return False
        previous = [each for each in self._previous() if each is not None]
        return bool(previous) and not any(
            self._identity_cookie.matches(each, named) for each in previous
        )

    def _compare(self, user: Mapping[str, Json]) -> LoginChange:
        previous = [each for each in self._previous() if each is not None]
        if not previous:
            return LoginChange.SAME if self._current is None else LoginChange.LOGGED_IN
        # Of two cookies one may be planted, or left from before `cookie_domain` was
        # changed. They count only if they agree.
        is_same = all(
            each == self._current or self._identity_cookie.matches(each, user) for each in previous
        )
        return LoginChange.SAME if is_same else LoginChange.SWITCHED

    def override(self, new_user: Mapping[str, Json]) -> None:
        """Take the user from a reset that the application has made."""
        self._is_known = True
        self._user, self._scope = new_user, None
        self._current = self._identity_cookie.fingerprint(new_user)

    def cookies(self) -> list[bytes]:
        """Return the ``Set-Cookie`` values that this response needs."""
        previous, request = self._previous(), self._request
        is_same = previous == [self._current] or (not previous and self._current is None)
        if not self._is_known or is_same:
            return []
        # A cookie that the browser sends may live on another domain or path, and would
        # be sent before ours from now on.
        path = request.path if len(previous) > 1 else "/"
        duplicates = (
            self._identity_cookie.expire_duplicates(
                host=request.host, secure=request.is_secure, path=path
            )
            if previous
            else []
        )
        cookie = self._identity_cookie.set_cookie(self._current, secure=request.is_secure)
        return [*duplicates, cookie]

    def close(self) -> None:
        """Drop the scope at the end of the request."""
        self._scope = None

    def _previous(self) -> list[str | None]:
        """Return the fingerprint in each of the browser's cookies; None if it is not valid."""
        if self._loaded is None:
            self._loaded = [
                self._identity_cookie.load(value)
                for value in self._request.cookie_values(IDENTITY_COOKIE)
            ]
        return self._loaded

    async def _call_hook(self, scope: Scope) -> Mapping[str, Json] | None:
        """Return the user, an empty mapping if there is none, or None if unknown."""
        try:
            given = (
                await call_hook(self._hook, scope)
                if self.may_wait
                else call_hook_now(self._hook, scope)
            )
            user: object = given or {}
            if user is UNKNOWN:
                return None
            if not user:
                return None if self._lacks_session(scope) else {}
            if isinstance(user, Mapping):
                return self._clean(cast("Mapping[str, Any]", user))
        except MustWaitError:
            raise
        except Exception as error:
            text = "The identify hook failed, the visitor does not change"
            if not warns_of_session(error, text):
                logger.exception(text, extra=failed_hook("identify"))
            return None
        logger.error(
            "The identify hook must return a mapping such as {'user_id': '42'}, None or UNKNOWN,"
            " got %s: the visitor does not change",
            type(user).__name__,
            extra={
                "usercom_event": "hook_result_invalid",
                "usercom_hook": "identify",
                "usercom_type": type(user).__name__,
            },
        )
        return None

    def _lacks_session(self, scope: Scope) -> bool:
        """Return True if the browser may keep the cookie of a session back."""
        session = scope.get("session")
        return self._request.is_cross_site and not (isinstance(session, Mapping) and session)

    def _clean(self, user: Mapping[str, Any]) -> dict[str, Json]:
        """Return the attributes that User.com accepts.

        An invalid one is left out. A wrong phone number must not keep the
        last user's visitor.
        """
        problems: Problems = []
        try:
            cleaned = clean_attributes(user, problems)
        except InvalidCommand:
            problems.clear()
            cleaned = _clean_each(user, problems)
        report("The identify hook", problems, strict=False)
        names = ("user_id", "email")
        if not any(name in cleaned for name in names):
            self._unusable = {name: str(user[name]) for name in names if user.get(name)}
            if not any(name in user for name in names):
                warn_once(
                    "hook_user_unnamed",
                    "The identify hook returned neither user_id nor email, so it identifies no "
                    "user: return {'user_id': '42'}, or None for an anonymous visitor",
                )
        return cleaned


def _clean_each(user: Mapping[str, Any], problems: Problems) -> dict[str, Json]:
    """Return the valid ones of a user's attributes; one of them is invalid."""
    cleaned: dict[str, Json] = {}
    for name, value in user.items():
        try:
            cleaned |= clean_attributes({name: value}, problems)
        except InvalidCommand as error:
            logger.error(  # noqa: TRY400  the error is in the text
                "Ignoring invalid attribute from the identify hook: %s",
                error,
                extra={"usercom_event": "attribute_ignored"},
            )
    return cleaned
