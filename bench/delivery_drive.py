"""Measure one sender: `python -m bench.delivery_drive enqueue|drain SENDER URL COUNT`.

*Enqueue* measures how long a call takes a handler while the delivery runs. *Drain*
sends all events at once, waits for a line on standard input, and prints the costs until
then. The output is JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from bench.fault_drive import BURST, told, warm_up
from bench.lag import Lag
from bench.senders import SENDERS, UserCom

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from bench.senders import Sender

#: Visitors: many more than workers, as on a site.
VISITORS = 500


def microseconds(spans: list[int]) -> dict[str, float]:
    cuts = statistics.quantiles(spans, n=100)
    return {"median": cuts[49] / 1e3, "p99": cuts[98] / 1e3}


async def timed(say: Callable[[int], Any], count: int) -> dict[str, float]:
    """Send events in bursts; return the time of one call."""
    spans: list[int] = []
    for n in range(count):
        began = time.perf_counter_ns()
        say(n)
        spans.append(time.perf_counter_ns() - began)
        if n % BURST == BURST - 1:
            await asyncio.sleep(0.005)
    return microseconds(spans)


async def timed_helper(say: Callable[[int], Awaitable[Any]], count: int) -> dict[str, float]:
    spans: list[int] = []
    for n in range(count):
        began = time.perf_counter_ns()
        await say(n)
        spans.append(time.perf_counter_ns() - began)
        if n % BURST == BURST - 1:
            await asyncio.sleep(0.005)
    return microseconds(spans)


async def enqueue_ours(url: str, count: int) -> dict[str, dict[str, float]]:
    """Measure ``submit()``, the same with a ready envelope, and the awaited helper.

    ``submit()`` is what the calls of the peers are compared with.
    """
    from usercom_asgi import Event, UserComClient, UserComConfig, Visitor
    from usercom_asgi.core.envelope import Envelope
    from usercom_asgi.visitor.session import VisitorSession

    found = {}
    async with UserComClient(UserComConfig(base_url=url, api_key="ABC123")) as client:
        delivery = client.delivery
        assert delivery
        await timed(
            lambda n: delivery.submit(
                Envelope(command=Event("said", {"n": -1}), ordering_key=f"k{n}", key=f"k{n}")
            ),
            BURST,
        )
        await warm_up()
        envelopes = [
            Envelope(
                command=Event("said", {"n": n}),
                ordering_key=f"k{n % VISITORS}",
                key=f"k{n % VISITORS}",
            )
            for n in range(count)
        ]
        found["DeliveryService.submit(envelope)"] = await timed(
            lambda n: delivery.submit(envelopes[n]), count
        )
        await idle(client)
        headers = [
            [
                (b"host", b"shop.example.com"),
                (b"cookie", b"session=eyJ; __ca__chat=k%d" % (n % VISITORS)),
            ]
            for n in range(count)
        ]

        async def helper(n: int) -> None:
            scope = {
                "type": "http",
                "method": "GET",
                "path": "/",
                "headers": headers[n],
                "scheme": "https",
            }
            visitor = Visitor(VisitorSession(scope, delivery, client.config))
            await visitor.event("said", n=n)

        found["await visitor.event(...), first of a request"] = await timed_helper(helper, count)
        await idle(client)
        visitors = [
            Visitor(
                VisitorSession(
                    {"type": "http", "method": "GET", "path": "/", "headers": each},
                    delivery,
                    client.config,
                )
            )
            for each in headers[:VISITORS]
        ]
        for each in visitors:
            await each.event("said", n=0)
        await idle(client)
        found["await visitor.event(...), another one"] = await timed_helper(
            lambda n: visitors[n % VISITORS].event("said", n=n), count
        )
    return found


async def idle(client: Any) -> None:
    while client.delivery.waiting:  # noqa: ASYNC110  a program that watches
        await asyncio.sleep(0.01)


async def enqueue_peer(sender: Sender, count: int) -> dict[str, dict[str, float]]:
    async with sender:
        await timed(sender.say, BURST)
        await warm_up()
        return {sender.name: await timed(sender.say, count)}


@asynccontextmanager
async def sayer(name: str, url: str) -> AsyncGenerator[Callable[[int], Any]]:
    """Return a function that sends one event without a request around it."""
    async with AsyncExitStack() as stack:
        if not issubclass(SENDERS[name], UserCom):
            sender = SENDERS[name](url)
            yield (await stack.enter_async_context(sender)).say
            return
        from usercom_asgi import Event, UserComClient, UserComConfig

        config = UserComConfig(base_url=url, api_key="ABC123", **SENDERS[name].settings)
        client = await stack.enter_async_context(UserComClient(config))
        yield lambda n: client.send(Event("said", {"n": n}), key=f"k{n % VISITORS}")


async def drain(name: str, url: str, count: int) -> None:
    async with sayer(name, url) as say:
        for n in range(-BURST, 0):
            await _say(say, n)
        await warm_up()
        lag = Lag()
        began, cpu = time.perf_counter(), time.process_time()
        saying = asyncio.create_task(_say_all(say, count))
        print(json.dumps({"at": "saying"}), flush=True)
        await told()
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        lags = [*lag.told(), lag.almost_worst()]
        print(
            json.dumps({"took": took, "cpu": cpu, "lag": lags, "has_said": saying.done()}),
            flush=True,
        )
        await told()  # and is killed; the fault table measures the flush


async def _say_all(say: Callable[[int], Any], count: int) -> None:
    for n in range(count):
        await _say(say, n)
        if n % BURST == BURST - 1:
            await asyncio.sleep(0)


async def _say(say: Callable[[int], Any], n: int) -> None:
    said = say(n)
    if said is not None:
        await said


def main() -> None:
    logging.disable(logging.CRITICAL)
    what, name, url, count = sys.argv[1:]
    if what == "drain":
        asyncio.run(drain(name, url, int(count)))
    elif name == UserCom.name:
        print(json.dumps(asyncio.run(enqueue_ours(url, int(count)))), flush=True)
    else:
        print(json.dumps(asyncio.run(enqueue_peer(SENDERS[name](url), int(count)))), flush=True)


if __name__ == "__main__":
    main()
