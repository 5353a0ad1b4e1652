"""What comes over the wire, from sockets that misbehave."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from usercom_asgi import Refused, Unavailable, UserComConfig
from usercom_asgi.api.http import Caller, open_caller

Serve = Callable[[SocketStream], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@asynccontextmanager
async def served(serve: Serve, *, whole: float | None = None, **settings: Any) -> AsyncIterator[Caller]:
    """Have a caller for somebody who answers so; ``whole`` bounds a call, where no phase is to come to its own bound."""

    async def handle(stream: SocketStream) -> None:
        try:
            async with stream:
                await serve(stream)
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
            pass

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        config = UserComConfig(base_url=f"http://127.0.0.1:{port}", api_key="ABC123", **{"timeout": 5, **settings})
        async with open_caller(config) as caller:
            assert caller._longest == 3 * config.timeout
            caller._longest = whole or caller._longest
            yield caller
        tasks.cancel_scope.cancel()


async def request(stream: SocketStream) -> bytes:
    """Read one request, headers and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += await stream.receive()
    return head + b"\r\n\r\n" + body


class Always:
    """Answers all requests with the same bytes; ``connections`` is how often somebody came."""

    def __init__(self, answer: bytes) -> None:
        self.connections = 0
        self._answer = answer

    async def __call__(self, stream: SocketStream) -> None:
        self.connections += 1
        while True:
            await request(stream)
            await stream.send(self._answer)


async def drip(stream: SocketStream, answer: bytes, pause: float = 0.05) -> None:
    for n in range(len(answer)):
        await stream.send(answer[n : n + 1])
        await anyio.sleep(pause)


async def test_an_answer_in_drips_ends_within_a_bound() -> None:
    """Each byte comes within the timeout of a phase, and the whole would take half an hour."""

    async def serve(stream: SocketStream) -> None:
        await request(stream)
        await drip(stream, b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 1000)

    async with served(serve, whole=1.5) as caller:
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"no whole answer within 1\.5 s"):
            await caller.post("/x", {})
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("wants_answer", [True, False])
async def test_what_has_its_status_is_done_though_its_body_drips(*, wants_answer: bool) -> None:
    """A command that User.com has taken is not sent twice, for a body that nobody reads."""

    async def serve(stream: SocketStream) -> None:
        await request(stream)
        await stream.send(HEAD % 1000)
        await drip(stream, b" " * 1000)

    await assert_only_the_body_is_missed(serve, wants_answer=wants_answer)


@pytest.mark.parametrize("wants_answer", [True, False])
async def test_the_same_where_the_connection_breaks_in_the_body(*, wants_answer: bool) -> None:
    async def serve(stream: SocketStream) -> None:
        await request(stream)
        await stream.send(HEAD % 1000 + b"{")

    await assert_only_the_body_is_missed(serve, wants_answer=wants_answer)


async def assert_only_the_body_is_missed(serve: Serve, *, wants_answer: bool) -> None:
    async with served(serve, whole=1.5) as caller:
        if wants_answer:
            with pytest.raises(Unavailable):
                await caller.ask("/x", {})
        else:
            await caller.post("/x", {})


async def test_a_connection_that_is_dropped_after_the_request_may_have_been_carried_out() -> None:
    async def serve(stream: SocketStream) -> None:
        await request(stream)

    async with served(serve) as caller:
        with pytest.raises(Unavailable) as raised:
            await caller.post("/x", {})
        assert not raised.value.untouched


async def test_nobody_listens() -> None:
    async with open_caller(UserComConfig(base_url="http://127.0.0.1:9", api_key="ABC123", timeout=0.3)) as caller:
        with pytest.raises(Unavailable) as raised:
            await caller.post("/x", {})
        assert raised.value.untouched


async def test_an_answer_without_end_is_not_read_into_memory() -> None:
    sent = 0

    async def serve(stream: SocketStream) -> None:
        nonlocal sent
        await request(stream)
        await stream.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            await stream.send(b"x" * 100_000)
            sent += 100_000

    async with served(serve, timeout=5) as caller:
        await caller.post("/x", {})
        with pytest.raises(Unavailable):
            await caller.ask("/x", {})
    assert sent < 40_000_000


async def test_a_compressed_answer_and_a_cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has asked for either: the one is understood, the other does not go out with the next visitor's call."""
    import gzip

    heads: list[bytes] = []

    async def serve(stream: SocketStream) -> None:
        while True:
            heads.append(await request(stream))
            body = gzip.compress(b'{"a": 1}')
            head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nSet-Cookie: sessionid=1\r\nContent-Length: %d\r\n\r\n"
            await stream.send(head % len(body) + body)

    async with served(serve) as caller:
        for _ in range(2):
            assert await caller.ask("/x", {}) == b'{"a": 1}'
    assert all(b"sessionid" not in head for head in heads)


