"""Conditional requests for pages, whose ETags the middleware has changed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..core.log import INTERNAL_ERROR
from ..page.csp import find_nonce, parse_policies
from ..page.headers import VALIDATORS, header_list, without
from ..page.validators import (
    CONDITIONS,
    OUTDATED,
    mark_validators,
    placed_mark,
    snippet_mark,
    translate_conditions,
)

if TYPE_CHECKING:
    from starlette.types import Message, Scope

    from ..page.headers import HeaderList
    from ..visitor.session import VisitorSession
    from .site import Site

logger = logging.getLogger("usercom_asgi")

_NOT_MODIFIED = 304
# Headers by which a hook may know the user.
_CREDENTIALS = frozenset({b"cookie", b"authorization"})


class Conditions:
    """The conditions of one request, translated until its response starts.

    They are changed in the scope itself, because a router further in adds to it what
    middlewares further out read. These see the original headers again.
    """

    __slots__ = ("_is_page", "_is_restored", "_mark", "_original", "_scope")

    def __init__(self, scope: Scope, mark: bytes | None) -> None:
        self._scope, self._mark = scope, mark
        self._is_restored = False
        self._original: HeaderList = scope["headers"]
        scope["headers"] = translate_conditions(self._original, mark, scope["path"])
        self._is_page = scope["headers"] is not self._original

    def restore(self) -> None:
        """Give the scope its original headers back."""
        if self._is_restored:
            return
        self._is_restored = True
        # An inner middleware may have added headers of its own, which stay.
        others = [each for each in self._scope["headers"] if each[0] not in CONDITIONS]
        if others == [each for each in self._original if each[0] not in CONDITIONS]:
            self._scope["headers"] = self._original
        else:
            given = [each for each in self._original if each[0] in CONDITIONS]
            self._scope["headers"] = [*others, *given]

    def mark(self, start: Message, session: VisitorSession) -> Message:
        """Return a 304 with the ETag of the page, which the browser keeps.

        The page in the browser's cache is outdated if the 304 brings a policy with a
        nonce, or if the handler has identified the visitor. Then the 304 carries an ETag
        to which the next request gets a whole page.
        """
        if not self._is_page or self._mark is None or start["status"] != _NOT_MODIFIED:
            return start
        headers = header_list(start)
        is_outdated = (
            bool(session.identity)
            or session.is_suppressed
            or session.widget_state is not None
            or find_nonce(parse_policies(headers)) is not None
        )
        if is_outdated:
            return {**start, "headers": [*without(headers, VALIDATORS), OUTDATED]}
        return {**start, "headers": mark_validators(headers, self._mark)}


def open_conditions(scope: Scope, session: VisitorSession, site: Site) -> Conditions | None:
    """Translate the conditions of a request; return None if it has none."""
    if scope["method"] not in ("GET", "HEAD"):
        return None
    try:
        for name, _ in scope["headers"]:  # a set or a dict of the names costs up to twice as much
            if name in CONDITIONS:
                return Conditions(scope, _expected_mark(session, site))
    except Exception:  # an error of ours must not break the application's response
        logger.exception(
            "Conditions of a request stay as they are: usercom-asgi raised an error",
            extra=INTERNAL_ERROR,
        )
    return None


def _expected_mark(session: VisitorSession, site: Site) -> bytes | None:
    """Return the mark of the anonymous snippet; None if the page may get another one.

    A cookie may belong to a user, whom the ``identify`` hook names later. The browser may
    have a page with a placed snippet, about which ``should_inject`` does not decide.
    """
    request = session.request
    depends_on_request = (
        site.nonce is not None
        or site.requires_consent
        or (session.login is not None and not _CREDENTIALS.isdisjoint(request.headers))
        or request.has_reset_cookie()
        or request.has_flash_cookie()
        or request.has_key_in_url
    )
    if depends_on_request:
        return None
    placed = placed_mark(site.anonymous_snippet)
    if placed in request.headers.get(b"if-none-match", b""):
        return placed
    if site.should_inject is not None:
        return None
    return snippet_mark(site.anonymous_snippet, in_head=site.config.position == "head")
