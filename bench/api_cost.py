"""Compare a delivered command with a bare call of httpx: `python -m bench.api_cost`.

Each variant runs in its own process and posts to bench/sink.py in another one, eight
calls at a time. The rounds alternate between the variants, and the cheapest round of
each counts. `--before DIR` adds the delivery of another checkout; `--instructions`
counts instructions with callgrind instead of CPU time, as the difference of two runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.processes import sink, talking

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WORKERS = 8
VISITORS = 500
VARIANTS = (
    "delivery, httpx2",
    "client, httpx2",
    "transport, httpx2",
    "delivery, httpx",
    "client, httpx",
    "transport, httpx",
)
BEFORE = "delivery, before"


def body(n: int) -> dict[str, object]:
    key = f"k{n % VISITORS}"
    data = json.dumps({"n": n})
    return {
        "api_key": "ABC123",
        "user_key": key,
        "domain": "shop.example.com",
        "event": "said",
        "data": data,
    }


async def in_parallel(call: Callable[[int], Awaitable[Any]], count: int) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        for n in numbers:
            await call(n)

    await asyncio.gather(*(work() for _ in range(WORKERS)))


async def client(url: str, counts: list[int], httpx: Any) -> list[float]:
    """Post with ``httpx.AsyncClient``, as an application would."""
    headers = {"X-Requested-With": "XMLHttpRequest"}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as made:
        return [
            await timed(in_parallel, lambda n: made.post("/api/event/", json=body(n)), count)
            for count in counts
        ]


async def transport(url: str, counts: list[int], httpx: Any) -> list[float]:
    """Post with one httpx transport per call in flight."""
    idle = [httpx.AsyncHTTPTransport(verify=False) for _ in range(WORKERS)]
    extensions = {"timeout": httpx.Timeout(10).as_dict()}

    async def call(n: int) -> None:
        made = idle.pop()
        headers = {"X-Requested-With": "XMLHttpRequest"}
        request = httpx.Request(
            "POST", url + "/api/event/", json=body(n), headers=headers, extensions=extensions
        )
        await (await made.handle_async_request(request)).aread()
        idle.append(made)

    return [await timed(in_parallel, call, count) for count in counts]


async def delivery(url: str, counts: list[int], _: Any) -> list[float]:
    from usercom_asgi import Event, UserComClient, UserComConfig

    async def send(count: int) -> None:
        for n in range(count):
            await made.send(Event("said", {"n": n}), key=f"k{n % VISITORS}")
        while made.delivery and made.delivery.waiting:  # noqa: ASYNC110  a program that watches
            await asyncio.sleep(0.05)

    async with UserComClient(
        UserComConfig(base_url=url, api_key="ABC123", max_concurrency=WORKERS)
    ) as made:
        return [await timed(send, count) for count in counts]


async def timed(function: Callable[..., Awaitable[Any]], *arguments: Any) -> float:
    began = time.process_time()
    await function(*arguments)
    return time.process_time() - began


def drive(variant: str, url: str, count: int) -> None:
    """Run one variant in this process, after a warm-up; print the CPU seconds of it."""
    what, _, library = variant.partition(", ")
    if library == "httpx":
        sys.modules["httpx2"] = None  # type: ignore[assignment]
    if library == "before":
        sys.path.insert(0, os.environ["BEFORE"])  # the working directory comes before PYTHONPATH
    httpx: Any = None if library == "before" else __import__(library)
    run = {"delivery": delivery, "client": client, "transport": transport}[what]
    print(json.dumps({"cpu": asyncio.run(run(url, [100, count], httpx))[1]}), flush=True)


async def cpu(variant: str, count: int, environ: dict[str, str]) -> float:
    async with (
        sink() as to,
        talking("-m", "bench.api_cost", variant, to.url, str(count), environ=environ) as driver,
    ):
        return float((await driver.hear(600))["cpu"]) / count * 1e6


async def instructions(variant: str, count: int, environ: dict[str, str], folder: Path) -> float:
    """Return the instructions of a call: those of many calls less those of a few."""
    found = []
    for many in (count, 2 * count):
        out = folder / f"callgrind.{many}"
        arguments = [
            "--tool=callgrind",
            f"--callgrind-out-file={out}",
            sys.executable,
            "-m",
            "bench.api_cost",
            variant,
        ]
        async with sink() as to:
            process = await asyncio.create_subprocess_exec(
                "valgrind", *arguments, to.url, str(many), env=environ,
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            errors = (await process.communicate())[1].decode()
            found.append(int(errors.rpartition("Collected : ")[2].split()[0]))
    return (found[1] - found[0]) / count


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.api_cost")
    parser.add_argument("--before", type=Path, help="a checkout to compare with")
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--instructions", type=Path, metavar="FOLDER", help="where callgrind may write"
    )
    asked = parser.parse_args(arguments)
    variants = [*VARIANTS, *([BEFORE] if asked.before else [])]
    least: dict[str, float] = {}
    for _ in range(1 if asked.instructions else asked.rounds):
        for variant in variants:
            environ = {**os.environ, "PYTHONHASHSEED": "0"}
            if variant == BEFORE:
                environ["BEFORE"] = str(asked.before)
            if asked.instructions:
                found = await instructions(variant, asked.calls, environ, asked.instructions)
            else:
                found = await cpu(variant, asked.calls, environ)
            least[variant] = min(found, least.get(variant, found))
    unit = "instructions" if asked.instructions else "CPU µs"
    print(f"| | {unit} a call | beside the client of the same httpx |\n|---|---:|---:|")
    for variant, found in least.items():
        bare = least.get("client, " + variant.partition(", ")[2])
        print(f"| {variant} | {found:,.0f} | {f'{found / bare:.2f}' if bare else '–'} |")


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("--"):
        drive(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        asyncio.run(main(sys.argv[1:]))
