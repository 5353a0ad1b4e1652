"""Rows of `make faults` of this library alone: stopped servers, kills and forks."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from bench.lag import Worst
from bench.processes import SinkControl, Talker, sink, talking
from bench.rows import Row
from bench.senders import REST_TOKEN, VISITORS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

#: Accepted events after which a server is stopped, and the number of clients.
ACCEPTED, CLIENTS = 500, 8
LATENCY = 0.02
#: What a server's environment has, by the channel of the delivery.
_ENVIRON: dict[str, dict[str, str]] = {"widget": {}, "rest": {"USERCOM_REST_TOKEN": REST_TOKEN}}


class Load:
    """Clients that send requests as fast as the server responds."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.accepted: list[int] = []
        self.longest = Worst()
        self._next = 0
        self._is_over = False

    async def _client(self) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            while not self._is_over:
                n, self._next = self._next, self._next + 1
                began = time.perf_counter()
                try:
                    headers = {"cookie": f"__ca__chat=k{n % VISITORS}"}
                    answer = await client.get(f"{self.url}/{n}", headers=headers)
                except httpx.TransportError:
                    return
                self.longest.wall = max(self.longest.wall, time.perf_counter() - began)
                if answer.status_code == 200:
                    self.accepted.append(n)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        async with asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(self._client())
            async with asyncio.timeout(30):
                while len(self.accepted) < ACCEPTED:  # noqa: ASYNC110  a program that watches
                    await asyncio.sleep(0.005)
            yield
            await asyncio.sleep(0.2)
            self._is_over = True


@asynccontextmanager
async def server(to: str, port: int, **environ: str) -> AsyncGenerator[Talker]:
    """Serve bench/fault_app.py with uvicorn."""
    own = {"USERCOM_BASE_URL": to, "USERCOM_API_KEY": "ABC123", **environ}
    command = [
        "-m",
        "uvicorn",
        "bench.fault_app:app",
        "--port",
        str(port),
        "--log-level",
        "critical",
        "--no-access-log",
    ]
    async with talking(*command, environ={**os.environ, **own}) as process:
        await _until_listening(port)
        yield process


async def _until_listening(port: int) -> None:
    for _ in range(600):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return
    raise TimeoutError("the server does not listen")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _row(name: str, load: Load, came: dict[str, Any], **more: Any) -> Row:
    done, read = came["done"].keys(), came["read"]
    return Row(
        name,
        delivered=len(done),
        lost=len({str(n) for n in load.accepted} - done),
        twice=sum(times > 1 for times in read.values()),
        requests=came["requests"],
        request=[load.longest.wall],
        **more,
    )


async def sigterm(channel: str) -> Row:
    port = _free_port()
    load = Load(port)
    async with sink() as to:
        await to.misbehave(latency=LATENCY)
        async with server(to.url, port, **_ENVIRON[channel]) as process:
            async with load.running():
                waiting = len(load.accepted) - (await to.totals())["done"]
                began = time.perf_counter()
                process.process.send_signal(signal.SIGTERM)
            told = await process.hear(30)
            await asyncio.wait_for(process.process.wait(), 30)
            took = time.perf_counter() - began
        came = await to.all()
    says = ", ".join(f"{count} {kind}" for kind, count in told.items() if kind != "lag" and count)
    note = f"{len(load.accepted)} accepted, about {waiting} waited at the signal; says: {says}"
    return _row(
        _named("usercom_asgi, uvicorn", channel),
        load,
        came,
        lag=told["lag"],
        flush=f"{took:.2f} s",
        note=note,
    )


