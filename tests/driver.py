"""A raw ASGI driver: what it records is what a server would have been sent, message by message.

TestClient hides too much: HEAD bodies, chunk boundaries, message types, and the order of it all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HeaderArg = dict[str, str] | Iterable[tuple[bytes, bytes]]


@dataclass
class Recorded:
    """What an application sent."""

    scope: Scope
    messages: list[Message] = field(default_factory=list)

    @property
    def types(self) -> list[str]:
        return [message["type"].removeprefix("http.response.") for message in self.messages]

    @property
    def start(self) -> Message:
        starts = [message for message in self.messages if message["type"] == "http.response.start"]
        assert len(starts) == 1, f"{len(starts)} starts"
        return starts[0]

    @property
    def status(self) -> int:
        return int(self.start["status"])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return list(self.start["headers"])

    @property
    def chunks(self) -> list[bytes]:
        return [bytes(m.get("body", b"")) for m in self.messages if m["type"] == "http.response.body"]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def text(self) -> str:
        return self.body.decode()

    def all(self, name: str) -> list[str]:
        return [value.decode("latin-1") for each, value in self.headers if each.lower() == name.encode()]

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None

    def set_cookies(self, name: str) -> list[str]:
        return [value for value in self.all("set-cookie") if value.startswith(f"{name}=")]

    def assert_legal(self) -> None:
        """The order and the lengths that a server insists on."""
        assert self.types[0] == "start"
        assert self.types.count("start") == 1
        bodies = [message for message in self.messages if message["type"] == "http.response.body"]
        assert [bool(each.get("more_body", False)) for each in bodies] == [True] * (len(bodies) - 1) + [False]
        declared = self.header("content-length")
        if declared is not None and self.scope["method"] != "HEAD":
            assert int(declared) == len(self.body)


def http_scope(
    path: str = "/",
    *,
    method: str = "GET",
    headers: HeaderArg = (),
    scheme: str = "http",
    host: str = "shop.example.com",
    query: str = "",
    **more: Any,
) -> Scope:
    pairs = (
        [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()] if isinstance(headers, dict) else list(headers)
    )
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", host.encode()), *pairs],
        "client": ("192.0.2.1", 50000),
        "server": ("127.0.0.1", 8000),
        **more,
    }


async def call(app: ASGIApp, path: str = "/", *, body: bytes = b"", record: Recorded | None = None, **scope: Any) -> Recorded:
    """Send one request; return what came, also through `record` when the application raises."""
    recorded = record or Recorded(http_scope(path, **scope))
    if record:
        record.scope = http_scope(path, **scope)
    requests: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if requests:
            return requests.pop(0)
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    async def send(message: Message) -> None:
        recorded.messages.append(message)

    await app(recorded.scope, receive, send)
    return recorded


@asynccontextmanager
async def lifespan(
    app: ASGIApp, state: dict[str, Any] | None = None, *, no_state: bool = False
) -> AsyncIterator[dict[str, Any]]:
    """Run the application's lifespan around the block; yields the state that requests get a copy of."""
    state = {} if state is None else state
    scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
    if not no_state:
        scope["state"] = state
    to_app, from_server = anyio.create_memory_object_stream[Message](10)
    sent: dict[str, anyio.Event] = {f"lifespan.{each}.complete": anyio.Event() for each in ("startup", "shutdown")}

    async def send(message: Message) -> None:
        sent[message["type"]].set()

    async with to_app, from_server, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(_run, app, scope, from_server.receive, send))
        await to_app.send({"type": "lifespan.startup"})
        with anyio.fail_after(10):
            await sent["lifespan.startup.complete"].wait()
        yield state
        await to_app.send({"type": "lifespan.shutdown"})
        with anyio.fail_after(20):
            await sent["lifespan.shutdown.complete"].wait()


def answers(*messages: Message) -> ASGIApp:
    """An application that sends just these messages to whoever asks, and has no lifespan."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        for message in messages:
            await send(message)

    return app


def start(headers: HeaderArg | None = None, status: int = 200, **more: Any) -> Message:
    given: HeaderArg = {"content-type": "text/html; charset=utf-8"} if headers is None else headers
    if isinstance(given, dict):
        given = [(k.encode(), v.encode("latin-1")) for k, v in given.items()]
    return {"type": "http.response.start", "status": status, "headers": given, **more}


def body(content: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


def html(
    content: bytes, *chunks: bytes, headers: dict[str, str] | None = None, length: bool = True, status: int = 200
) -> ASGIApp:
    """An application that answers a page, in one or more chunks."""
    whole = b"".join((content, *chunks))
    given = {
        "content-type": "text/html; charset=utf-8",
        **({"content-length": str(len(whole))} if length else {}),
        **(headers or {}),
    }
    parts = [content, *chunks]
    return answers(start(given, status), *(body(part, more=True) for part in parts[:-1]), body(parts[-1]))


async def _run(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


async def until(condition: Callable[[], object], within: float = 10.0) -> None:
    """Wait for something that happens in the background."""
    with anyio.fail_after(within):
        while not condition():
            await anyio.sleep(0.005)
