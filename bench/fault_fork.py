"""Fork while the delivery runs, and send events on both sides; print JSON.

`python -m bench.fault_fork URL [REST_TOKEN]`
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from typing import Any

from usercom_asgi import Event, UserComClient, UserComConfig

EACH = 250


async def say(client: UserComClient, first: int) -> dict[str, Any]:
    """Send the events; return the outcomes in their receipts."""
    receipts = [
        await client.send(Event("said", {"n": n}), key=f"k{n % 25}")
        for n in range(first, first + EACH)
    ]
    assert client.delivery
    return {
        "rejected": client.delivery.stats.rejected,
        "reasons": sorted({each.reason for each in receipts if each.reason}),
    }


async def main(url: str, rest_token: str | None = None) -> None:
    config = UserComConfig(base_url=url, api_key="ABC123", rest_token=rest_token)
    async with UserComClient(config) as client:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            # Nothing here awaits, so the loop that is shared with the parent is unused.
            os.write(writing, json.dumps(await say(client, EACH)).encode())
            os._exit(0)
        os.close(writing)
        os.waitpid(child, 0)  # noqa: ASYNC222  nothing else is to happen meanwhile
        with os.fdopen(reading) as pipe:
            told = json.loads(pipe.read())
        assert client.delivery
        delivery = client.delivery
        await say(client, 0)
    print(
        json.dumps(
            {"said": 2 * EACH, "child": told, "parent": f"{delivery.stats.delivered} delivered"}
        ),
        flush=True,
    )


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main(*sys.argv[1:]))
