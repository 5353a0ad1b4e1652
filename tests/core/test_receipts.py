"""Hooks that learn the outcome of a command."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from helpers.fake_sender import FakeSender, make_envelope, running

from usercom_asgi.core.receipts import OutcomeCallbacks


@pytest.mark.parametrize("raised", [asyncio.CancelledError, ValueError, GeneratorExit])
async def test_listeners_hook_that_raises_loses_no_command(raised: type[BaseException]) -> None:
    def hook(outcome: Any) -> None:
        raise raised

    post = FakeSender()
    async with running(
        post, callbacks=OutcomeCallbacks(on_delivered=hook), max_concurrency=2, shutdown_timeout=30
    ) as runtime:
        for n in range(6):
            runtime.submit(make_envelope(n, ordering_key=f"v{n}"))
    assert len(post.sent) == 6
