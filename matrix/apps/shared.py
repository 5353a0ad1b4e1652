"""What the applications of the matrix share."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

STATIC = Path(__file__).parents[1] / "static"
NOT_FOUND = "<html><body><p>Nothing is here.</p></body></html>"
FAILED = "<html><body><p>It is our fault.</p></body></html>"
#: Seconds between the chunks of a stream.
PAUSE = 0.25
CHUNKS = ("<html><body><p>one</p>", "<p>two</p>", "<p>three</p></body></html>")


async def chunks() -> AsyncGenerator[str, None]:
    """Yield a page in three pieces, with pauses."""
    for n, chunk in enumerate(CHUNKS):
        if n:
            await asyncio.sleep(PAUSE)
        yield chunk


class ShopError(Exception):
    """Raised by a handler, for the page of status 500."""
