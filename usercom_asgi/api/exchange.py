"""HTTP/1.1 on a connection that is kept: h11 says what the bytes mean, anyio carries them."""

from __future__ import annotations

import select
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import h11
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anyio.abc import AnyByteStream, ByteStream

# Seconds for which a connection that nobody uses is kept.
_KEPT = 30.0
_LONGEST_HEAD = 100 * 1024
_LONGEST_ANSWER = 4 * 1024 * 1024
# After a longer one its connection is closed. asyncio reads up to 256 KiB at a time, of which anyio gives out 64: what is
# behind an answer of this length would be seen, by h11 or in what is not decrypted yet.
_LONGEST_KEPT = 32 * 1024
_END = h11.EndOfMessage()


@dataclass(slots=True, repr=False)  # its body may name a key
class Reply:
    """What was answered, as far as it has come; ``status`` is 0 before it has."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    parts: list[bytes] = field(default_factory=list[bytes])
    is_whole: bool = False


class PhaseLimit:
    """Bounds a call: so many seconds without any progress, and so many in all."""

    __slots__ = ("_each", "_end", "_longest", "_since", "bound", "scope")

    def __init__(self, each: float, longest: float) -> None:
        self._each = each
        self._longest = longest
        self._since = time.monotonic()
        self._end = self._since + longest
        #: The seconds that are over if it ends without any more progress.
        self.bound = min(each, longest)
        self.scope = anyio.CancelScope(deadline=anyio.current_time() + self.bound)

    def progress(self) -> None:
        """Begin the next phase."""
        now = time.monotonic()
        # Most phases take no time worth mentioning, and to move a deadline costs as much as to send a request.
        if now - self._since < self._each / 10:
            return
        self._since = now
        left = self._end - now
        self.bound = self._each if self._each < left else self._longest
        self.scope.deadline = anyio.current_time() + min(self._each, left)


class Connection:
    """One connection to User.com, or through a proxy to it; one exchange at a time."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610  not Django's
        self._tls = list(_layers(stream))
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
        self._received_bytes = 0
        self._used = time.monotonic()

    async def exchange(self, request: h11.Request, content: bytes, reply: Reply, progress: Callable[[], None]) -> None:
        """Send a request, and fill in what is answered; ``progress`` is called whenever something went or came.

        An answer that is too long is left unread, and not whole.

        Raises:
            OSError, anyio.BrokenResourceError: The connection broke.
            h11.RemoteProtocolError: It ended too early, or what came is no HTTP.

        """
        # In one piece: one system call, and one packet.
        data = b"".join(self._http.send(event) or b"" for event in (request, h11.Data(data=content), _END))
        self._received_bytes = 0
        with suppress(anyio.BrokenResourceError):  # there may be an answer all the same: a no to the beginning of it
            await self._stream.send(data)
        progress()
        await self._receive(reply, progress)
        self._used = time.monotonic()
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()

    async def _receive(self, reply: Reply, progress: Callable[[], None]) -> None:
        size = 0
        while not reply.is_whole and size <= _LONGEST_ANSWER:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._received())
                progress()
            elif isinstance(event, h11.Response):
                reply.status, reply.headers = event.status_code, list(event.headers)
            elif isinstance(event, h11.Data):
                reply.parts.append(bytes(event.data))
                size += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                reply.is_whole = True
            elif event is h11.PAUSED:  # a proxy has connected us: what follows is not HTTP
                return

    async def _received(self) -> bytes:
        try:
            data = await self._stream.receive()
        except anyio.EndOfStream:
            return b""  # which h11 understands: it may be the answer's proper end
        self._received_bytes += len(data)
        return data

    @property
    def is_ready(self) -> bool:
        """Whether the last exchange left it so that there can be one more."""
        is_idle = self._http.our_state is h11.IDLE and not self._http.trailing_data[0]
        return is_idle and self._received_bytes <= _LONGEST_KEPT

    @property
    def has_ended(self) -> bool:
        """Whether nobody used it for too long, or something came unasked.

        Mostly that is the other side's goodbye. If it were an answer, the next visitor's call would take it for its own.
        """
        if time.monotonic() - self._used > _KEPT or any(map(_holds_more, self._tls)):
            return True
        handle = self._socket.fileno()
        if handle < 0:
            return True
        if not hasattr(select, "poll"):  # Windows
            return bool(select.select([handle], [], [], 0)[0])
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(0))

    async def aclose(self) -> None:
        """Close it, without waiting for the other side."""
        await close(self._stream)


async def close(stream: ByteStream) -> None:
    """Close a stream at once, whatever is still to be sent.

    Not by ``aclose_forcefully``, in whose cancelled scope anyio before 4.16 never gets to give the socket back.
    """
    with anyio.CancelScope(shield=True):
        await stream.aclose()


def _layers(stream: AnyByteStream) -> Iterator[ssl.SSLObject]:
    """Yield what decrypts a stream; through a proxy that is spoken to by TLS these are two."""
    while isinstance(stream, TLSStream):
        yield stream.extra(TLSAttribute.ssl_object)  # noqa: S610  not Django's
        stream = stream.transport_stream


def _holds_more(decrypts: ssl.SSLObject) -> bool:
    """Tell whether something was received and is not read yet (or is the end of it all)."""
    try:
        decrypts.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        pass
    return True
