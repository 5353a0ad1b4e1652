"""A process with an outbox that sends the events of its input, for each key.

A line ``FIRST LAST`` sends the events of that range; an empty line ends the process.
"""

from __future__ import annotations

import asyncio
import sys

from usercom_asgi import Event, SqliteOutbox, UserComClient, UserComConfig


async def main(url: str, path: str, *keys: str) -> None:
    config = UserComConfig(base_url=url, api_key="ABC123", shutdown_timeout=30, timeout=5)
    async with UserComClient(config, outbox=SqliteOutbox(path, lease=1)) as client:
        while line := (await asyncio.to_thread(sys.stdin.readline)).split():
            for n in range(*map(int, line)):
                for key in keys:
                    await client.send(Event("said", {"n": n}), key=key)
            print("stored", flush=True)


asyncio.run(main(*sys.argv[1:]))
