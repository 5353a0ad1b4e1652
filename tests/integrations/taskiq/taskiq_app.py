"""What web processes and workers share, as an application would write it: `taskiq worker taskiq_app:broker`."""

from __future__ import annotations

import os

from taskiq_redis import RedisStreamBroker

from usercom_asgi import UserComConfig
from usercom_asgi.integrations.taskiq import TaskiqOutbox

TASK_DEADLINE = 1.5
# Short, so that a killed worker's tasks are soon claimed; and User.com is to answer in time on a slow machine, too: a call that
# was given up is made twice.
TIMEOUT = 1.5
QUEUE = "usercom"


def make(config: UserComConfig, redis_url: str) -> TaskiqOutbox:
    idle = TaskiqOutbox.claim_timeout(config, TASK_DEADLINE)
    broker = RedisStreamBroker(redis_url, queue_name=QUEUE, idle_timeout=idle, xread_block=200)
    return TaskiqOutbox(broker, config, task_deadline=TASK_DEADLINE)


if "REDIS_URL" in os.environ:  # in a worker
    outbox = make(
        UserComConfig.from_env(timeout=TIMEOUT, max_concurrency=4), os.environ["REDIS_URL"]
    )
    broker = outbox.broker
