"""Guards ``api/client.py``: what it makes of servers and proxies that misbehave."""

from __future__ import annotations

import gzip
import json
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import ByteStream, Listener, SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener
from helpers.fake_usercom import CONFIG
from helpers.serving import certificate

from usercom_asgi import ConfigurationError, UserComClient, UserComConfig, UserComMiddleware
from usercom_asgi.api import client as module
from usercom_asgi.api.client import (
    ApiClient,
    Response,
    environment_proxy,
    open_api_client,
    ssl_context,
)
from usercom_asgi.core.exceptions import RejectedError, UnavailableError

if TYPE_CHECKING:
    import httpx2 as httpx
else:
    httpx = module.httpx

Serve = Callable[[SocketStream], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n" + b'{"a": 1}'


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def post(client: ApiClient, body: object = None) -> None:
    assert await client.post_json("/x", body or {}, {}) == b""


async def ask(client: ApiClient, body: object = None) -> bytes:
    return await client.post_json("/x", body or {}, {}, read_body=True)


@asynccontextmanager
async def served(
    serve: Serve, *, total_timeout: float | None = None, **settings: Any
) -> AsyncIterator[ApiClient]:
    """Serve with this function; yields a client of the server."""

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
        config = UserComConfig(
            base_url=f"http://127.0.0.1:{port}", api_key="ABC123", **{"timeout": 5, **settings}
        )
        async with open_api_client(config, None) as client:
            assert client._total_timeout == 3 * config.timeout
            client._total_timeout = total_timeout or client._total_timeout
            yield client
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


class ConstantServer:
    """Sends the same response to all requests; counts its ``connections``."""

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


@pytest.mark.waits
async def test_post_json_response_in_drips_ends_at_the_total_timeout() -> None:
    """Each byte comes within the timeout of a phase, and the whole would take half an hour."""

    async def serve(stream: SocketStream) -> None:
        await request(stream)
        await drip(stream, b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 1000)

    async with served(serve, total_timeout=1.5) as client:
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=r"POST /x: no response in 1\.5 s"):
            await post(client)
        assert time.monotonic() - began < 20


@pytest.mark.waits
@pytest.mark.parametrize("wants_answer", [True, False])
async def test_post_json_body_in_drips_raises_only_with_read_body(*, wants_answer: bool) -> None:
    """An accepted command is not sent again when its unread response body fails."""

    async def serve(stream: SocketStream) -> None:
        await request(stream)
        await stream.send(HEAD % 1000)
        await drip(stream, b" " * 1000)

    await assert_raises_only_with_read_body(serve, wants_answer=wants_answer)


@pytest.mark.parametrize("wants_answer", [True, False])
async def test_post_json_connection_broken_in_the_body_raises_only_with_read_body(
    *, wants_answer: bool
) -> None:
    async def serve(stream: SocketStream) -> None:
        await request(stream)
        await stream.send(HEAD % 1000 + b"{")

    await assert_raises_only_with_read_body(serve, wants_answer=wants_answer)


async def assert_raises_only_with_read_body(serve: Serve, *, wants_answer: bool) -> None:
    async with served(serve, total_timeout=1.5) as client:
        if wants_answer:
            with pytest.raises(UnavailableError):
                await ask(client)
        else:
            await post(client)


async def test_post_json_connection_dropped_after_the_request_may_have_been_sent() -> None:
    async def serve(stream: SocketStream) -> None:
        await request(stream)

    async with served(serve) as client:
        with pytest.raises(UnavailableError) as raised:
            await post(client)
        assert not raised.value.not_sent


async def test_post_json_port_without_a_server_is_not_sent() -> None:
    async with open_api_client(
        UserComConfig(base_url="http://127.0.0.1:9", api_key="ABC123", timeout=0.3), None
    ) as client:
        with pytest.raises(UnavailableError) as raised:
            await post(client)
        assert raised.value.not_sent


