"""`make soak`: an hour of traffic in two minutes, and a check of the memory.

Many browsers, which keep their cookies, visit a Starlette shop inside the middleware.
They look at pages, fill carts, buy, log in and log out. Some leave for good and new
ones come. User.com (bench/sink.py, in its own process) is up, slow, down, limiting,
failing, and up again. After each tenth, memory is measured: the blocks of Python's
objects and the memory of the process. (Not by tracemalloc, whose tables would be most
of the growth.) The exit code is 1 if memory grows in the second half by more than 5 %
and 2 MB (20,000 blocks), between two moments at which nothing waits, or if the accepted
commands are not those that were delivered, dropped, dead-lettered, or wait.

    python -m bench.soak --seconds 30 --a-second 300
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from bench.drive import living
from bench.processes import SinkControl, sink
from bench.soak_shop import Browsers, Shop

#: The fault of User.com in each tenth.
WEATHER: list[tuple[str, dict[str, Any]]] = [
    ("there", {}),
    ("slow: 0.2 s", {"latency": 0.2}),
    ("there", {}),
    ("gone", {"down": True}),
    ("there again", {}),
    ("too busy: 429, Retry-After: 1", {"status": 429, "retry_after": "1"}),
    ("there", {}),
    ("failing: 503", {"status": 503}),
    ("there", {}),
    ("there", {}),
]
#: Allowed growth in the second half: a ratio, and an amount.
GROWTH, LEAST = 0.05, {"python": 20_000, "process": 2_000_000}
#: Fewer commands in flight than this do not count.
IDLE = 20
AT_ONCE = 50


class Memory:
    """Blocks of Python's objects, and bytes of the process."""

    def __init__(self) -> None:
        gc.collect()
        self.python = sys.getallocatedblocks()
        statm = Path("/proc/self/statm")
        pages = int(statm.read_text().split()[1]) if statm.exists() else 0
        self.process = pages * os.sysconf("SC_PAGESIZE")


async def drive(
    shop: Shop, browsers: Browsers, seconds: float, a_second: float
) -> tuple[int, float]:
    """Make requests at this rate, or as many as possible.

    Return their number and the seconds of the longest.
    """
    longest, made = 0.0, 0
    slots = asyncio.Semaphore(AT_ONCE)

    async def visit() -> None:
        nonlocal longest
        try:
            longest = max(longest, await browsers.visit(shop))
        finally:
            slots.release()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as visits:
        while (now := time.perf_counter() - began) < seconds:
            if made > now * a_second:
                await asyncio.sleep(0.002)
                continue
            await slots.acquire()
            visits.create_task(visit())
            made += 1
    return made, longest


async def settled(shop: Shop, within: float) -> None:
    """Wait until no command waits."""
    end = time.perf_counter() + within
    while shop.stats.waiting and time.perf_counter() < end:  # noqa: ASYNC110  a program that watches
        await asyncio.sleep(0.05)


def balance(stats: Any) -> int:
    """Return the difference in the accounts."""
    known = stats.delivered + stats.dropped + stats.dead_lettered + stats.persisted + stats.waiting
    return int(stats.accepted + stats.restored + stats.rejected - known)


async def soak(to: SinkControl, seconds: float, a_second: float) -> bool:
    shop, browsers = Shop(to.url), Browsers()
    idle: dict[int, Memory] = {}
    missing = 0
    async with living(shop.app) as shop.state:
        await drive(shop, browsers, min(5.0, seconds / 10), a_second)  # load everything once
        shop.fill_resets()
        print(
            "| tenth | User.com is | requests | longest | accepted | delivered | dropped | dead | waiting | blocks | process |"
        )
        print("|---:|---|" + "---:|" * 9)
        for tenth, (words, plan) in enumerate(WEATHER, 1):
            if "down" in plan:
                plan = {"down": seconds / 10}
            await to.misbehave(**plan)
            made, longest = await drive(shop, browsers, seconds / 10, a_second)
            if not plan:
                await settled(shop, 30)
            memory, stats = Memory(), shop.stats
            missing += abs(balance(stats))
            if stats.waiting <= IDLE:
                idle[tenth] = memory
            counts = (
                stats.accepted,
                stats.delivered,
                stats.dropped,
                stats.dead_lettered,
                stats.waiting,
            )
            print(
                f"| {tenth} | {words} | {made:,} | {longest * 1e3:,.0f} ms | "
                + " | ".join(f"{count:,}" for count in counts)
                + f" | {memory.python:,} | {memory.process / 1e6:,.1f} MB |",
                flush=True,
            )
    missing += abs(balance(shop.stats))
    print(
        f"\nAfter the shutdown: {shop.stats}\nUser.com has counted {(await to.totals())['requests']:,} requests."
    )
    for reason, count in shop.losses.most_common(10):
        print(f"lost, {count}: {reason}")
    if missing:
        print(f"FAILED: {missing} commands are missing in the accounts")
    return is_flat(idle) and not missing


def is_flat(idle: dict[int, Memory]) -> bool:
    """Compare the memory of the last moments without waiting commands.

    One is the last of the first half, the other that of the second.
    """
    half = len(WEATHER) // 2
    first, last = max((each for each in idle if each <= half), default=0), max(idle, default=0)
    if not first or last <= half:
        print("FAILED: something waited all the time, so memory cannot be compared")
        return False
    sound = True
    for kind in ("python", "process"):
        before, after = getattr(idle[first], kind), getattr(idle[last], kind)
        grown = after - before
        verdict = "flat"
        if grown > max(LEAST[kind], GROWTH * before):
            verdict, sound = "FAILED: it grows", False
        print(f"{kind}: {before:,} after tenth {first}, {after:,} after tenth {last}: {verdict}")
    return sound


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument(
        "--a-second", type=float, default=300.0, help="requests, if the machine can"
    )
    asked = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    print(
        f"Python {sys.version.split()[0]}; {asked.seconds:g} s, at most {asked.a_second:g} requests a second\n"
    )
    async with sink() as to:
        sound = await soak(to, asked.seconds, asked.a_second)
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
