"""Hooks that learn the outcome of a command."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from helpers.asgi_client import call, html, lifespan
from helpers.fake_sender import FakeSender, make_envelope, running
from helpers.fake_usercom import FakeUserCom
from starlette.types import Receive, Scope, Send

from usercom_asgi import Status, UserComMiddleware, get_visitor
from usercom_asgi.core.receipts import OutcomeCallbacks


@pytest.mark.parametrize("raised", [asyncio.CancelledError, ValueError, GeneratorExit])
async def test_outcome_callbacks_hook_that_raises_loses_no_command(
    raised: type[BaseException],
) -> None:
    def hook(outcome: Any) -> None:
        raise raised

    post = FakeSender()
    async with running(
        post, callbacks=OutcomeCallbacks(on_delivered=hook), max_concurrency=2, shutdown_timeout=30
    ) as runtime:
        for n in range(6):
            runtime.submit(make_envelope(n, ordering_key=f"v{n}"))
    assert len(post.sent) == 6


PAGE = b"<html><body><p>hello</p></body></html>"


async def test_receipt_delivered_is_true_for_a_known_user_and_false_for_an_unknown(
    usercom: FakeUserCom,
) -> None:
    outcomes: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        receipt = await get_visitor(scope).event("x")
        assert receipt.status is Status.ACCEPTED
        outcomes.append(await receipt.delivered(timeout=5))
        await html(PAGE)(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config())
    async with lifespan(middleware) as state:
        for key in (usercom.new_user(), "unknownkey99"):
            await call(middleware, headers={"cookie": f"__ca__chat={key}"}, state=dict(state))
    assert outcomes == [True, False]