async def test_post_json_response_without_end_is_read_up_to_a_limit() -> None:
    sent = 0

    async def serve(stream: SocketStream) -> None:
        nonlocal sent
        await request(stream)
        await stream.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            await stream.send(b"x" * 100_000)
            sent += 100_000

    async with served(serve, timeout=5) as client:
        await post(client)
        with pytest.raises(UnavailableError):
            await ask(client)
    assert sent < 40_000_000


async def test_post_json_gzip_response_with_a_cookie_returns_the_text_and_drops_the_cookie() -> (
    None
):
    heads: list[bytes] = []

    async def serve(stream: SocketStream) -> None:
        while True:
            heads.append(await request(stream))
            body = gzip.compress(b'{"a": 1}')
            head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nSet-Cookie: sessionid=1\r\nContent-Length: %d\r\n\r\n"
            await stream.send(head % len(body) + body)

    async with served(serve) as client:
        for _ in range(2):
            assert await ask(client) == b'{"a": 1}'
    assert all(b"sessionid" not in head for head in heads)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 399])
async def test_post_json_redirect_is_not_followed_and_is_retried_with_a_warning(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve(stream: SocketStream) -> None:
        await request(stream)
        head = b"HTTP/1.1 %d X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
        await stream.send(head % status)
        pytest.fail(str(await stream.receive()))

    async with served(serve) as client:
        with pytest.raises(UnavailableError, match="check app and base_url") as raised:
            await post(client)
    assert (raised.value.status, raised.value.not_sent) == (status, True)
    assert caplog.text.count("a redirect, which is not followed") == 1


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "is_kept"),
    [
        (HEAD % 8 + b'{"a": 1}', True),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n8\r\n" + b'{"a": 1}' + b"\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + HEAD % 8 + b'{"a": 1}', True),
        (OK + b"Connection: close\r\nContent-Length: 8\r\n\r\n" + b'{"a": 1}', False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\n" + b'{"a": 1}', False),
    ],
)
async def test_post_json_valid_response_keeps_or_closes_the_connection(
    answer: bytes, *, is_kept: bool
) -> None:
    server = ConstantServer(answer)
    async with served(server) as client:
        for _ in range(4):
            await post(client)
        assert server.connections == (1 if is_kept else 4)
        assert await ask(client) == b'{"a": 1}'


async def test_post_json_response_that_ends_with_its_connection_returns_the_body() -> None:
    async def serve(stream: SocketStream) -> None:
        await request(stream)
        await stream.send(OK + b'\r\n{"a": 1}')

    async with served(serve) as client:
        for _ in range(2):
            assert await ask(client) == b'{"a": 1}'


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
async def test_post_json_invalid_response_raises_unavailable(answer: bytes) -> None:
    async def serve(stream: SocketStream) -> None:
        await request(stream)
        await stream.send(answer)

    async with served(serve) as client:
        for _ in range(2):
            with pytest.raises(UnavailableError) as raised:
                await post(client)
            assert not raised.value.not_sent


async def test_post_json_early_413_to_a_large_body_raises_rejected() -> None:
    """What takes no large body answers at its head, and lets the rest run through."""

    async def serve(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(
            b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!"
        )
        async for _ in stream:
            pass

    async with served(serve) as client:
        with pytest.raises(RejectedError) as raised:
            await post(client, {"much": "x" * 8_000_000})
        assert raised.value.status == 413


async def test_post_json_silent_server_ends_at_the_timeout() -> None:
    async def serve(stream: SocketStream) -> None:
        await request(stream)
        await anyio.sleep(0.3)
        await stream.send(b"HTTP/1.1 200 OK\r\n")
        await anyio.sleep(30)

    async with served(serve, timeout=0.5) as client:
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="POST /x: ReadTimeout"):
            await post(client)
        assert time.monotonic() - began < 20


async def test_post_json_next_call_reuses_the_connection() -> None:
    server = ConstantServer(HEAD % 2 + b"{}")
    async with served(server, timeout=5) as client:
        for _ in range(20):
            await post(client, {"n": 1})
    assert server.connections == 1


