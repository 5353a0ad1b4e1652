"""`make faults`: outcomes of 250 events under faults, for this library and its peers.

Every sender runs in its own process, and so does the receiver (bench/sink.py), which
counts. The requests are made in a burst (10 every 10 ms). The process then lives until
everything has arrived, or as long as the row states. Then it is shut down, and events
that are missing 30 s later are lost. The peers are in the dependency group `bench`;
missing ones are left out.

    python -m bench.faults --quick            this library alone
    python -m bench.faults --channel rest     this library by the REST API alone
    python -m bench.faults --only 503         rows whose name contains this
    python -m bench.faults --jobs 4           rows in parallel: faster, with more lag
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bench.fault_own import OWN
from bench.processes import Gone, SinkControl, Talker, sink, talking
from bench.rows import Row, print_table
from bench.senders import SENDERS

COUNT = 250
LONGEST_FLUSH = 30.0
#: Seconds of a first request from which it is mentioned.
SLOW_START = 0.05
OURS = {"widget": "usercom_asgi", "rest": "usercom_asgi, REST"}
PEERS = (
    "posthog",
    "posthog, async",
    "segment",
    "snowplow, AsyncEmitter",
    "sentry, thread",
    "sentry, async",
)
BASELINE = "sends nothing"


@dataclass(frozen=True)
class Fault:
    """Fault of the receiver; see :class:`bench.sink.Plan`."""

    #: Most seconds until the process is shut down.
    lives: float
    plan: dict[str, Any] = field(default_factory=dict)
    forks: bool = False
    remark: str = ""


FAULTS: dict[str, Fault] = {
    "no fault": Fault(10),
    "503 three times": Fault(10, {"status": 503, "times": 3}),
    "429 with Retry-After: 2": Fault(
        10, {"status": 429, "retry_after": "2", "seconds": 2}, remark="to all in the first 2 s"
    ),
    "401": Fault(3, {"status": 401}, remark="always; nothing can be delivered"),
    "connection dropped after send": Fault(
        10,
        {"drop": True, "times": 3},
        remark="three times; what was dropped does not count as delivered",
    ),
    "connection refused for 10 s": Fault(30, {"down": 10}),
    "connection refused until the end": Fault(
        2, {"down": 1e6}, remark="shut down after 2 s of it; nothing can be delivered"
    ),
    "5 s latency": Fault(
        25, {"latency": 5, "seconds": 10}, remark="for requests of the first 10 s"
    ),
    "slow response, byte by byte": Fault(
        40,
        {"drip": 0.25, "seconds": 10},
        remark="a byte every 0.25 s, for requests of the first 10 s",
    ),
    "fork": Fault(
        10, forks=True, remark="made before the fork, used in the child: gunicorn --preload"
    ),
}


async def run(name: str, fault: Fault) -> Row:
    """Run one sender with one fault."""
    if fault.forks and not SENDERS[name].outlives_fork:
        return Row(name, note="left out: it has to be made inside of an event loop")
    async with sink() as to:
        fork = ["fork"] if fault.forks else []
        async with talking("-m", "bench.fault_drive", name, to.url, str(COUNT), *fork) as driver:
            try:
                first = (await driver.hear())["first"]
            except (Gone, TimeoutError) as error:
                return Row(name, note=f"left out: {error}")
            if fault.plan:
                await to.misbehave(**fault.plan)
            row = await _measure(name, fault, driver, to)
            if first > SLOW_START:
                row.note = "; ".join(
                    filter(None, [row.note, f"the first request of all took {first * 1e3:.0f} ms"])
                )
            return row


async def _measure(name: str, fault: Fault, driver: Talker, to: SinkControl) -> Row:
    began = time.monotonic()
    await driver.say("say")
    said = await driver.hear()
    has_all = await to.has(0 if name == BASELINE else COUNT, within=fault.lives)
    arrived = time.monotonic() - began if has_all else None
    await driver.say("flush")
    told = await driver.hear()
    flush: float | None = None
    with suppress(TimeoutError):
        told = await driver.hear(within=LONGEST_FLUSH)
        flush = told["flush"]
        await asyncio.wait_for(driver.process.wait(), LONGEST_FLUSH)
    came = await to.all()
    notes: dict[str, Any] = told.get("notes", {})
    return Row(
        name,
        delivered=len(came["done"]),
        lost=0 if name == BASELINE else COUNT - len(came["done"]),
        twice=sum(times > 1 for times in came["read"].values()),
        requests=came["requests"],
        arrived=arrived,
        request=said["request"],
        lag=told["lag"],
        flush="never" if flush is None else f"{flush:.2f} s",
        note=_in_words(notes),
    )


def _in_words(notes: dict[str, Any]) -> str:
    """Return the sender's own report of the outcomes."""
    counts = ", ".join(
        f"{count} {kind}" for kind, count in notes.items() if isinstance(count, int) and count
    )
    return f"says: {counts}" if counts else ""


async def run_fault(
    title: str, fault: Fault, senders: list[str], jobs: asyncio.Semaphore
) -> list[Row]:
    async def limited(name: str) -> Row:
        async with jobs:
            print(".", end="", flush=True, file=sys.stderr)
            return await run(name, fault)

    return list(await asyncio.gather(*(limited(name) for name in senders)))


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faults")
    parser.add_argument("--only", default="", metavar="FAULT")
    parser.add_argument("--quick", action="store_true", help="ours alone")
    parser.add_argument("--channel", choices=OURS, help="ours alone, by this channel")
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args(arguments)
    jobs = asyncio.Semaphore(asked.jobs)
    channels = [asked.channel] if asked.channel else [*OURS]
    ours = [OURS[each] for each in channels]
    senders = ours if asked.quick or asked.channel else [*ours, *PEERS, BASELINE]
    print(
        f"Python {sys.version.split()[0]}; {COUNT} events each; `never` is longer than {LONGEST_FLUSH:.0f} s"
    )
    for title, fault in FAULTS.items():
        if asked.only.lower() in title.lower():
            rows = await run_fault(
                title, fault, [each for each in senders if each != BASELINE or not fault.plan], jobs
            )
            print_table(f"{title} ({fault.remark})" if fault.remark else title, rows)
    for title, own in OWN.items():
        if asked.only.lower() in title.lower():
            print_table(title, [await own(channel) for channel in channels])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
