"""Receiver of all senders: a server that counts events and fails on request.

`python -m bench.sink` prints its port as a line of JSON, and then responds to each line
of JSON on its standard input with one: ``{"plan": {...}}`` sets a fault;
``{"tell": "totals"}`` and ``{"tell": "all"}`` return the counts.

An event has its number as `"n": 17` somewhere in JSON, or in JSON inside of JSON: in a
plain or gzipped body, in batches of Segment, PostHog and Snowplow, in lines of Sentry's
envelopes, and in the requests of our widget API and REST channel.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import itertools
import json
import re
import sys
import time
import zlib
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


_LOOK_UP = re.compile(r"/users/search/\?key=(\w+)")


@dataclass(slots=True)
class Plan:
    """Fault for all requests, for the first ``times``, or for ``seconds``.

    The seconds begin with the first request.
    """

    times: int | None = None
    seconds: float | None = None
    status: int = 0  #: respond with it, and process nothing
    retry_after: str = ""
    drop: bool = False  #: close after the request without a response
    latency: float = 0.0  #: seconds before the response
    drip: float = 0.0  #: seconds between two bytes of the response
    down: float = 0.0  #: seconds from now in which connections are refused


def numbers_in(body: bytes) -> Iterator[int]:
    """Return the numbers of the events in a body."""
    for line in body.splitlines():
        try:
            yield from _numbers(json.loads(line))
        except ValueError:
            continue


def _numbers(value: object) -> Iterator[int]:
    if isinstance(value, dict):
        if type(value.get("n")) is int and value["n"] >= 0:  # negative ones are not counted
            yield value["n"]
        for each in value.values():
            yield from _numbers(each)
    elif isinstance(value, list):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, str) and value.startswith("{"):
        yield from numbers_in(value.encode())


class Sink:
    """Counts of events; all times are in seconds since the start."""

    def __init__(self) -> None:
        self.plan = Plan()
        self.port = 0
        self._began = time.monotonic()
        self._misbehaved = 0
        self._misbehaves_since: float | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._opening: asyncio.Task[None] | None = None
        self._new_users = itertools.count()
        self.requests: list[float] = []
        self.refused = 0
        #: How often an event was received in a request that was not rejected, and so
        #: may have been processed.
        self.read: Counter[int] = Counter()
        #: How often an event was processed.
        self.done: Counter[int] = Counter()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, backlog=1024, limit=1 << 20
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def misbehave(self, plan: Plan) -> None:
        self.plan, self._misbehaved, self._misbehaves_since = plan, 0, None
        if plan.down and self._server is not None:
            self._server.close()
            self._server = None
            for each in self._connections:
                each.transport.abort()
            self._opening = asyncio.create_task(self._listen_again(plan.down))

    async def _listen_again(self, later: float) -> None:
        await asyncio.sleep(later)
        await self.listen()

    def tell(self, what: str) -> dict[str, Any]:
        totals = {
            "requests": len(self.requests),
            "refused": self.refused,
            "done": len(self.done),
            "all": self.done.total(),
        }
        return (
            totals
            if what == "totals"
            else {**totals, "read": self.read, "done": self.done, "at": self.requests}
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._connections.discard(writer)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Process one request; return False if the connection ends with it."""
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        body = _unpacked(body, headers.get("content-encoding", ""))
        self.requests.append(round(time.monotonic() - self._began, 4))
        plan = self.plan if self._is_misbehaving() else Plan()
        if plan.status:
            self.refused += 1
            writer.write(
                _answer(
                    plan.status,
                    {"Retry-After": plan.retry_after} if plan.retry_after else {},
                    b"{}",
                )
            )
            return True
        numbers = list(numbers_in(body))
        self.read.update(numbers)
        if plan.drop:
            return False
        if plan.latency:
            await asyncio.sleep(plan.latency)
        self.done.update(numbers)
        answer = _answer(200, {"Content-Type": "application/json"}, self._said_back(first, body))
        if not plan.drip:
            writer.write(answer)
            return True
        for byte in answer:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(plan.drip)
        return True

    def _is_misbehaving(self) -> bool:
        now, plan = time.monotonic(), self.plan
        if self._misbehaves_since is None:
            self._misbehaves_since = now
        self._misbehaved += 1
        is_early = plan.seconds is None or now - self._misbehaves_since < plan.seconds
        return is_early and (plan.times is None or self._misbehaved <= plan.times)

    def _said_back(self, first: str, body: bytes) -> bytes:
        if looked_up := _LOOK_UP.search(first):  # of a user, by the REST API
            key = looked_up[1]
            return json.dumps({"id": int(_digest(key), 16), "user_key": key}).encode()
        if "user-chatping" not in first:
            return b'{"status": 1}'
        said = json.loads(body)
        named = said.get("user_id") or said.get("email")
        made = (
            "new" + str(next(self._new_users))
            if said.get("create_new_gu") or not named
            else _digest(str(named))
        )
        return json.dumps({"user": {"key": said.get("userKey") or made}}).encode()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _unpacked(body: bytes, coding: str) -> bytes:
    if coding == "gzip":
        return gzip.decompress(body)
    return zlib.decompress(body) if coding == "deflate" else body


def _answer(status: int, headers: dict[str, str], body: bytes) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def main() -> None:
    sink = Sink()
    await sink.listen()
    print(json.dumps({"port": sink.port}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        if "plan" in asked:
            await sink.misbehave(Plan(**asked["plan"]))
        print(json.dumps(sink.tell(asked.get("tell", "totals"))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
