"""Login and logout by themselves: who is logged in now, and who this browser was last identified as."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import anyio

from ..core.exceptions import InvalidCommand
from ..core.hooks import Hook, call_hook
from ..core.validation import Json, clean_attributes
from .signed_cookies import IDENTITY_COOKIE

if TYPE_CHECKING:
    from starlette.types import Scope

    from .signed_cookies import IdentityCookie
    from .visitor import Visitor

logger = logging.getLogger("usercom_asgi")

#: Returns who is logged in (``user_id``, ``email``, attributes), or None for nobody.
IdentifyHook: TypeAlias = Hook[Mapping[str, Any] | None]

#: Whose hook is being asked by this task, or by one that its hook has started.
_LOOKING: ContextVar[Login | None] = ContextVar("usercom_asgi.looking", default=None)


class Login:
    """Asks the hook at most once a request, and only when somebody needs to know.

    Where the person of the last time is gone or is another one, the visitor is reset before anything of the next one is sent
    or shown. From nobody to somebody is no reset, and the history is kept, unless ``rotate``.
    """

    def __init__(
        self,
        hook: IdentifyHook,
        identity_cookie: IdentityCookie,
        scope: Scope,
        *,
        rotate: bool,
        truncate: bool = False,
    ) -> None:
        self._hook = hook
        self._identity_cookie = identity_cookie
        self._scope: Scope | None = scope
        self._rotate = rotate
        self._truncate = truncate
        # Who the browser was last identified as, once the cookie was read: to check its signature costs more than most pages.
        self._remembered: list[str | None] | None = None
        self._now: str | None = None
        self._is_settled = False
        self._is_looking = False
        # Somebody waits for the answer: most requests have one task, and an event costs more than many a hook.
        self._answered: anyio.Event | None = None

    def had_user(self, visitor: Visitor) -> bool:
        """Tell whether this browser was identified before."""
        return any(self._previous(visitor))

    async def check(self, visitor: Visitor) -> None:
        """Make the visitor whoever is logged in."""
        while self._is_looking:
            if _LOOKING.get() is self:  # the hook itself may use the visitor, and must not wait
                return
            self._answered = self._answered or anyio.Event()
            await self._answered.wait()
        if self._is_settled or self._scope is None:
            return
        scope, self._scope = self._scope, None  # asked once; and no circle over the scope
        self._is_looking, token = True, _LOOKING.set(self)
        try:
            person = await self._ask(scope)
            if person is not None:  # else the hook failed: nobody knows, so nothing changes
                await self._settle(visitor, person)
        except (
            BaseException
        ):  # whoever asked was cut off, and others may go on: the next one asks again
            self._scope = None if self._is_settled else scope
            raise
        finally:
            _LOOKING.reset(token)
            self._is_looking = False
            if self._answered is not None:
                self._answered.set()
                self._answered = None

    async def _settle(self, visitor: Visitor, person: Mapping[str, Json]) -> None:
        self._is_settled = True
        self._now = self._identity_cookie.fingerprint(person)
        last = [each for each in self._previous(visitor) if each is not None]
        if not last:
            is_somebody_else = self._rotate and self._now is not None and visitor.key is not None
        else:  # of two cookies either may be planted, or left from before `cookie_domain` was changed: only one voice counts
            is_somebody_else = not all(
                each == self._now or self._identity_cookie.matches(each, person) for each in last
            )
        if is_somebody_else and (visitor.is_websocket or visitor.response_started):
            visitor.discard_cookie_key(
                person
            )  # there is no response, or not any more, to change the browser's cookie by
            return
        if is_somebody_else:
            await visitor.reset_visitor(person, was_noticed=True)
            return
        visitor.set_default_identity(person)

    def settle(self, new_user: Mapping[str, Json]) -> None:
        """The application has reset the visitor itself: from now on it is this person, or nobody."""
        self._is_settled = True
        self._scope = None
        self._now = self._identity_cookie.fingerprint(new_user)

    def cookies(self, visitor: Visitor) -> list[bytes]:
        """Return the ``Set-Cookie`` values that are due with this response."""
        last = self._previous(visitor)
        if not self._is_settled or last == [self._now] or (not last and self._now is None):
            return []
        # One that the browser has may live elsewhere, and would be sent before ours from then on.
        path = visitor.path if len(last) > 1 else "/"
        twins = (
            self._identity_cookie.expire_twins(
                host=visitor.host, secure=visitor.is_secure, path=path
            )
            if last
            else []
        )
        return [*twins, self._identity_cookie.set_cookie(self._now, secure=visitor.is_secure)]

    def close(self) -> None:
        """Drop the scope at the end of a request."""
        self._scope = None

    def _previous(self, visitor: Visitor) -> list[str | None]:
        """Return who the browser was identified as by each of its cookies; None for one that we did not write."""
        if self._remembered is None:
            self._remembered = [
                self._identity_cookie.load(value)
                for value in visitor.cookie_values(IDENTITY_COOKIE)
            ]
        return self._remembered

    def _clean(self, person: Mapping[str, Any]) -> dict[str, Json]:
        """Leave out what User.com cannot take. Whoever it is, the last one is gone: that must not hang on a phone number."""
        with suppress(InvalidCommand):
            return clean_attributes(person, truncate=self._truncate)
        cleaned: dict[str, Json] = {}
        for name, value in person.items():
            try:
                cleaned |= clean_attributes({name: value}, truncate=self._truncate)
            except InvalidCommand as error:
                logger.error(  # noqa: TRY400  the error is in the text
                    "Ignoring invalid attribute from the identify hook: %s", error
                )
        return cleaned

    async def _ask(self, scope: Scope) -> Mapping[str, Json] | None:
        try:
            person: object = await call_hook(self._hook, scope) or {}
            if isinstance(person, Mapping):
                return self._clean(cast("Mapping[str, Any]", person))
        except Exception:
            logger.exception("the identify hook failed: the visitor stays who they were")
            return None
        logger.error(
            "the identify hook must return a mapping, such as {'user_id': '42'}, or None (got %s):"
            " the visitor stays who they were",
            type(person).__name__,
        )
        return None
