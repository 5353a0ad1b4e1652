"""What the tests of the delivery send with: a sender of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from usercom_asgi import Event
from usercom_asgi.delivery.retry import RetryPolicy
from usercom_asgi.envelope import Answer, Envelope

FAST = RetryPolicy(first=0.01, longest=0.02)


class Post:
    """A sender that remembers, and fails as it is told."""

    def __init__(self, *outcomes: Exception | Answer, delay: float = 0.0) -> None:
        self.sent: list[tuple[str, Any, str | None]] = []
        self.outcomes = list(outcomes)
        self.delay = delay
        self.now = 0
        self.most = 0
        self.closed = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Post]:
        yield self
        self.closed = True

    async def send(self, envelope: Envelope, key: str | None) -> Answer:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await anyio.sleep(self.delay)
            outcome = self.outcomes.pop(0) if self.outcomes else Answer(key)
            self.sent.append((envelope.lane, envelope.command, key))
            if isinstance(outcome, Exception):
                raise outcome
            return outcome
        finally:
            self.now -= 1


def said(n: int, lane: str = "a", key: str | None = "key") -> Envelope:
    return Envelope(command=Event("said", {"n": n}), lane=lane, key=key)


def numbers(post: Post, lane: str) -> list[int]:
    return [command.data["n"] for each, command, _ in post.sent if each == lane]
