"""Measure one variant, in this process and without a server.

`python -m bench.page_drive VARIANT` prints JSON. `python -m bench.page_drive VARIANT
CASE N` requests one page N times, for a count of instructions.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import tracemalloc
from itertools import count
from typing import TYPE_CHECKING, Any

from bench.apps import PARAGRAPH, html_page
from bench.drive import living
from bench.page_peers import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

META = b'<meta name="description" content="one of many, as pages with a long head have them">\n'
LONG_HEAD = (
    b"<!doctype html><html><head>"
    + META * (60 * 1024 // len(META))
    + b"</head><body>x</body></html>"
)


def cut(page: bytes, step: int) -> list[bytes]:
    return [page[n : n + step] for n in range(0, len(page), step)]


def whole(size: int) -> list[bytes]:
    return [html_page(size).encode()]


#: name -> the chunks of a page, and the number of requests
CASES: dict[str, tuple[list[bytes], int]] = {
    "4 KB": (whole(4096), 2000),
    "64 KB": (whole(65536), 500),
    "1 MB": (whole(1 << 20), 100),
    "256 KB in 64 chunks": (cut(html_page(1 << 18).encode(), 4096), 100),
    "60 KB of head in 256-byte chunks": (cut(LONG_HEAD, 256), 50),
}


def rendered(page: bytes) -> Callable[[], bytes]:
    """Return an application that renders a page anew for each request.

    No two pages have the same middle.
    """
    place = page.index(b"paragraph", len(page) // 2)
    before, after, numbers = page[:place], page[place + len(b"paragraph") :], count()
    return lambda: b"".join((before, b"%09d" % next(numbers), after))


def application(chunks: list[bytes], *, pause: float = 0, length: bool = True) -> ASGIApp:
    render = rendered(chunks[0]) if len(chunks) == 1 else None
    headers = [(b"content-type", b"text/html; charset=utf-8")]
    if length:
        headers.append((b"content-length", b"%d" % sum(map(len, chunks))))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": f"{(await receive())['type']}.complete"})
            await send({"type": f"{(await receive())['type']}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        for n, chunk in enumerate((render(),) if render else chunks, 1):
            await send({"type": "http.response.body", "body": chunk, "more_body": n < len(chunks)})
            if pause:
                await asyncio.sleep(pause)

    return app


async def ask(app: ASGIApp, state: dict[str, Any]) -> tuple[float, int]:
    """Return the seconds until the first byte of the body, and the bytes."""
    began, first, size = time.perf_counter(), 0.0, 0
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if requests:
            return requests.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        nonlocal first, size
        if message["type"] == "http.response.body" and message.get("body"):
            first = first or time.perf_counter() - began
            size += len(message["body"])

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/",
        "raw_path": b"/", "query_string": b"", "root_path": "", "client": ("192.0.2.1", 50000), "server": ("127.0.0.1", 8000),
        "headers": [(b"host", b"shop.example.com"), (b"cookie", b"session=eyJ; __ca__chat=abcdef123456")], "state": dict(state),
    }  # fmt: skip
    await app(scope, receive, send)
    return first, size


async def timed(app: ASGIApp, times: int) -> tuple[float, int]:
    """Return microseconds of a request, and the bytes of its response."""
    async with living(app) as state:
        _, size = await ask(app, state)
        best = float("inf")
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(times // 5):
                await ask(app, state)
            best = min(best, (time.perf_counter() - began) / (times // 5))
        return best * 1e6, size


async def measure(wrap: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (chunks, times) in CASES.items():
        took, size = await timed(wrap(application(chunks)), times)
        found[name] = [took, size > sum(map(len, chunks))]
    trickle = ["<html><head></head><body>", *[PARAGRAPH] * 4, "</body></html>"]
    app = wrap(application([each.encode() for each in trickle], pause=0.08, length=False))
    first, size = await ask(app, {})
    found["first byte of a page that trickles for 0.5 s"] = [
        first * 1e6,
        size > sum(map(len, trickle)),
    ]
    stream = [b"<html><head></head><body>", *[PARAGRAPH.encode() * 10_000] * 64, b"</body></html>"]
    app = wrap(application(stream, length=False))
    await ask(wrap(application(whole(4096))), {})
    tracemalloc.start()
    await ask(app, {})
    found["peak memory of 64 MB"] = [tracemalloc.get_traced_memory()[1], True]
    return found


async def repeat(wrap: Any, case: str, times: int) -> None:
    app = wrap(application(CASES[case][0]))
    async with living(app) as state:
        for _ in range(times):
            await ask(app, state)


if __name__ == "__main__":
    wrap = VARIANTS[sys.argv[1]]
    if len(sys.argv) > 2:
        asyncio.run(repeat(wrap, sys.argv[2], int(sys.argv[3])))
    else:
        print(json.dumps(asyncio.run(measure(wrap))))
