"""Processes that exchange lines of JSON."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping


class Gone(Exception):
    """A process that has ended instead of responding. The text is its last line."""


class Talker:
    """Process that responds to lines of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def hear(self, within: float = 60.0) -> dict[str, Any]:
        """Return the next message; raise TimeoutError or :class:`Gone`."""
        assert self.process.stdout
        line = await asyncio.wait_for(self.process.stdout.readline(), within)
        if not line:
            assert self.process.stderr
            errors = (
                (await self.process.stderr.read()).decode(errors="replace").strip().splitlines()
            )
            raise Gone(errors[-1] if errors else f"ended with {await self.process.wait()}")
        heard: dict[str, Any] = json.loads(line)
        return heard

    async def say(self, message: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        await self.process.stdin.drain()

    async def ask(self, message: object) -> dict[str, Any]:
        await self.say(message)
        return await self.hear()


@asynccontextmanager
async def talking(
    *arguments: str, environ: Mapping[str, str] | None = None, program: str = sys.executable
) -> AsyncGenerator[Talker]:
    """Run `python ARGUMENTS`, or another program, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        program, *arguments, env=environ, limit=1 << 24,
        start_new_session=True, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Talker(process)
    finally:
        # Kill forks and workers as well, because they keep its pipes open.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


class SinkControl:
    """Control of a sink from another process; see :mod:`bench.sink`."""

    def __init__(self, talker: Talker, port: int) -> None:
        self._talker = talker
        self.url = f"http://127.0.0.1:{port}"

    async def misbehave(self, **plan: object) -> None:
        await self._talker.ask({"plan": plan})

    async def totals(self) -> dict[str, int]:
        return await self._talker.ask({"tell": "totals"})

    async def all(self) -> dict[str, Any]:
        return await self._talker.ask({"tell": "all"})

    async def has(self, count: int, within: float) -> bool:
        """Wait at most this many seconds until the events have been processed."""
        end = asyncio.get_running_loop().time() + within
        while (await self.totals())["done"] < count:
            if asyncio.get_running_loop().time() >= end:
                return False
            await asyncio.sleep(0.05)
        return True


@asynccontextmanager
async def sink() -> AsyncGenerator[SinkControl]:
    """Run a sink in its own process."""
    async with talking("-m", "bench.sink") as talker:
        yield SinkControl(talker, (await talker.hear())["port"])
