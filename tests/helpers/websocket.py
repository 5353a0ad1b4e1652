"""A WebSocket client that can also misbehave."""

from __future__ import annotations

import json
import socket
from typing import Any, Self
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    RejectConnection,
    Request,
    TextMessage,
)


class WebSocketClient:
    """A connection; `status` is that of the handshake."""

    def __init__(self, url: str, path: str, host: str | None = None, **headers: str) -> None:
        address = urlsplit(url)
        assert address.port
        self.socket = socket.create_connection(("127.0.0.1", address.port))
        self.socket.settimeout(20)
        self._state = WSConnection(ConnectionType.CLIENT)
        self._events: list[Event] = []
        extra = [(name.encode(), value.encode()) for name, value in headers.items()]
        target = Request(host=host or address.netloc, target=path, extra_headers=extra)
        self.socket.sendall(self._state.send(target))
        answer = self._next()
        if isinstance(answer, AcceptConnection):
            self.status = 101
        else:
            assert isinstance(answer, RejectConnection)
            self.status = answer.status_code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, frame: object) -> None:
        """Send a frame: text as it is, else as JSON."""
        text = frame if isinstance(frame, str) else json.dumps(frame)
        self.socket.sendall(self._state.send(TextMessage(text)))

    def send_event(self, event: Event) -> None:
        self.socket.sendall(self._state.send(event))

    def read(self, kind: str) -> Any:
        """Return the payload of the next frame of this type."""
        while True:
            event = self._next()
            assert isinstance(event, TextMessage), event
            message = json.loads(event.data)
            if message["type"] == kind:
                return message.get("payload")

    def closing(self) -> int | None:
        """Read to the end; return the code of closing, or None if the connection broke."""
        while True:
            event = self._next()
            if event is None:
                return None
            if isinstance(event, CloseConnection):
                return int(event.code)

    def _next(self) -> Event | None:
        while not self._events:
            try:
                data = self.socket.recv(65_536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._state.receive_data(data)
            self._events += list(self._state.events())
        return self._events.pop(0)
