"""The connections to User.com: TLS, proxies, and those that have ended while nobody used them."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, Listener, SocketAttribute
from anyio.streams.tls import TLSListener
from serving import certificate

from usercom_asgi import Unavailable, UserComConfig
from usercom_asgi.api.connections import tls_context
from usercom_asgi.api.http import Caller, open_caller

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n" + b'{"a": 1}'


async def read_head(stream: ByteStream) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    return data


class Server:
    """Answers on a loopback socket; ``heads`` is what it was asked, ``connections`` how often somebody came."""

    def __init__(self, *, answers: int = 1000) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self._answers = answers

    async def serve(self, stream: ByteStream) -> None:
        self.connections += 1
        try:
            async with stream:
                for _ in range(self._answers):
                    self.heads.append(await read_head(stream))
                    await stream.send(ANSWER)
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, ssl.SSLError):
            pass

    async def tunnel(self, stream: ByteStream) -> None:
        """Be a proxy: connect to whom they ask for, and pass everything on."""
        self.connections += 1
        head = await read_head(stream)
        self.heads.append(head)
        host, _, port = head.split()[1].decode().partition(":")
        other = await anyio.connect_tcp(host, int(port))
        await stream.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with stream, other, anyio.create_task_group() as tasks:
            tasks.start_soon(_pass_on, stream, other, tasks.cancel_scope)
            tasks.start_soon(_pass_on, other, stream, tasks.cancel_scope)


async def _pass_on(source: ByteStream, target: ByteStream, scope: anyio.CancelScope) -> None:
    try:
        async for data in source:
            await target.send(data)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass
    scope.cancel()


@asynccontextmanager
async def listening(serve: Callable[[ByteStream], Awaitable[None]], tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve connections so; yields the port."""
    tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = tcp.extra(SocketAttribute.local_port)
    listener: Listener[Any] = TLSListener(tcp, tls, standard_compatible=False) if tls else tcp
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield port
        tasks.cancel_scope.cancel()


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    """What a server needs whose certificate this process trusts."""
    cert_file, key_file = certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    monkeypatch.setenv("SSL_CERT_FILE", cert_file)
    tls_context.cache_clear()
    yield context
    tls_context.cache_clear()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def config(origin: str, timeout: float = 5) -> UserComConfig:
    return UserComConfig(base_url=origin, api_key="ABC123", timeout=timeout)


async def test_tls(tls: ssl.SSLContext) -> None:
    server = Server()
    async with listening(server.serve, tls) as port, open_caller(config(f"https://localhost:{port}")) as caller:
        for _ in range(3):
            assert await caller.ask("/x", {}) == b'{"a": 1}'
    assert server.connections == 1
    assert b"\r\nHost: localhost:%d\r\n" % port in server.heads[0]


