"""Application for a server in its own process: `GET /17` sends event number 17.

It responds with 200 if the event is accepted. The environment configures it;
`FAULT_SQLITE` and `FAULT_TASKIQ` name an outbox. At the end of the lifespan it prints a
line of JSON: the statistics, and the longest loop lag.
"""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from bench.lag import Lag
from usercom_asgi import Status, UserComConfig, UserComMiddleware, get_delivery, get_visitor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

seen: dict[str, Any] = {}


async def say(request: Request) -> Response:
    if "delivery" not in seen:
        seen["lag"].reset()  # do not count the imports of the start
    seen["delivery"] = get_delivery(request)
    receipt = await get_visitor(request).event("said", n=int(request.path_params["n"]))
    return Response(
        status_code=200 if receipt.status in (Status.ACCEPTED, Status.DELIVERED) else 503
    )


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    seen["lag"] = Lag()
    yield


def outbox() -> Any:
    # Import outboxes only if used: one needs an extra, and each costs memory and time.
    if path := os.environ.get("FAULT_SQLITE"):
        from usercom_asgi import SqliteOutbox

        return SqliteOutbox(path)
    if url := os.environ.get("FAULT_TASKIQ"):
        from taskiq_redis import RedisStreamBroker

        from usercom_asgi.integrations.taskiq import TaskiqOutbox

        config, deadline = (
            UserComConfig.from_env(timeout=0.5),
            1.5,
        )  # short, so that a killed worker's tasks are taken over soon
        broker = RedisStreamBroker(
            url, idle_timeout=TaskiqOutbox.claim_timeout(config, deadline), xread_block=200
        )
        return TaskiqOutbox(broker, config, task_deadline=deadline)
    return None


box = outbox()
#: The broker of `taskiq worker bench.fault_app:broker`.
broker = getattr(box, "broker", None)
site = UserComMiddleware(Starlette(routes=[Route("/{n:int}", say)], lifespan=lifespan), outbox=box)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    async def told(message: Message) -> None:
        if message["type"] == "lifespan.shutdown.complete" and "delivery" in seen:
            stats = seen["delivery"].stats
            kinds = (
                "accepted",
                "restored",
                "delivered",
                "dropped",
                "dead_lettered",
                "persisted",
                "waiting",
            )
            print(
                json.dumps(
                    {"lag": seen["lag"].told(), **{kind: getattr(stats, kind) for kind in kinds}}
                ),
                flush=True,
            )
        await send(message)

    await site(scope, receive, told if scope["type"] == "lifespan" else send)