@pytest.mark.slow
async def test_post_json_after_cancelled_calls_still_connects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_slow = True

    async def serve(stream: SocketStream) -> None:
        while True:
            await request(stream)
            if is_slow:
                await drip(stream, b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 1000)
            await stream.send(HEAD % 2 + b"{}")

    async with served(serve, timeout=5, max_concurrency=4) as client:
        monkeypatch.setattr(client, "_total_timeout", 0.9)
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(_fails, client)
        monkeypatch.undo()
        is_slow = False
        for _ in range(20):
            await post(client)


async def _fails(client: ApiClient) -> None:
    with pytest.raises(UnavailableError):
        await post(client)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_environment_proxy_gets_nothing_for_this_machine(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """It would read the token of a call over http, and could not reach this machine."""
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    assert environment_proxy("http://usercom.example.com") is not None
    assert environment_proxy(f"http://{host}:8900") is None


async def test_open_api_client_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bytes] = []

    async def serve(stream: SocketStream) -> None:
        asked.append(await request(stream))
        await stream.send(HEAD % 2 + b"{}")

    async with served(serve) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{httpx.URL(proxy._origin).netloc.decode()}")
        monkeypatch.delenv("no_proxy", raising=False)
        config = UserComConfig(base_url="http://usercom.example.com", api_key="ABC123", timeout=5)
        async with open_api_client(config, None) as client:
            await post(client)
        monkeypatch.setenv("no_proxy", "example.com")
        async with open_api_client(config, None) as client:
            with pytest.raises(UnavailableError):
                await post(client)
    assert len(asked) == 1
    assert asked[0].startswith(b"POST http://usercom.example.com/x HTTP/1.1")


async def read_head(stream: ByteStream) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    return data