async def test_a_certificate_that_nobody_trusts(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    server = Server()
    async with listening(server.serve, tls) as port, open_caller(config(f"https://localhost:{port}")) as caller:
        with pytest.raises(Unavailable) as raised:
            await caller.post("/x", {})
        assert raised.value.untouched
    assert server.heads == []


async def test_tls_through_a_proxy(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    server, proxy = Server(), Server()
    async with listening(server.serve, tls) as port, listening(proxy.tunnel) as proxy_port:
        monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{proxy_port}")
        async with open_caller(config(f"https://localhost:{port}")) as caller:
            for _ in range(3):
                assert await caller.ask("/x", {}) == b'{"a": 1}'
    assert len(server.heads) == 3
    assert proxy.connections == 1
    assert proxy.heads[0].startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % port)
    assert b"\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n" in proxy.heads[0]
    assert all(b"secret" not in head.lower() for head in server.heads)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_spoken_to_by_tls(tls: ssl.SSLContext, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For http it is asked itself; for https it connects, and there is TLS within TLS."""
    server, proxy = Server(), Server()
    serve = proxy.tunnel if scheme == "https" else proxy.serve
    async with listening(server.serve, tls) as port, listening(serve, tls) as proxy_port:
        monkeypatch.setenv(f"{scheme}_proxy", f"https://me:secret@localhost:{proxy_port}")
        async with open_caller(config(f"{scheme}://localhost:{port}")) as caller:
            for _ in range(2):
                assert await caller.ask("/x", {}) == b'{"a": 1}'
    assert proxy.connections == 1
    assert b"\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n" in proxy.heads[0]
    if scheme == "http":
        assert proxy.heads[0].startswith(b"POST http://localhost:%d/x HTTP/1.1\r\n" % port)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n", b"", b"what?\r\n\r\n"])
async def test_a_proxy_that_does_not_connect_us(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(stream: ByteStream) -> None:
        async with stream:
            await read_head(stream)
            if answer:
                await stream.send(answer)

    async with listening(serve) as port:
        monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{port}")
        async with open_caller(config("https://acme.user.com")) as caller:
            with pytest.raises(Unavailable) as raised:
                await caller.post("/x", {})
    assert raised.value.untouched
    assert ("the proxy answered 407" in str(raised.value)) is (b"407" in answer)
    assert "secret" not in str(raised.value)


async def test_a_server_that_never_shakes_hands() -> None:
    async def serve(stream: ByteStream) -> None:
        async with stream:
            await anyio.sleep(30)

    async with listening(serve) as port, open_caller(config(f"https://localhost:{port}", timeout=0.5)) as caller:
        with pytest.raises(Unavailable, match=r"no connection within 0\.5 s") as raised:
            await caller.post("/x", {})
    assert raised.value.untouched


async def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    """It would cost a command that is sent once, a reset, its one try."""
    server = Server(answers=1)
    async with listening(server.serve) as port, open_caller(config(f"http://127.0.0.1:{port}")) as caller:
        for _ in range(5):
            await caller.post("/x", {})
            await anyio.sleep(0.1)
    assert server.connections == 5


class Talkative(Server):
    """Answers its first request twice, and names in each answer whom it is for."""

    def __init__(self, size: int = 0) -> None:
        super().__init__()
        self._size = size

    async def serve(self, stream: ByteStream) -> None:
        self.connections += 1
        try:
            async with stream:
                while True:
                    head = await read_head(stream)
                    while b"}" not in head:
                        head += await stream.receive()
                    self.heads.append(head)
                    answer = head[head.index(b"{") :]
                    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
                    padding = b" " * max(0, self._size - len(head % self._size) - len(answer))
                    whole = head % len(answer + padding) + answer + padding
                    await stream.send(whole * (2 if len(self.heads) == 1 else 1))
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, ssl.SSLError):
            pass


async def two_visitors(caller: Caller) -> None:
    for who in ("alice", "bob", "carol"):
        assert json.loads(await caller.ask("/x", {"who": who})) == {"who": who}
        await anyio.sleep(0.05)


@pytest.mark.parametrize("size", [0, 2**14, 2**15, 2**16, 2**17])
@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_no_answer_is_taken_for_another_visitor_s(size: int, *, is_encrypted: bool, tls: ssl.SSLContext) -> None:
    """A server, or something before it, that answers once too often must not give Bob the key of Alice."""
    server = Talkative(size)
    scheme = "https" if is_encrypted else "http"
    async with listening(server.serve, tls if is_encrypted else None) as port:
        caller: Caller
        async with open_caller(config(f"{scheme}://localhost:{port}")) as caller:
            await two_visitors(caller)
    assert server.connections >= 2


async def test_the_same_by_tls_within_tls(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    server, proxy = Talkative(), Server()
    async with listening(server.serve, tls) as port, listening(proxy.tunnel, tls) as proxy_port:
        monkeypatch.setenv("https_proxy", f"https://localhost:{proxy_port}")
        async with open_caller(config(f"https://localhost:{port}")) as caller:
            await two_visitors(caller)
    assert server.connections == 2


async def test_connections_that_nobody_needs_any_more_are_closed() -> None:
    """After a burst the last one would be used for ever, and those below it would stay half closed."""
    server = Server(answers=2)
    async with listening(server.serve) as port, open_caller(config(f"http://127.0.0.1:{port}")) as caller:
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(caller.post, "/x", {})
        assert len(caller._idle) == server.connections > 1
        for _ in range(12):
            await caller.post("/x", {})
            await anyio.sleep(0.02)
        assert len(caller._idle) <= 1


async def test_a_call_that_ends_after_the_end_leaves_nothing_open() -> None:
    server = Server()
    async with listening(server.serve) as port:
        async with open_caller(config(f"http://127.0.0.1:{port}")) as caller:
            pass
        await caller.post("/x", {})
        assert caller._idle == []


async def test_a_call_that_is_cut_off_leaves_nothing_open() -> None:
    """With a body that nobody reads, of which the socket would wait to be rid."""

    async def serve(stream: ByteStream) -> None:
        async with stream:
            await anyio.sleep(20)

    async with listening(serve) as port, open_caller(config(f"http://127.0.0.1:{port}", timeout=0.2)) as caller:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(4):
            with pytest.raises(Unavailable):
                await caller.post("/x", {"much": "x" * 8_000_000})
        await anyio.sleep(0.1)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 4  # the server's side


async def test_ipv6() -> None:
    server = Server()
    try:
        tcp = await anyio.create_tcp_listener(local_host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = tcp.extra(SocketAttribute.local_port)
    async with tcp, anyio.create_task_group() as tasks:
        tasks.start_soon(tcp.serve, server.serve)
        async with open_caller(config(f"http://[::1]:{port}")) as caller:
            await caller.post("/x", {})
        tasks.cancel_scope.cancel()
    assert b"\r\nHost: [::1]:%d\r\n" % port in server.heads[0]
