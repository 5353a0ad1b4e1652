"""`make bench`, third part: costs of a call and of delivering 5,000 events.

This library and its peers run in a process each, and send to bench/sink.py in another
one. The peers are in the dependency group `bench`; missing ones are left out. PostHog,
Segment and Snowplow send batches, for which User.com has no call. So the costs of
delivering are compared with those that send one event in a request.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from bench.processes import Gone, sink, talking
from bench.report import Report, parser, report_for

ENQUEUED, DRAINED = 2_000, 5_000
LATENCY = 0.02
#: Seconds after which a sender is stopped, and measured by the events until then.
LONGEST = 60.0

#: The noise of the machine.
BASELINE = "sends nothing"
CALLED = (
    "usercom_asgi",
    "snowplow, AsyncEmitter",
    "segment",
    "posthog",
    "posthog, async",
    "sentry, thread",
    "sentry, async",
)
DRAINING = (
    "usercom_asgi",
    "usercom_asgi, max_concurrency=32",
    "sentry, thread",
    "sentry, async",
    "a task per event, httpx",
    BASELINE,
)


async def enqueue(name: str, count: int) -> dict[str, dict[str, float]]:
    async with (
        sink() as to,
        talking("-m", "bench.delivery_drive", "enqueue", name, to.url, str(count)) as driver,
    ):
        found: dict[str, dict[str, float]] = await driver.hear(LONGEST)
        return found


async def drain(name: str, count: int) -> dict[str, Any]:
    async with sink() as to:
        await to.misbehave(latency=LATENCY)
        async with talking(
            "-m", "bench.delivery_drive", "drain", name, to.url, str(count)
        ) as driver:
            await driver.hear()
            if name == BASELINE:
                await asyncio.sleep(5)
            else:
                await to.has(count, LONGEST)
            done = (await to.totals())["done"]
            return {"done": done, **await driver.ask("tell")}


async def measure_calls(report: Report, count: int) -> None:
    rows: list[list[str]] = []
    for name in CALLED:
        try:
            for what, spans in (await enqueue(name, count)).items():
                rows.append([what, f"{spans['median']:,.1f}", f"{spans['p99']:,.0f}"])
        except (Gone, TimeoutError) as error:
            rows.append([name, "–", f"left out: {error}"])
    title = f"Microseconds a call, of {count:,}, 10 every 5 ms"
    report.add("calls", title, ["", "median", "p99"], rows)


async def measure_delivery(report: Report, count: int) -> None:
    rows: list[list[str]] = []
    for name in DRAINING:
        try:
            found = await drain(name, count)
        except (Gone, TimeoutError) as error:
            rows.append([name, *["–"] * 5, f"left out: {error}"])
            continue
        done, lags = (
            found["done"],
            [f"{lag * 1e3:,.1f} ms" for lag in (found["lag"][2], *found["lag"][:2])],
        )
        each = f"{found['cpu'] / done * 1e6:,.0f}" if done else "–"
        rate = f"{done / found['took']:,.0f}"
        rows.append([name, f"{done:,}", rate, each, *lags])
    head = ["", "delivered", "a second", "CPU µs an event"]
    head += ["99.9 % of loop lags below", "worst", "of it CPU"]
    title = f"{count:,} events, one request each, {LATENCY * 1e3:.0f} ms a request"
    report.add("delivery", title, head, rows)


async def main(arguments: list[str]) -> None:
    found = parser("bench.delivery")
    found.add_argument("--events", type=int, default=DRAINED, help="how many are drained")
    asked = found.parse_args(arguments)
    report = report_for(asked)
    print(f"\nPython {sys.version.split()[0]}")
    await measure_calls(report, min(ENQUEUED, asked.events))
    await measure_delivery(report, asked.events)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
