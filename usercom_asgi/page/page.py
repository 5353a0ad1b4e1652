"""One HTML response on its way out: takes the application's messages, gives back those to send."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .headers import for_changed_body, for_person, never_stored, with_cookies
from .injector import Injector, inject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Message

logger = logging.getLogger("usercom_asgi")


class Page:
    """Puts the snippet into a response, or lets it pass as it was made.

    ``start`` is held until the first bytes have shown whether this is a document, since its ``Content-Length`` depends on
    that. A message of an unknown type, and any error of ours, releases what is held, unchanged and in order.

    Args:
        start: The application's ``http.response.start``, with a list of headers.
        snippet: What goes in.
        method: The request's method; a HEAD has no body to look at.

    """

    #: The snippet holds a visitor's data: no shared cache may keep the page.
    is_personal = False
    #: What the snippet says is to be said once: no cache at all may keep the page.
    is_once = False
    #: ``Set-Cookie`` values for a response that carries the snippet for sure.
    cookies: Sequence[bytes] = ()
    #: ``Set-Cookie`` values for one that does not, or for which that is not known yet when it starts.
    other_cookies: Sequence[bytes] = ()
    #: Nothing is held, and nothing will be: what follows passes through.
    is_done = False
    _injector: Injector | None = None

    def __init__(self, start: Message, snippet: bytes, method: str = "GET") -> None:
        self._start: Message | None = start
        self._snippet = snippet
        self._method = method

    def feed(self, message: Message) -> list[Message]:
        """Take the application's next message; return the messages to send now."""
        if self.is_done:
            return [message]
        if message["type"] != "http.response.body":
            return self._stranger(message)
        held = b"" if self._injector is None else self._injector.held
        try:
            if self._injector is None and not message.get("more_body", False):
                return self._whole(message)
            return self._chunk(message)
        except Exception:
            logger.exception("the widget was left out of a page: an error in usercom-asgi")
            if self._injector is not None:
                self._injector.held = held
            return [*self.release(), message]

    def release(self) -> list[Message]:
        """Step aside: return what is held, unchanged; all that follows passes through."""
        self.is_done = True
        messages: list[Message] = []
        if self._start is not None:
            messages.append(with_cookies(self._start, self.other_cookies))
            self._start = None
        if self._injector is not None and self._injector.held:
            messages.append({"type": "http.response.body", "body": self._injector.held, "more_body": True})
        return messages

    def _stranger(self, message: Message) -> list[Message]:
        """Take a message that is no body: what is held goes before it."""
        if self._start is not None or self._injector is None:
            return [*self.release(), message]
        # The start has gone out, and its length counts on the snippet: a push or a hint does not change that.
        held = self._injector.flush()
        return [*_bodies([held], more=True), message] if held else [message]

    def _whole(self, message: Message) -> list[Message]:
        """Take a body that is one message."""
        page = _bytes(message)
        parts = inject(page, self._snippet)
        start = self._start
        if start is None or (parts is None and not self._is_bare_head(page)):
            logger.debug("no widget: the body is a fragment, without <html>, <body> or </body>")
            return [*self.release(), message]
        self._start = None
        self.is_done = True
        messages = [self._page_start(start, is_document=parts is not None)]
        if parts is not None and len(parts) == 1:
            messages.append({"type": "http.response.body", "body": parts[0], "more_body": False})
        else:
            messages += _bodies(parts or [], more=False)
        return messages

    def _chunk(self, message: Message) -> list[Message]:
        """Take a part of a body."""
        injector = self._injector = self._injector or Injector(self._snippet)
        more = bool(message.get("more_body", False))
        chunk = _bytes(message)
        parts = injector.feed(chunk, last=not more)
        if self._start is None:
            return _bodies(parts, more=more)
        if more and not chunk:
            return []
        if not (more or injector.injected or self._is_bare_head(chunk)):
            logger.debug("no widget: the body is a fragment, without <html>, <body> or </body>")
            return [*self.release(), message]
        start = self._page_start(self._start, is_document=injector.is_document)
        self._start = None
        return [start, *_bodies(parts, more=more)]

    def _is_bare_head(self, chunk: bytes) -> bool:
        # Some frameworks answer a HEAD with the page, some with nothing: then its length cannot be told.
        return self._method == "HEAD" and not chunk

    def _page_start(self, start: Message, *, is_document: bool) -> Message:
        """Return the start with headers that are true of the body to come."""
        certain = is_document and not start.get("trailers")
        headers = for_changed_body(start["headers"], len(self._snippet) if certain else None)
        if self.is_personal:
            headers = for_person(headers)
        if self.is_once:
            headers = never_stored(headers)
        return with_cookies({**start, "headers": headers}, self.cookies if is_document else self.other_cookies)


def _bytes(message: Message) -> bytes:
    body = message.get("body", b"")
    return body if type(body) is bytes else bytes(body)


def _bodies(parts: list[bytes], *, more: bool) -> list[Message]:
    """Return the body messages for these parts, the last of them final unless more is to come."""
    if not parts and not more:
        parts = [b""]
    messages: list[Message] = [{"type": "http.response.body", "body": part, "more_body": True} for part in parts]
    if not more:
        messages[-1]["more_body"] = False
    return messages