async def test_a_redirect_is_not_followed() -> None:
    async def serve(stream: SocketStream) -> None:
        await request(stream)
        await stream.send(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
        pytest.fail(str(await stream.receive()))

    async with served(serve) as caller:
        with pytest.raises(Refused) as raised:
            await caller.post("/x", {})
        assert raised.value.status == 302


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "is_kept"),
    [
        (HEAD % 8 + b'{"a": 1}', True),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n8\r\n" + b'{"a": 1}' + b"\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + HEAD % 8 + b'{"a": 1}', True),
        (OK + b"Connection: close\r\nContent-Length: 8\r\n\r\n" + b'{"a": 1}', False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\n" + b'{"a": 1}', False),
        (HEAD % 8 + b'{"a": 1}' + b"HTTP/1.1 200 OK", False),  # more than was asked for: whose would it be?
    ],
)
async def test_answers_of_all_shapes(answer: bytes, *, is_kept: bool) -> None:
    server = Always(answer)
    async with served(server) as caller:
        for _ in range(3):
            assert await caller.ask("/x", {}) == b'{"a": 1}'
        await caller.post("/x", {})
    assert server.connections == (1 if is_kept else 4)


async def test_an_answer_that_ends_with_its_connection() -> None:
    async def serve(stream: SocketStream) -> None:
        await request(stream)
        await stream.send(OK + b'\r\n{"a": 1}')

    async with served(serve) as caller:
        for _ in range(2):
            assert await caller.ask("/x", {}) == b'{"a": 1}'


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x16\x03\x01 this is not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        OK + b"X-Long: " + b"x" * 200_000 + b"\r\n\r\n",
        OK[:9],
    ],
)
async def test_what_is_no_answer(answer: bytes) -> None:
    async def serve(stream: SocketStream) -> None:
        await request(stream)
        await stream.send(answer)

    async with served(serve) as caller:
        for _ in range(2):
            with pytest.raises(Unavailable) as raised:
                await caller.post("/x", {})
            assert not raised.value.untouched


async def test_a_no_that_comes_before_the_request_has_gone() -> None:
    """What takes no large body answers at its head, and lets the rest run through."""

    async def serve(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!")
        async for _ in stream:
            pass

    async with served(serve) as caller:
        with pytest.raises(Refused) as raised:
            await caller.post("/x", {"much": "x" * 8_000_000})
        assert raised.value.status == 413


async def test_a_phase_is_bounded_by_the_timeout() -> None:
    """Nothing comes after the head: that is one phase, and not the whole of three."""

    async def serve(stream: SocketStream) -> None:
        await request(stream)
        await anyio.sleep(0.3)
        await stream.send(b"HTTP/1.1 200 OK\r\n")
        await anyio.sleep(30)

    async with served(serve, timeout=0.5) as caller:
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"no whole answer within 0\.5 s"):
            await caller.post("/x", {})
        assert time.monotonic() - began < 20


async def test_connections_are_used_again() -> None:
    server = Always(HEAD % 2 + b"{}")
    async with served(server, timeout=5) as caller:
        for _ in range(20):
            await caller.post("/x", {"n": 1})
    assert server.connections == 1


async def test_a_slot_is_not_lost_with_a_call_that_was_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """httpx loses slots of a pool that is contended; ours is not (asgi-checklist, fact 6)."""
    is_slow = True

    async def serve(stream: SocketStream) -> None:
        while True:
            await request(stream)
            if is_slow:
                await drip(stream, b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 1000)
            await stream.send(HEAD % 2 + b"{}")

    async with served(serve, timeout=5, max_concurrency=4) as caller:
        monkeypatch.setattr(caller, "_longest", 0.9)
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(_fails, caller)
        monkeypatch.undo()
        is_slow = False
        for _ in range(20):
            await caller.post("/x", {})


async def _fails(caller: Caller) -> None:
    with pytest.raises(Unavailable):
        await caller.post("/x", {})


async def test_the_environment_s_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def serve(stream: SocketStream) -> None:
        asked.append(await request(stream))
        await stream.send(HEAD % 2 + b"{}")

    async with served(serve) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy._route.authority}")
        monkeypatch.delenv("no_proxy", raising=False)
        config = UserComConfig(base_url="http://usercom.example.com", api_key="ABC123", timeout=5)
        async with open_caller(config) as caller:
            await caller.post("/x", {})
        monkeypatch.setenv("no_proxy", "example.com")
        async with open_caller(config) as caller:
            with pytest.raises(Unavailable):
                await caller.post("/x", {})
    assert len(asked) == 1
    assert asked[0].startswith(b"POST http://usercom.example.com/x HTTP/1.1")
