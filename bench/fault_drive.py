"""Send events with one sender from a running event loop.

`python -m bench.fault_drive SENDER URL COUNT [fork]` prints lines of JSON, and waits
for a line on standard input after some of them: ``ready``, (events), ``said``, (flush),
``flushing``, ``done``. With `fork`, the sender is made in this process and used in its
fork. Some events with negative numbers are sent before ``ready``, so that what happens
once in a process is not measured.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from bench.lag import Lag, Worst
from bench.senders import SENDERS, VISITORS

if TYPE_CHECKING:
    from starlette.types import Message

    from bench.senders import Sender

#: Requests in a row before a moment of idleness, as in a server under load.
BURST, TICK = 10, 0.01
WARMING_UP = 0.5


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Message) -> None:
    pass


async def request(sender: Sender, n: int) -> tuple[float, float]:
    """Make one request; return the seconds on the clock and of CPU time."""
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": f"/{n}",
        "raw_path": f"/{n}".encode(), "query_string": b"", "root_path": "", "client": ("192.0.2.1", 50000),
        "server": ("127.0.0.1", 8000), "state": dict(sender.state),
        "headers": [(b"host", b"shop.example.com"), (b"cookie", b"__ca__chat=k%d" % (n % VISITORS))],
    }  # fmt: skip
    began, cpu = time.perf_counter(), time.process_time()
    await sender.app(scope, _receive, _send)
    return time.perf_counter() - began, time.process_time() - cpu


async def say_all(sender: Sender, numbers: range) -> Worst:
    """Send the events; return the longest request."""
    longest = Worst()
    for n in numbers:
        longest.span(*await request(sender, n))
        if n % BURST == BURST - 1:
            await asyncio.sleep(TICK)
    return longest


async def warm_up() -> None:
    """Deliver the first events, and freeze the objects that exist by then.

    Otherwise the garbage collector would need tens of milliseconds for them in the
    middle of a measurement.
    """
    await asyncio.sleep(WARMING_UP)
    gc.collect()
    gc.freeze()


def tell(**said: Any) -> None:
    print(json.dumps(said), flush=True)


async def told() -> None:
    await asyncio.to_thread(sys.stdin.readline)


async def drive(sender: Sender, count: int) -> None:
    lag = Lag()
    async with sender:
        first = await say_all(sender, range(-BURST, 0))
        await warm_up()
        tell(at="ready", first=first.wall)
        await told()
        lag.reset()
        longest = await say_all(sender, range(count))
        tell(at="said", request=longest.told())
        await told()
        tell(at="flushing", lag=lag.told())
        began = time.perf_counter()
    tell(at="done", flush=time.perf_counter() - began, lag=lag.told(), notes=sender.notes())


def main() -> None:
    logging.disable(logging.CRITICAL)  # the log is not read, and would fill the pipe
    name, url, count, *how = sys.argv[1:]
    sender = SENDERS[name](url)
    if "fork" in how:
        child = os.fork()
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    asyncio.run(drive(sender, int(count)))


if __name__ == "__main__":
    main()