async def kill_sqlite(channel: str) -> Row:
    name, environ = _named("usercom_asgi, SqliteOutbox", channel), _ENVIRON[channel]
    port = _free_port()
    load = Load(port)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "outbox.db"))
        async with sink() as to:
            await to.misbehave(latency=LATENCY)
            async with (
                server(to.url, port, FAULT_SQLITE=path, **environ) as process,
                load.running(),
            ):
                process.process.kill()
            accepted = len(load.accepted)
            arrived = (await to.totals())["done"]
            again = time.perf_counter()
            async with server(to.url, port, FAULT_SQLITE=path, **environ) as process:
                await _until_all(load, to)
                took = time.perf_counter() - again
                process.process.send_signal(signal.SIGTERM)
                await asyncio.wait_for(process.process.wait(), 30)
            came = await to.all()
    note = f"{accepted} accepted, {max(0, accepted - arrived)} of them had not arrived at the kill; seconds are since then"
    return _row(name, load, came, arrived=took, note=note)


async def _until_all(load: Load, to: SinkControl, within: float = 30) -> None:
    wanted = {str(n) for n in load.accepted}
    end = time.perf_counter() + within
    while not wanted <= (await to.all())["done"].keys() and time.perf_counter() < end:  # noqa: ASYNC110  as above
        await asyncio.sleep(0.1)


async def fork_of_a_running(channel: str) -> Row:
    """Fork during a delivery. The child has no workers, so it rejects its events."""
    async with (
        sink() as to,
        talking("-m", "bench.fault_fork", to.url, *_ENVIRON[channel].values()) as process,
    ):
        told = await process.hear()
        await asyncio.wait_for(process.process.wait(), 30)
        came = await to.all()
    note = f"in the child {json.dumps(told['child'])}; in the parent {told['parent']}"
    return Row(
        _named("usercom_asgi", channel),
        delivered=len(came["done"]),
        lost=told["said"] - len(came["done"]),
        requests=came["requests"],
        note=note,
    )


async def kill_taskiq(channel: str) -> Row:
    """Kill the worker, keep the web process, and start another worker."""
    name = _named("usercom_asgi, TaskiqOutbox", channel)
    redis = shutil.which("redis-server")
    if not (redis and find_spec("taskiq_redis")):
        return Row(name, note="left out: it takes taskiq-redis and a redis-server")
    port, redis_port = _free_port(), _free_port()
    load = Load(port)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        to = await stack.enter_async_context(sink())
        await to.misbehave(latency=LATENCY)
        options = [
            "--port",
            str(redis_port),
            "--bind",
            "127.0.0.1",
            "--dir",
            folder,
            "--save",
            "",
            "--loglevel",
            "warning",
        ]
        await stack.enter_async_context(talking(*options, program=redis))
        await _until_listening(redis_port)
        url = f"redis://127.0.0.1:{redis_port}"
        environ = {
            **os.environ,
            **_ENVIRON[channel],
            "USERCOM_BASE_URL": to.url,
            "USERCOM_API_KEY": "ABC123",
            "FAULT_TASKIQ": url,
        }
        worker = [
            "-m",
            "taskiq",
            "worker",
            "--workers",
            "1",
            "--log-level",
            "CRITICAL",
            "bench.fault_app:broker",
        ]
        process = await stack.enter_async_context(
            server(to.url, port, FAULT_TASKIQ=url, **_ENVIRON[channel])
        )
        async with talking(*worker, environ=environ), load.running():
            await to.has(ACCEPTED // 4, 30)
        accepted, arrived = len(load.accepted), (await to.totals())["done"]
        again = time.perf_counter()
        async with talking(*worker, environ=environ):
            await _until_all(load, to, 90)
            took = time.perf_counter() - again
        process.process.send_signal(signal.SIGTERM)
        told = await process.hear(30)
        came = await to.all()
    note = f"{accepted} accepted, {max(0, accepted - arrived)} of them had not arrived at the kill; seconds are since then"
    return _row(name, load, came, arrived=took, lag=told["lag"], note=note)


def _named(name: str, channel: str) -> str:
    return f"{name}, REST" if channel == "rest" else name


OWN: dict[str, Callable[[str], Awaitable[Row]]] = {
    "fork while the delivery runs": fork_of_a_running,
    "SIGTERM under load": sigterm,
    "kill -9 with SQLite": kill_sqlite,
    "kill -9 of a taskiq worker": kill_taskiq,
}