class Server:
    """Responds on a loopback socket; keeps the request ``heads``, counts the ``connections``."""

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
        except (
            anyio.BrokenResourceError,
            anyio.EndOfStream,
            anyio.ClosedResourceError,
            ssl.SSLError,
        ):
            pass

    async def tunnel(self, stream: ByteStream) -> None:
        """Serve as a proxy: connect to the requested host and forward all bytes."""
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
async def listening(
    serve: Callable[[ByteStream], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
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
    ssl_context.cache_clear()
    yield context
    ssl_context.cache_clear()


def config(origin: str, timeout: float = 5) -> UserComConfig:
    return UserComConfig(base_url=origin, api_key="ABC123", timeout=timeout)


async def test_post_json_first_call_reads_certificates_outside_of_the_event_loop(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes 70 ms, and more on a busy machine, in which no request would be served."""
    threads: list[int] = []
    library: Any = vars(module)["httpx"]
    create = library.create_ssl_context

    def record() -> Any:
        threads.append(threading.get_ident())
        return create()

    monkeypatch.setattr(library, "create_ssl_context", record)
    server = Server()
    async with (
        listening(server.serve, tls) as port,
        open_api_client(config(f"https://localhost:{port}"), None) as client,
    ):
        for _ in range(3):
            await post(client)
            await client.post_json("/x", {}, {}, read_body=True)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_post_json_https_reuses_the_connection(tls: ssl.SSLContext) -> None:
    server = Server()
    async with (
        listening(server.serve, tls) as port,
        open_api_client(config(f"https://localhost:{port}"), None) as client,
    ):
        for _ in range(3):
            await post(client)
    assert server.connections == 1
    assert b"\r\nHost: localhost:%d\r\n" % port in server.heads[0]


async def test_post_json_untrusted_certificate_is_not_sent(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    server = Server()
    async with (
        listening(server.serve, tls) as port,
        open_api_client(config(f"https://localhost:{port}"), None) as client,
    ):
        with pytest.raises(UnavailableError) as raised:
            await post(client)
        assert raised.value.not_sent
    assert server.heads == []


async def test_post_json_https_through_a_proxy_reuses_the_tunnel(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, proxy = Server(), Server()
    async with listening(server.serve, tls) as port, listening(proxy.tunnel) as proxy_port:
        monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{proxy_port}")
        async with open_api_client(config(f"https://localhost:{port}"), None) as client:
            for _ in range(3):
                await post(client)
    assert len(server.heads) == 3
    assert proxy.connections == 1
    assert proxy.heads[0].startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % port)
    assert b"\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n" in proxy.heads[0]
    assert all(b"secret" not in head.lower() for head in server.heads)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_post_json_proxy_with_tls_receives_the_credentials(
    tls: ssl.SSLContext, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For http it is asked itself; for https it connects, and there is TLS within TLS."""
    server, proxy = Server(), Server()
    serve = proxy.tunnel if scheme == "https" else proxy.serve
    host = "localhost" if scheme == "https" else "usercom.example.com"
    async with listening(server.serve, tls) as port, listening(serve, tls) as proxy_port:
        monkeypatch.setenv(f"{scheme}_proxy", f"https://me:secret@localhost:{proxy_port}")
        async with open_api_client(config(f"{scheme}://{host}:{port}"), None) as client:
            for _ in range(2):
                await post(client)
    assert proxy.connections == 1
    assert b"\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n" in proxy.heads[0]
    if scheme == "http":
        assert proxy.heads[0].startswith(
            b"POST http://usercom.example.com:%d/x HTTP/1.1\r\n" % port
        )


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n", b"", b"what?\r\n\r\n"]
)
async def test_post_json_proxy_that_refuses_the_tunnel_is_not_sent(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(stream: ByteStream) -> None:
        async with stream:
            await read_head(stream)
            if answer:
                await stream.send(answer)

    async with listening(serve) as port:
        monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{port}")
        async with open_api_client(config("https://acme.user.com"), None) as client:
            with pytest.raises(UnavailableError) as raised:
                await post(client)
    assert raised.value.not_sent
    assert ("not sent: ProxyError 407" in str(raised.value)) is (b"407" in answer)
    assert "secret" not in str(raised.value)


async def test_post_json_tls_handshake_without_end_is_not_sent() -> None:
    async def serve(stream: ByteStream) -> None:
        async with stream:
            await anyio.sleep(30)

    async with (
        listening(serve) as port,
        open_api_client(config(f"https://localhost:{port}", timeout=0.5), None) as client,
    ):
        with pytest.raises(UnavailableError, match="POST /x not sent: ConnectTimeout") as raised:
            await post(client)
    assert raised.value.not_sent


async def test_post_json_connection_closed_while_idle_is_replaced() -> None:
    """It would cost a command that is sent once, a reset, its one try."""
    server = Server(answers=1)
    async with (
        listening(server.serve) as port,
        open_api_client(config(f"http://127.0.0.1:{port}"), None) as client,
    ):
        for _ in range(5):
            await post(client)
            await anyio.sleep(0.1)
    assert server.connections == 5


class DuplicateResponseServer(Server):
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
        except (
            anyio.BrokenResourceError,
            anyio.EndOfStream,
            anyio.ClosedResourceError,
            ssl.SSLError,
        ):
            pass


async def two_visitors(client: ApiClient) -> None:
    for who in ("alice", "bob", "carol"):
        assert json.loads(await ask(client, {"who": who})) == {"who": who}
        await anyio.sleep(0.05)


@pytest.mark.parametrize("size", [0, 2**16])
@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_post_json_response_sent_twice_is_not_read_by_the_next_visitor(
    size: int, *, is_encrypted: bool, tls: ssl.SSLContext
) -> None:
    """A server, or something before it, that answers once too often must not give Bob the key of Alice."""
    server = DuplicateResponseServer(size)
    scheme = "https" if is_encrypted else "http"
    async with listening(server.serve, tls if is_encrypted else None) as port:
        client: ApiClient
        async with open_api_client(config(f"{scheme}://localhost:{port}"), None) as client:
            await two_visitors(client)
    assert server.connections == 3


async def test_release_connections_idle_since_a_burst_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Calls take the connection that was used last, so the others stay idle."""
    monkeypatch.setattr(module, "_KEEPALIVE", 0.2)
    server = Server()
    async with (
        listening(server.serve) as port,
        open_api_client(config(f"http://127.0.0.1:{port}"), None) as client,
    ):
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(post, client)
        assert len(client._idle) == server.connections > 1
        for _ in range(12):
            await post(client)
            await anyio.sleep(0.03)
        assert len(client._idle) == 1


async def test_post_json_after_aclose_leaves_no_connection() -> None:
    server = Server()
    async with listening(server.serve) as port:
        async with open_api_client(config(f"http://127.0.0.1:{port}"), None) as client:
            pass
        await post(client)
        assert client._idle == []


# httpx 0.28 leaves the generator of a body that is not sent in time to trio, which warns.
@pytest.mark.waits
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_post_json_timeout_in_a_large_body_closes_the_socket() -> None:
    """The server does not read the body; closing the socket must not wait to send the rest."""

    async def serve(stream: ByteStream) -> None:
        async with stream:
            await anyio.sleep(20)

    async with (
        listening(serve) as port,
        open_api_client(config(f"http://127.0.0.1:{port}", timeout=0.2), None) as client,
    ):
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(4):
            with pytest.raises(UnavailableError):
                await post(client, {"much": "x" * 8_000_000})
        await anyio.sleep(0.1)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 4  # the server's side


async def test_post_json_ipv6_origin_sends_host_in_brackets() -> None:
    server = Server()
    try:
        tcp = await anyio.create_tcp_listener(local_host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = tcp.extra(SocketAttribute.local_port)
    async with tcp, anyio.create_task_group() as tasks:
        tasks.start_soon(tcp.serve, server.serve)
        async with open_api_client(config(f"http://[::1]:{port}"), None) as client:
            await post(client)
        tasks.cancel_scope.cancel()
    assert b"\r\nHost: [::1]:%d\r\n" % port in server.heads[0]


@pytest.mark.parametrize("value", ["proxy.corp:3128", " http://proxy.corp:3128 "])
def test_environment_proxy_without_a_scheme_is_http(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", value)
    proxy = environment_proxy("https://acme.user.com")
    assert proxy is not None
    assert str(proxy.url) == "http://proxy.corp:3128"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "  ",
        "socks5://u:secret@x:1",
        "http://x:noport",
        "ftp://x",
        "http://x:80800",
        "http://x:0",
    ],
)
async def test_open_api_client_unusable_proxy_is_ignored_with_one_warning(
    value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("https_proxy", value)
    for _ in range(2):
        async with open_api_client(config("https://acme.user.com"), None) as client:
            assert client._proxy is None
    assert caplog.text.count("cannot be used") == bool(value.strip())
    assert "secret" not in caplog.text


def test_unpacked_gzip_returns_the_text_up_to_a_limit() -> None:
    assert module._unpacked(gzip.compress(b'{"a": 1}')) == b'{"a": 1}'
    assert module._unpacked(b"\x1f\x8bnonsense") == b"\x1f\x8bnonsense"
    zeros = gzip.compress(b"0" * 100_000_000)
    assert len(module._unpacked(zeros)) <= 4 * 1024 * 1024
    assert module._unpacked(gzip.compress(zeros)) == zeros  # one layer only


@pytest.mark.parametrize("charset", ["hex", "idna", "undefined", "utf-16", "no such charset"])
async def test_post_json_rejection_in_any_charset_keeps_500_characters_of_detail(
    charset: str,
) -> None:
    head = (
        b"HTTP/1.1 401 No\r\nContent-Type: text/plain; charset=%s\r\nContent-Length: 3000\r\n\r\n"
    )
    async with served(ConstantServer(head % charset.encode() + b"\xffno" * 1000)) as client:
        with pytest.raises(RejectedError) as raised:
            await post(client)
    assert (raised.value.status, len(raised.value.detail)) == (401, 500)


def test_retry_after_seconds_date_returns_the_seconds_until_then() -> None:
    assert (
        280 < (module.retry_after_seconds(formatdate(time.time() + 300, usegmt=True)) or 0) <= 300
    )
    # Our clock is hours off: what counts is the server's own.
    until, now = (formatdate(time.time() - 7200 + each, usegmt=True) for each in (30, 0))
    assert module.retry_after_seconds(until, now) == 30
    assert module.retry_after_seconds(until, "soon") == 0
    assert module.retry_after_seconds("17") == 17
    assert module.retry_after_seconds("soon") is None


@pytest.mark.parametrize(
    ("status", "not_sent"), [(408, False), (425, False), (429, True), (500, False), (503, False)]
)
async def test_post_json_transient_error_status_raises_unavailable(
    status: int, *, not_sent: bool
) -> None:
    answer = b"HTTP/1.1 %d X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n" % status
    async with served(ConstantServer(answer)) as client:
        with pytest.raises(UnavailableError) as raised:
            await post(client)
    found = raised.value
    assert (found.status, found.retry_after, found.not_sent) == (status, 7, not_sent)


async def test_post_json_error_and_logs_hold_no_value_of_the_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def serve(stream: SocketStream) -> None:
        await request(stream)

    with caplog.at_level(logging.DEBUG):
        async with served(serve) as client:
            with pytest.raises(UnavailableError) as raised:
                await post(client, {"email": "ann@example.com", "userKey": "s3cretkey"})
    assert str(raised.value) == "POST /x: RemoteProtocolError"
    for text in (str(raised.value), repr(raised.value), caplog.text):
        assert "ann@" not in text
        assert "s3cretkey" not in text
    assert "s3cretkey" not in repr(Response(200, body=b"s3cretkey"))


async def test_post_json_header_that_http_cannot_hold_is_refused() -> None:
    async with served(ConstantServer(ANSWER)) as client:
        with pytest.raises(RejectedError, match="LocalProtocolError"):
            await client.post_json("/x", {}, {"X-Bad": "a\nb"})


async def test_post_json_transport_of_the_caller_is_used_and_stays_open() -> None:
    class Mock(httpx.MockTransport):
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    def answer(request: httpx.Request) -> httpx.Response:
        if json.loads(request.content) == {"fail": 1}:
            raise httpx.ConnectError("no route to s3cret")
        assert str(request.url) == "https://acme.user.com/x"
        return httpx.Response(200, json={"content": request.content.decode()})

    transport = Mock(answer)
    async with open_api_client(config("https://acme.user.com"), transport) as client:
        assert json.loads(await ask(client, {"a": 1})) == {"content": '{"a": 1}'}
        with pytest.raises(UnavailableError, match=r"^POST /x not sent: ConnectError$") as raised:
            await post(client, {"fail": 1})
        assert raised.value.not_sent
    assert not transport.closed


def test_module_with_httpx2_blocked_uses_httpx() -> None:
    code = "import sys\nsys.modules['httpx2'] = None\nfrom usercom_asgi.api.client import httpx\nprint(httpx.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "httpx\n"


def test_module_by_default_uses_httpx2() -> None:
    try:
        import httpx2 as preferred
    except ImportError:  # not installed, or blocked: see tests/conftest.py
        import httpx as preferred  # type: ignore[no-redef]
    assert httpx is preferred
    if os.environ.get("TEST_HTTPX") == "httpx":
        assert httpx.__name__ == "httpx"


def test_transport_of_another_kind_raises_configuration_error() -> None:
    app: Any = None
    for made in (
        lambda transport: UserComClient(CONFIG, transport=transport),
        lambda transport: UserComMiddleware(app, CONFIG, transport=transport),
    ):
        with pytest.raises(
            ConfigurationError,
            match=r"^transport: must be an httpx2?\.AsyncBaseTransport, got object$",
        ):
            made(object())


@pytest.mark.parametrize(
    ("place", "setting"),
    [({"app": "acme"}, "app="), ({"base_url": "http://acme.user.com"}, "base_url=")],
)
async def test_client_host_that_does_not_resolve_is_named_with_its_setting(
    place: dict[str, str],
    setting: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)  # this machine may have a wildcard
    settings: Any = {"api_key": "ABC123", **place}
    async with open_api_client(UserComConfig(**settings), None) as client:
        for _ in range(2):
            with pytest.raises(
                UnavailableError, match=r"not sent: acme\.user\.com does not resolve"
            ):
                await client.post_json("/x", {}, {})
    assert caplog.messages == [
        f"The host acme.user.com does not resolve, retrying: check {setting} (logged once)"
    ]
