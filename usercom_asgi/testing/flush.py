"""Waits for the real deliveries of an application, for tests that deliver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from .targets import check_target

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from ..client import UserComClient


async def flush(
    target: ASGIApp | UserComClient,
    timeout: float = 5.0,  # noqa: ASYNC109  public API
) -> bool:
    """Wait until nothing waits or is in flight; return whether that is so.

    Call it in the event loop of the application's lifespan. With Starlette's
    ``TestClient`` that is ``client.portal.call(flush, app)``. Without a lifespan, each
    request has delivered its commands when its response is there.
    """
    deadline = anyio.current_time() + timeout
    is_done = True
    for each in check_target(target):
        if each.delivery is not None:
            is_done &= await each.delivery.flush(max(0.0, deadline - anyio.current_time()))
    return is_done
