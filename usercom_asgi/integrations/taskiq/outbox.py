"""``TaskiqOutbox``: what is said travels by a message broker, and ``taskiq worker`` processes deliver it.

The one module that imports taskiq; it comes with the extra ``taskiq``, and nothing else imports this.
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
from ...core.receipts import Listeners
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

#: The task's name. Web processes and workers may be of different releases of the application: it never changes.
TASK = "usercom_asgi:deliver"
PUBLISHERS = 4
SHUTDOWN_TIMEOUT = 5.0


class TaskiqOutbox:
    """Commands become tasks on a taskiq broker of the application's own; ``taskiq worker`` processes deliver them.

    What one request says travels as one task, in order, when the request has ended. Across requests a broker promises no order,
    so events carry the time at which they were made (``occurred_at``). A receipt stays ``accepted``: the outcome is
    known to the worker alone, and so are the hooks given here called there. Resets are sent by the web process itself, since
    the response needs their answer. While the broker is down, commands wait in memory. Needs asyncio, and a lifespan.

    The module that makes it is imported by web processes and workers alike; making it starts nothing.

    Args:
        broker: Any taskiq broker that acknowledges tasks, such as ``RedisStreamBroker`` of taskiq-redis 1.2 or newer.
        config: Where the workers deliver to; by default :meth:`UserComConfig.from_env`. The middleware's own, usually.
        task_deadline: Seconds after which what User.com could not take is put into a new task.
        starts_broker: Web processes start and stop the broker; False if the application does that itself.
        on_delivered, on_dropped, on_dead: Plain functions that are told the :class:`Outcome` of a command, in the worker.

    Raises:
        ConfigurationError: An argument is malformed; the broker carries the tasks of another workspace; or it would give a
            task to a second worker while the first may still be at it (``idle_timeout``, see :meth:`claim_timeout`).

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
                "outbox", "needs a taskiq broker, such as TaskiqOutbox(RedisStreamBroker(url))"
            )
        self.broker = broker
        self.config = settings = config or UserComConfig.from_env()
        self._starts_broker = starts_broker
        idle = _check_idle_timeout(broker, self.claim_timeout(settings, task_deadline))
        worker = BrokerWorker(
            settings,
            lambda: open_sender(settings),
            Listeners(on_delivered=on_delivered, on_dropped=on_dropped, on_dead=on_dead),
            TaskPublisher(self._publish),
            task_deadline=task_deadline,
            keepalive_interval=idle / 3 if idle else None,
        )

        async def deliver(commands: list[dict[str, Any]]) -> None:
            await worker.deliver(commands)

        # One task's name a broker: a second outbox would have the first one's commands sent to its own workspace.
        vars(deliver)["api_key"] = settings.api_key
        known = broker.find_task(TASK)
        if known is not None and vars(known.original_func).get("api_key") != settings.api_key:
            raise ConfigurationError(
                "outbox",
                "the broker carries the tasks of another workspace: give each its own broker",
            )
        # Acknowledged when it has run, whatever the worker's own --ack-type is: it may be killed before.
        self._task = broker.register_task(deliver, TASK, ack_type="when_executed")
        broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, worker.start)
        broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, worker.stop)

    def __repr__(self) -> str:
        return f"TaskiqOutbox({type(self.broker).__name__})"

    @staticmethod
    def claim_timeout(config: UserComConfig, task_deadline: float = 60.0) -> int:
        """Return the shortest ``idle_timeout`` of a ``RedisStreamBroker``, in milliseconds.

        A worker may hold a task for so long before it runs it (behind others that it has fetched at the same time), and for so
        long while it does: ``task_deadline``, a call that is under way then, and handing back the rest. A shorter one would
        have tasks delivered twice. That holds as long as ``xread_count`` is not above the worker's ``--max-async-tasks``; both
        are 100 by default.
        """
        if not isinstance(task_deadline, (int, float)) or not 0 < task_deadline <= 3600:
            raise ConfigurationError(
                "outbox", "task_deadline must be seconds, more than 0 and at most an hour"
            )
        return math.ceil(1000 * 2 * (task_deadline + config.total_timeout + PUBLISH_TIMEOUT))

    @asynccontextmanager
    async def open(self, house: QueueHost, *, max_queue_size: int) -> AsyncGenerator[Store]:
        """See :meth:`Outbox.open`."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise OutboxError(
                "taskiq runs on asyncio only: serve the application on asyncio, or use SqliteOutbox"
            ) from None
        started = anyio.Event()

        async def publish(commands: list[dict[str, Any]]) -> None:
            await started.wait()
            await self._publish(commands)

        publisher = TaskPublisher(publish)
        store = BrokerStore(house, max_queue_size, publisher)
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
        """Start the broker, and go on trying: the application runs without it as well."""
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
                logger.warning("the broker did not shut down: %s", type(error).__name__)

    def _owns_broker(self) -> bool:
        """Tell whether the broker is ours to start: a worker process has started it."""
        return self._starts_broker and not self.broker.is_worker_process


def _check_idle_timeout(broker: AsyncBroker, least: int) -> float | None:
    """Return after how many seconds the broker gives a task to a second worker; None if it does not say."""
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
