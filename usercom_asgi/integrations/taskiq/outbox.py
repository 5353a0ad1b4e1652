"""The outbox that publishes commands as tasks of a taskiq broker.

Only this module imports taskiq, which the extra ``taskiq`` installs.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from ...client import open_sender
from ...core.config import UserComConfig
from ...core.exceptions import ConfigurationError, OutboxError
from ...core.receipts import OutcomeCallbacks
from .publisher import PUBLISH_TIMEOUT, TaskPublisher
from .store import BrokerStore
from .worker import BrokerWorker

try:
    from taskiq import AsyncBroker, TaskiqEvents
except ModuleNotFoundError as error:
    raise ImportError(
        "TaskiqOutbox needs taskiq: install the extra taskiq, e.g. pip install '.[taskiq]' in a clone"
    ) from error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ...core.receipts import OutcomeHook
    from ...delivery.outbox import QueueHost, Store

logger = logging.getLogger("usercom_asgi")

#: The name of the task. It never changes, because web processes and workers may run
#: different releases of the application.
TASK = "usercom_asgi:deliver"
PUBLISHERS = 4
SHUTDOWN_TIMEOUT = 5.0


class TaskiqOutbox:
    """An outbox on a taskiq broker, whose workers deliver.

    The commands of a request become one task, in order, when the request has ended.
    Brokers do not keep the order of tasks, so events carry the time at which they were
    created (``occurred_at``). Only the worker knows outcomes: it calls the hooks given
    here, and a receipt stays ``accepted``. The web process itself sends resets, because
    the response needs their result. While the broker is down, commands wait in memory.
    Needs asyncio and a lifespan.

    Web processes and workers import the module that creates it. Creating
    it starts nothing.

    Args:
        broker: Any taskiq broker that acknowledges tasks, such as
            ``RedisStreamBroker`` of taskiq-redis 1.2 or newer.
        config: The workspace that the workers deliver to, usually the middleware's own
            configuration. Defaults to :meth:`UserComConfig.from_env`.
        task_deadline: Seconds after which undelivered commands go into a new task.
        starts_broker: Whether web processes start and stop the broker. False if
            the application does.
        on_delivered, on_dropped, on_dead: Plain functions, called in the worker with
            the :class:`Outcome` of a command.

    Raises:
        ConfigurationError: If an argument is malformed, if the broker carries
            the tasks of another workspace, or if its ``idle_timeout`` is
            shorter than :meth:`claim_timeout`.

    """

    def __init__(
        self,
        broker: AsyncBroker,
        config: UserComConfig | None = None,
        *,
        task_deadline: float = 60.0,
        starts_broker: bool = True,
        on_delivered: OutcomeHook | None = None,
        on_dropped: OutcomeHook | None = None,
        on_dead: OutcomeHook | None = None,
    ) -> None:
        if not isinstance(broker, AsyncBroker):
            raise ConfigurationError(
                "outbox",
                "must be made with a taskiq broker, such as TaskiqOutbox(RedisStreamBroker(url)),"
                f" got {type(broker).__name__}",
            )
        self.broker = broker
        self.config = settings = config or UserComConfig.from_env()
        self._starts_broker = starts_broker
        idle = _check_idle_timeout(broker, self.claim_timeout(settings, task_deadline))
        worker = BrokerWorker(
            settings,
            lambda: open_sender(settings),
            OutcomeCallbacks(on_delivered=on_delivered, on_dropped=on_dropped, on_dead=on_dead),
            TaskPublisher(self._publish),
            task_deadline=task_deadline,
            keepalive_interval=idle / 3 if idle else None,
        )

        async def deliver(commands: list[dict[str, Any]]) -> None:
            await worker.deliver(commands)

        # A broker has one task of this name. The workers of a second outbox would send
        # the first one's commands to their own workspace.
        vars(deliver)["api_key"] = settings.api_key
        known = broker.find_task(TASK)
        if known is not None and vars(known.original_func).get("api_key") != settings.api_key:
            raise ConfigurationError(
                "outbox",
                "the broker carries the tasks of another workspace, give each its own broker",
            )
        # Acknowledge after the run, whatever --ack-type the worker has, because the
        # worker may be killed before.
        self._task = broker.register_task(deliver, TASK, ack_type="when_executed")
        broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, worker.start)
        broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, worker.stop)

    def __repr__(self) -> str:
        return f"TaskiqOutbox({type(self.broker).__name__})"

    @staticmethod
    def claim_timeout(config: UserComConfig, task_deadline: float = 60.0) -> int:
        """Return the shortest ``idle_timeout`` for a broker, in milliseconds.

        With a shorter one, tasks would be delivered twice. It is twice the longest run
        of a task (``task_deadline``, one command, and publishing the rest), because a
        task may first wait that long behind others that were fetched with it. This
        assumes that ``xread_count`` is at most the worker's ``--max-async-tasks``.
        Both are 100 by default.
        """
        if not isinstance(task_deadline, (int, float)) or not 0 < task_deadline <= 3600:
            raise ConfigurationError(
                "outbox", "task_deadline must be seconds, more than 0 and at most 3600"
            )
        return math.ceil(1000 * 2 * (task_deadline + config.command_timeout + PUBLISH_TIMEOUT))

    @asynccontextmanager
    async def open(self, host: QueueHost, *, max_queue_size: int) -> AsyncGenerator[Store]:
        """See :meth:`Outbox.open`."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise OutboxError(
                "taskiq runs on asyncio only, serve the application on asyncio or use SqliteOutbox"
            ) from None
        started = anyio.Event()

        async def publish(commands: list[dict[str, Any]]) -> None:
            await started.wait()
            await self._publish(commands)

        publisher = TaskPublisher(publish)
        store = BrokerStore(host, max_queue_size, publisher)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._start, publisher, started)
            tasks.start_soon(store.keep_flushing)
            for _ in range(PUBLISHERS):
                tasks.start_soon(store.publish_forever)
            try:
                yield store
            finally:
                store.close()
                tasks.cancel_scope.cancel()
                await self._shut_down()

    async def _publish(self, commands: list[dict[str, Any]]) -> None:
        await self._task.kiq(commands)

    async def _start(self, publisher: TaskPublisher, started: anyio.Event) -> None:
        """Start the broker; retry for ever, while the application runs."""
        while self._owns_broker():
            try:
                with anyio.fail_after(PUBLISH_TIMEOUT):
                    await self.broker.startup()
            except Exception as error:  # noqa: BLE001  every broker has errors of its own
                publisher.on_failure(error)
                await anyio.sleep(1.0)
            else:
                publisher.on_success()
                break
        started.set()

    async def _shut_down(self) -> None:
        if not self._owns_broker():
            return
        with anyio.move_on_after(SHUTDOWN_TIMEOUT, shield=True):
            try:
                await self.broker.shutdown()
            except Exception as error:  # noqa: BLE001  every broker has errors of its own
                logger.warning(
                    "Broker did not shut down: %s",
                    type(error).__name__,
                    extra={
                        "usercom_event": "broker_shutdown_failed",
                        "usercom_error": type(error).__name__,
                    },
                )

    def _owns_broker(self) -> bool:
        """Return whether to start and stop the broker here."""
        return self._starts_broker and not self.broker.is_worker_process


def _check_idle_timeout(broker: AsyncBroker, least: int) -> float | None:
    """Return the broker's ``idle_timeout`` in seconds; None if it has none."""
    idle = getattr(broker, "idle_timeout", None)
    if not isinstance(idle, (int, float)):
        return None
    if idle < least:
        raise ConfigurationError(
            "outbox",
            f"the broker's idle_timeout ({idle} ms) must be {least} ms or more, or tasks would be delivered twice:"
            " RedisStreamBroker(url, idle_timeout=TaskiqOutbox.claim_timeout(config))",
        )
    return idle / 1000
