"""Drive one application with N requests, without a server.

`python -m bench.drive VARIANT CASE N`, where `CASE` is a name of `bench.apps.CASES`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from bench.apps import CASES, make_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Message

HEADERS = [
    (b"host", b"shop.example.com"),
    (
        b"user-agent",
        b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
    ),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en,pl;q=0.7"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"referer", b"https://shop.example.com/"),
    (b"cookie", b"session=eyJ1c2VyIjogImFsaWNlIn0.aGVsbG8; __ca__chat=abcdef123456; theme=dark"),
]


@asynccontextmanager
async def living(app: ASGIApp) -> AsyncIterator[dict[str, Any]]:
    """Run the application's lifespan around the block.

    Yield the state, of which requests get a copy.
    """
    state: dict[str, Any] = {}
    started, stop = asyncio.Event(), asyncio.Event()

    async def receive() -> Message:
        if not started.is_set():
            return {"type": "lifespan.startup"}
        await stop.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message: Message) -> None:
        started.set()

    async def live() -> None:
        await app({"type": "lifespan", "asgi": {}, "state": state}, receive, send)

    life = asyncio.create_task(live())
    life.add_done_callback(lambda _: started.set())
    await started.wait()
    if life.done():
        life.result()  # raises the error of a failed start
    yield state
    stop.set()
    await life


@asynccontextmanager
async def without_lifespan() -> AsyncIterator[None]:
    """Serve as a server that runs no lifespan."""
    yield


async def drive(app: ASGIApp, path: str, count: int, *, has_lifespan: bool = True) -> float:
    """Send the requests one after the other; return the seconds."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        pass

    async with living(app) if has_lifespan else without_lifespan() as state:
        began = time.perf_counter()
        for _ in range(count):
            scope = {
                "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "https",
                "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": list(HEADERS),
                "client": ("192.0.2.1", 50000), "server": ("127.0.0.1", 8000),
            }  # fmt: skip
            if state is not None:
                scope["state"] = dict(state)
            await app(scope, receive, send)
        return time.perf_counter() - began


if __name__ == "__main__":
    _, variant, name, count = sys.argv
    case = CASES[name]
    made = make_app(variant)
    print(asyncio.run(drive(made, case.path, int(count), has_lifespan=case.has_lifespan)))
