"""The loops that wait for a condition, so that no test waits for a time.

The condition has to last: what lasts a moment may fall between two looks.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio

#: Seconds: a machine that runs tests may be slow, and a test that passes waits for less.
PATIENCE = 30.0


async def until(condition: Callable[[], object], within: float = PATIENCE) -> None:
    """Wait for a condition that tasks of the same event loop bring about."""
    with anyio.fail_after(within):
        while not condition():
            await anyio.sleep(0.005)


def until_sync(condition: Callable[..., object], within: float = PATIENCE) -> None:
    """Wait for a condition that another thread or process brings about."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"the condition did not come within {within:g} s"
        time.sleep(0.01)
