"""One HTML response on its way out: takes the application's messages, gives back those to send."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .headers import HeaderList, content_length, for_changed_body, for_person, with_content_length
from .injector import Injector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Message

logger = logging.getLogger("usercom_asgi")

# Above this, three messages cost less than one copy of the page.
_JOIN_BELOW = 64 * 1024


class Page:
    """Puts the snippet into a response, or lets it pass as it was made.

    ``start`` is held until the first bytes have shown whether this is a document, since its ``Content-Length`` depends on
    that. A message of an unknown type, and any error of ours, releases what is held, unchanged and in order.

    Args:
        start: The application's ``http.response.start``.
        headers: Its headers, as a list of our own.
        snippet: What goes in.
        method: The request's method; a HEAD has no body to look at.
        personal: The snippet holds a visitor's data: no shared cache may keep the page.
        page_cookies: ``Set-Cookie`` values for a response that carries the snippet for sure.

    """

    def __init__(
        self,
        start: Message,
        headers: HeaderList,
        snippet: bytes,
        *,
        method: str = "GET",
        personal: bool = False,
        page_cookies: Sequence[bytes] = (),
    ) -> None:
        self._start: Message | None = start
        self._headers = headers
        self._injector: Injector | None = Injector(snippet)
        self._method = method
        self._personal = personal
        self._page_cookies = page_cookies

    @property
    def injected(self) -> bool:
        """The snippet has gone out."""
        return self._injector is not None and self._injector.injected

    def feed(self, message: Message) -> list[Message]:
        """Take the application's next message; return the messages to send now."""
        if self._injector is None:
            return [message]
        if message["type"] != "http.response.body":
            return [*self.release(), message]
        held = self._injector.held
        try:
            return self._body(self._injector, message)
        except Exception:
            logger.exception("the widget was left out of a page: an error in usercom-asgi")
            self._injector.held = held
            return [*self.release(), message]

    def release(self) -> list[Message]:
        """Step aside: return what is held, unchanged; all that follows passes through."""
        messages: list[Message] = []
        if self._start is not None:
            messages.append({**self._start, "headers": self._headers})
            self._start = None
        if self._injector is not None and self._injector.held:
            messages.append({"type": "http.response.body", "body": self._injector.held, "more_body": True})
        self._injector = None
        return messages

    def _body(self, injector: Injector, message: Message) -> list[Message]:
        more = bool(message.get("more_body", False))
        chunk = message.get("body", b"")
        chunk = chunk if type(chunk) is bytes else bytes(chunk)
        parts = injector.feed(chunk, last=not more)
        messages: list[Message] = []
        if self._start is not None:
            if not chunk and more:
                return []
            start = self._begin(injector, self._start, last=not more, empty=not chunk)
            if start is None:
                return [*self.release(), message]
            messages.append(start)
            self._start = None
        messages += _bodies(parts, more=more)
        return messages

    def _begin(self, injector: Injector, held: Message, *, last: bool, empty: bool) -> Message | None:
        """Return the start with headers that are true of the body to come, or None if that stays as it is."""
        head_only = self._method == "HEAD" and empty and last
        if last and not injector.injected and not head_only:
            return None
        headers = for_changed_body(self._headers)
        if self._personal:
            headers = for_person(headers)
        length = content_length(headers)
        if length is not None and injector.is_document and not held.get("trailers"):
            headers = with_content_length(headers, length + len(injector.snippet))
        else:
            headers = with_content_length(headers, None)
        if injector.is_document:
            headers += [(b"set-cookie", cookie) for cookie in self._page_cookies]
        return {**held, "headers": headers}


def _bodies(parts: list[bytes], *, more: bool) -> list[Message]:
    """Return the body messages for these parts, the last of them final unless more is to come."""
    if len(parts) > 1 and sum(map(len, parts)) < _JOIN_BELOW:
        parts = [b"".join(parts)]
    messages: list[Message] = [{"type": "http.response.body", "body": part, "more_body": True} for part in parts]
    if not more:
        if messages:
            messages[-1]["more_body"] = False
        else:
            messages.append({"type": "http.response.body", "body": b"", "more_body": False})
    return messages
