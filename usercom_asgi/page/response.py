"""One HTML response on its way out: takes the application's messages, gives back those to send."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .content_encoding import CodingError
from .headers import (
    header_layout,
    make_private,
    set_no_store,
    update_entity_headers,
    values,
    with_cookies,
)
from .injector import Injector, Skipped, inject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from starlette.types import Message

    from .content_encoding import Coding
    from .headers import HeaderLayout
    from .injector import LongPage

logger = logging.getLogger("usercom_asgi")

# Messages that may come before the start is sent: more of them, and it goes without them.
_MAX_BUFFERED = 32
_NOTHING: Sequence[bytes] = ()


class PageResponse:
    """Puts the snippet into a response, or lets it pass as it was made.

    ``start`` is held until the first bytes are there, since its ``Content-Length`` depends on them. A message of an unknown
    type, and any error of ours, releases what is held, unchanged and in order.

    Args:
        start: The application's ``http.response.start``; with its list of headers it is the page's own from now on.
        snippet: What goes in.
        method: The request's method; a HEAD has no body to look at.
        in_head: At the end of the head, not of the body.
        shape: Of the headers, if it is known.

    """

    #: The snippet holds a visitor's data: no shared cache may keep the page.
    private = False
    #: What the snippet says is to be said once: no cache at all may keep the page.
    no_store = False
    #: ``Set-Cookie`` values for a response that carries the snippet for sure.
    cookies: Sequence[bytes] = ()
    #: ``Set-Cookie`` values for one that does not, or for which that is not known yet when it starts.
    cookies_without_snippet: Sequence[bytes] = ()
    #: Decodes the body, and encodes it again.
    coding: Coding | None = None
    #: Nothing is held, and nothing will be: what follows passes through.
    is_done = False
    # Looks for the place in a body that comes in parts, once the start has gone out: then most of them pass as they are.
    _stream: Injector | None = None
    _injector: Injector | None = None
    #: What was taken while the start is held, as it came.
    _buffered: Sequence[Message] = ()

    def __init__(
        self,
        start: Message,
        snippet: bytes,
        method: str = "GET",
        *,
        in_head: bool = False,
        layout: HeaderLayout | None = None,
    ) -> None:
        self._start: Message | None = start
        self._layout = layout or header_layout(start["headers"])
        self._snippet = snippet
        self._is_head = method == "HEAD"
        self._in_head = in_head

    @property
    def has_started(self) -> bool:
        """True once the start has gone out."""
        return self._start is None

    def try_pass_through(self, message: Message) -> bool:
        """Tell whether a message may go out as it is, in the middle of a stream; if not, :meth:`feed` is to have it."""
        try:
            return (
                (stream := self._stream) is not None
                and message["type"] == "http.response.body"
                and message.get("more_body") is True
                and type(body := message.get("body")) is bytes
                and stream.try_pass_through(body)
            )
        except Exception:
            # The page wins, as in `feed`; the start has gone out and nothing is held, so there is nothing to send.
            logger.exception("the widget was left out of a page: an error in usercom-asgi")
            self.pass_through()
            return True

    def feed(self, message: Message) -> Iterable[Message]:
        """Take the application's next message; return the messages to send now."""
        if self.is_done:
            return (message,)
        injector = self._injector
        held = _NOTHING if injector is None else injector.held
        try:
            if message["type"] != "http.response.body":
                return self._handle_unknown(message)
            more, chunk = message.get("more_body", False), message.get("body", b"")
            if type(chunk) is not bytes:
                chunk = bytes(chunk)
                message = {
                    **message,
                    "body": chunk,
                }  # a buffer of the application's, who may fill it again
            is_whole = injector is None and (
                not more or self._is_complete(chunk) or (not chunk and self._is_head)
            )
            if self.coding is not None:
                chunk = self.coding.decode(chunk, last=is_whole or not more)
            return (
                self._whole(message, chunk, more=more)
                if is_whole
                else self._part(message, chunk, more=more)
            )
        except CodingError as error:
            how = (
                "passes as it came"
                if self._start is not None
                else "goes on as it came, in the middle"
            )
            logger.warning("a page %s: its body is not what Content-Encoding says (%s)", how, error)
        except Exception:  # the page wins: whatever fails in us, its own bytes go out
            logger.exception("the widget was left out of a page: an error in usercom-asgi")
        return [*self.pass_through(held), message]

    def pass_through(self, held_bytes: Sequence[bytes] | None = None) -> list[Message]:
        """Step aside: return what is held, unchanged; all that follows passes through."""
        self.is_done, self._stream = True, None
        if self._start is not None:
            start, self._start = self._start, None
            return [self._with_cookies(start), *self._buffered]
        if held_bytes is None:
            held_bytes = self._injector.held if self._injector is not None else ()
        held = b"".join(held_bytes)
        if held and self.coding is not None:
            held = self.coding.encode(held, last=False)
        return [{"type": "http.response.body", "body": held, "more_body": True}] if held else []

    def _with_cookies(self, start: Message) -> Message:
        try:
            return with_cookies(start, self.cookies_without_snippet)
        except Exception:  # the application's headers may be anything, and the start must go out
            logger.exception("a response goes without its cookies: an error in usercom-asgi")
            return start

    def _handle_unknown(self, message: Message) -> list[Message]:
        """Take a message that is no body: what is held goes before it."""
        if self._start is not None or self._injector is None:
            return [*self.pass_through(), message]
        # The start has gone out, and says that the body is ours: a push or a hint does not change that.
        held = self._encoded([self._injector.flush()], last=False)
        return [*_body_messages(held, more=True), message]

    def _whole(self, message: Message, page: bytes, *, more: bool) -> Iterable[Message]:
        """Take a body that is one message."""
        is_bare_head = (
            self._is_head and not page
        )  # some frameworks answer it with the page, some with nothing
        made = b"" if is_bare_head else inject(page, self._snippet, in_head=self._in_head)
        start = self._start
        if isinstance(made, Skipped):
            logger.debug("Page gets no widget: %s", made.reason)
            return [*self.pass_through(), message]
        if start is None:
            return [*self.pass_through(), message]
        if self.coding is not None and not is_bare_head:
            made = self.coding.encode(
                made if isinstance(made, bytes) else b"".join(made), last=True
            )
        start = self._page_start(
            start, None if is_bare_head else len(made), has_snippet=not is_bare_head
        )
        self._start, self.is_done = None, True
        if isinstance(made, bytes):
            return (start, {"type": "http.response.body", "body": made, "more_body": more})
        return _long_page_messages(start, made, more=more)

    def _part(self, message: Message, chunk: bytes, *, more: bool) -> list[Message]:
        """Take a part of a body."""
        injector = self._injector = self._injector or Injector(self._snippet, in_head=self._in_head)
        parts = injector.feed(chunk, last=not more)
        if injector.reason is not None and not injector.is_done and not more:
            logger.debug("Page gets no widget: %s", injector.reason)
            if self._start is not None:
                return [*self.pass_through(), message]
        bodies = _body_messages(self._encoded(parts, last=not more), more=more)
        if self._start is not None:
            if more and not parts and len(self._buffered) < _MAX_BUFFERED:
                self._buffered = [*self._buffered, {**message}]
                return []
            bodies.insert(
                0, self._page_start(self._start, None, has_snippet=injector.is_done or not more)
            )
            self._start, self._buffered = None, ()
        if not more:
            self.is_done, self._stream = True, None
        elif self.coding is None:
            self._stream, self.is_done = injector, injector.is_done
        return bodies

    def _encoded(self, parts: list[bytes], *, last: bool) -> list[bytes]:
        if self.coding is None or not (last or any(parts)):
            return [part for part in parts if part]
        return [self.coding.encode(b"".join(parts), last=last)]

    def _is_complete(self, chunk: bytes) -> bool:
        # Quart sends a page and then an empty end; a length that is there already tells the same.
        lengths = values(self._start["headers"], b"content-length") if self._start else []
        return len(lengths) == 1 and lengths[0] == b"%d" % len(chunk)

    def _page_start(self, start: Message, length: int | None, *, has_snippet: bool) -> Message:
        """Return the start with headers that are true of the body to come."""
        length = None if start.get("trailers") else length
        headers = update_entity_headers(start["headers"], length, self._layout)
        if self.private:
            headers = make_private(headers)
        if self.no_store:
            headers = set_no_store(headers)
        if cookies := self.cookies if has_snippet else self.cookies_without_snippet:
            return with_cookies({**start, "headers": headers}, cookies)
        start["headers"] = headers  # at last: if anything above has failed, it goes out as it came
        return start


def _body_messages(parts: list[bytes], *, more: bool) -> list[Message]:
    """Return the body messages for these parts, the last of them final unless more is to come."""
    if not parts and not more:
        parts = [b""]
    last = len(parts)
    return [
        {"type": "http.response.body", "body": part, "more_body": more or n < last}
        for n, part in enumerate(parts, 1)
    ]


def _long_page_messages(start: Message, made: LongPage, *, more: bool) -> Iterator[Message]:
    """Yield the messages of a long page; each is made when the one before it has been sent."""
    yield start
    left = len(made)
    for part in made:
        left -= len(part)
        yield {"type": "http.response.body", "body": part, "more_body": more or left > 0}
