"""Turns the ASGI messages of an HTML response into those of a page with the widget."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.log import INTERNAL_ERROR, log_no_widget
from .content_encoding import CodingError
from .headers import (
    VALIDATORS,
    make_private,
    set_no_store,
    update_entity_headers,
    values,
    with_cookies,
    without,
)
from .injector import Injector, Skipped, inject
from .validators import mark_validators, snippet_mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from starlette.types import Message

    from .content_encoding import Coding
    from .csp import CspSources
    from .headers import HeaderLayout, HeaderList
    from .injector import LongPage

logger = logging.getLogger("usercom_asgi")

# The start is sent after this many body messages, even if all their bytes are held.
_MAX_BUFFERED = 32
_NOTHING: Sequence[bytes] = ()


@dataclass(slots=True, repr=False, eq=False)
class PageSettings:
    """What one response may get: the snippet, and the headers that go with it."""

    #: The script tags to insert.
    snippet: bytes
    #: The request's method. The response to HEAD has no body.
    method: str = "GET"
    #: Insert at the end of the head instead of the body.
    in_head: bool = False
    #: The layout of the response's headers, if it is known.
    layout: HeaderLayout | None = None
    #: True if the snippet contains a visitor's data: shared caches must not
    #: store the page.
    private: bool = False
    #: True if the snippet has commands that must run once: no cache may store the page.
    no_store: bool = False
    #: ``Set-Cookie`` values for a response that certainly has the snippet.
    cookies: Sequence[bytes] = ()
    #: ``Set-Cookie`` values for a response without it, or that starts before
    #: this is known.
    cookies_without_snippet: Sequence[bytes] = ()
    #: The decoder and encoder of a compressed body.
    coding: Coding | None = None
    #: True if the snippet has the nonce of this response's policy: a 304 would bring
    #: another policy for the same page.
    has_nonce: bool = False
    #: The sources that a policy in the page has to allow.
    sources: CspSources | None = None


class PageResponse:
    """One response that may get the snippet.

    The start is held until the first bytes arrive, because its ``Content-Length``
    depends on them. A message of an unknown type, or an error of this library, releases
    all held messages unchanged and in order.

    Args:
        start: The application's ``http.response.start``. The response takes it over,
            with its list of headers.
        settings: The snippet, and how to insert it.

    """

    #: True once all further messages pass through unchanged.
    is_done = False
    #: Why the page goes without the snippet, once that is known.
    skip_reason: str | None = None
    # The injector of a stream whose start is sent: most chunks then pass unchanged.
    _stream: Injector | None = None
    _injector: Injector | None = None
    # The original messages that arrived while the start is held.
    _buffered: Sequence[Message] = ()

    def __init__(self, start: Message, settings: PageSettings) -> None:
        self._start: Message | None = start
        self._settings = settings
        self._coding = settings.coding
        self._is_head = settings.method == "HEAD"

    @property
    def has_started(self) -> bool:
        """True once the start has been sent."""
        return self._start is None

    def try_pass_through(self, message: Message) -> bool:
        """Return True if a message may be sent unchanged; else call `feed`."""
        try:
            return (
                (stream := self._stream) is not None
                and message["type"] == "http.response.body"
                and message.get("more_body") is True
                and type(body := message.get("body")) is bytes
                and stream.try_pass_through(body)
            )
        except Exception:
            # Never break the response because of our bug. The start is sent and nothing
            # is held, so just stop injecting.
            logger.exception(
                "Unexpected error in usercom-asgi, page gets no widget", extra=INTERNAL_ERROR
            )
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
                # Copy it, because the application may fill its buffer again.
                chunk = bytes(chunk)
                message = {**message, "body": chunk}
            is_whole = injector is None and (
                not more or self._is_complete(chunk) or (not chunk and self._is_head)
            )
            if self._coding is not None:
                chunk = self._coding.decode(chunk, last=is_whole or not more)
            return (
                self._whole(message, chunk, more=more)
                if is_whole
                else self._part(message, chunk, more=more)
            )
        except CodingError as error:
            self.skip_reason = "the body does not match its Content-Encoding"
            logger.warning(
                "Body of a page does not match its Content-Encoding (%s), sending %s unchanged",
                error,
                "it" if self._start is not None else "the rest",
                extra={"usercom_event": "page_encoding_invalid"},
            )
        except Exception:  # never break the response because of our bug
            logger.exception(
                "Unexpected error in usercom-asgi, page gets no widget", extra=INTERNAL_ERROR
            )
        return [*self.pass_through(held), message]

    def pass_through(self, held_bytes: Sequence[bytes] | None = None) -> list[Message]:
        """Return the held messages unchanged; all further messages pass through."""
        self.is_done, self._stream = True, None
        if self._start is not None:
            start, self._start = self._start, None
            return [self._with_cookies(start), *self._buffered]
        if held_bytes is None:
            held_bytes = self._injector.held if self._injector is not None else ()
        held = b"".join(held_bytes)
        if held and self._coding is not None:
            held = self._coding.encode(held, last=False)
        return [{"type": "http.response.body", "body": held, "more_body": True}] if held else []

    def _skip(self, reason: str) -> None:
        self.skip_reason = reason
        log_no_widget(reason)

    def _with_cookies(self, start: Message) -> Message:
        try:
            return with_cookies(start, self._settings.cookies_without_snippet)
        except Exception:  # malformed headers of the application must not hold the start back
            logger.exception(
                "Unexpected error in usercom-asgi, response is sent without its cookies",
                extra=INTERNAL_ERROR,
            )
            return start

    def _handle_unknown(self, message: Message) -> list[Message]:
        """Handle a message that is not a body: send the held bytes before it."""
        if self._start is not None or self._injector is None:
            self._skip(f"{message['type']} stands before its body")
            return [*self.pass_through(), message]
        # The headers that were sent describe the changed body, so go on after a
        # push or hint.
        held = self._encoded([self._injector.flush()], last=False)
        return [*_body_messages(held, more=True), message]

    def _whole(self, message: Message, page: bytes, *, more: bool) -> Iterable[Message]:
        """Handle a body that is one message."""
        # Some frameworks answer HEAD with the page, others with an empty body.
        is_bare_head = self._is_head and not page
        made = (
            b""
            if is_bare_head
            else inject(
                page,
                self._settings.snippet,
                in_head=self._settings.in_head,
                sources=self._settings.sources,
            )
        )
        start = self._start
        if isinstance(made, Skipped):
            self._skip(made.reason)
            return [*self.pass_through(), message]
        if start is None:
            return [*self.pass_through(), message]
        if self._coding is not None and not is_bare_head:
            made = self._coding.encode(
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
        """Handle one of several messages of a body."""
        injector = self._injector = self._injector or Injector(
            self._settings.snippet,
            in_head=self._settings.in_head,
            sources=self._settings.sources,
        )
        parts = injector.feed(chunk, last=not more)
        if injector.reason is not None and not injector.is_done and not more:
            self._skip(injector.reason)
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
        elif self._coding is None:
            self._stream, self.is_done = injector, injector.is_done
        return bodies

    def _encoded(self, parts: list[bytes], *, last: bool) -> list[bytes]:
        if self._coding is None or not (last or any(parts)):
            return [part for part in parts if part]
        return [self._coding.encode(b"".join(parts), last=last)]

    def _is_complete(self, chunk: bytes) -> bool:
        # Quart sends the whole page with more_body=True, and then an
        # empty last message.
        lengths = values(self._start["headers"], b"content-length") if self._start else []
        return len(lengths) == 1 and lengths[0] == b"%d" % len(chunk)

    def _page_start(self, start: Message, length: int | None, *, has_snippet: bool) -> Message:
        """Return the start with headers that describe the changed body."""
        settings = self._settings
        length = None if start.get("trailers") else length
        headers = start["headers"]
        if settings.layout is None or not settings.layout.is_plain:
            headers = self._with_validators(headers)
        headers = update_entity_headers(headers, length, settings.layout)
        if settings.private:
            headers = make_private(headers)
        if settings.no_store:
            headers = set_no_store(headers)
        if cookies := settings.cookies if has_snippet else settings.cookies_without_snippet:
            return with_cookies({**start, "headers": headers}, cookies)
        # Last, because the start must stay unchanged if anything above fails.
        start["headers"] = headers
        return start

    def _with_validators(self, headers: HeaderList) -> HeaderList:
        """Return headers whose validators change with the snippet."""
        settings = self._settings
        if settings.private or settings.no_store or settings.has_nonce:
            return without(headers, VALIDATORS)
        return mark_validators(headers, snippet_mark(settings.snippet, in_head=settings.in_head))


def _body_messages(parts: list[bytes], *, more: bool) -> list[Message]:
    """Return a body message for each part; the last ends the body unless ``more``."""
    if not parts and not more:
        parts = [b""]
    last = len(parts)
    return [
        {"type": "http.response.body", "body": part, "more_body": more or n < last}
        for n, part in enumerate(parts, 1)
    ]


def _long_page_messages(start: Message, made: LongPage, *, more: bool) -> Iterator[Message]:
    """Yield the messages of a long page, each made after the previous one was sent."""
    yield start
    left = len(made)
    for part in made:
        left -= len(part)
        yield {"type": "http.response.body", "body": part, "more_body": more or left > 0}
