"""A real Redis, real `taskiq worker` processes, and a User.com on a socket; the web process is this one."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis
from helpers.asgi_client import body as end
from helpers.asgi_client import call, call_until, http_scope, lifespan, start
from helpers.fake_sender import make_envelope
from helpers.fake_usercom import CHANNELS, FakeUserCom
from helpers.serving import free_port
from helpers.waiting import until, until_sync
from integrations.taskiq.taskiq_app import QUEUE, TIMEOUT, make
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from taskiq import BrokerMessage, InMemoryBroker
from taskiq_redis import RedisStreamBroker

from usercom_asgi import (
    ConfigurationError,
    Event,
    OutboxError,
    Outcome,
    Status,
    Update,
    UserComClient,
    UserComConfig,
    UserComMiddleware,
    get_delivery,
    get_visitor,
)
from usercom_asgi.core.receipts import PendingReceipt
from usercom_asgi.core.serialization import pack
from usercom_asgi.integrations.taskiq import TaskiqOutbox
from usercom_asgi.integrations.taskiq.outbox import TASK
from usercom_asgi.sandbox.vendor import REST_TOKEN

HERE = Path(__file__).parent
COOKIE = "__ca__chat"


@pytest.fixture
def anyio_backend() -> str:
    """Taskiq is asyncio's."""
    return "asyncio"


class Redis:
    """A redis-server of the test's own, which can be stopped and started."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}"
        self.client = redis.Redis(port=self._port)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # It keeps its data over a restart, as one that carries work should.
        self._process = subprocess.Popen(
            [self._program, "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._folder),
             "--appendonly", "yes", "--save", ""],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        until_sync(self._answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False

    @property
    def tasks(self) -> int:
        """How many tasks there ever were."""
        return int(self.client.xlen(QUEUE))

    @property
    def unfinished(self) -> int:
        """How many tasks workers have taken and not acknowledged."""
        return int(self.client.xpending(QUEUE, "taskiq")["pending"])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    program = shutil.which("redis-server")
    if program is None:
        if os.environ.get("REQUIRE_REDIS") or os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(
                "there is no redis-server on this machine, and REQUIRE_REDIS or REQUIRE_BROWSER is set"
            )
        pytest.skip(
            "THERE IS NO redis-server HERE: nothing of TaskiqOutbox's promise is tested (apt-get install redis-server)"
        )
    server = Redis(program, tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.client.close()
        server.stop()


@contextlib.contextmanager
def worker(
    server: Redis, usercom: FakeUserCom, log: Path, channel: str = "widget"
) -> Iterator[subprocess.Popen[bytes]]:
    """`taskiq worker`, with one process under it; both in a process group of their own."""
    environ = {
        **os.environ,
        "USERCOM_BASE_URL": usercom.url,
        "USERCOM_API_KEY": "ABC123",
        "REDIS_URL": server.url,
        **usercom.environ(channel),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "taskiq", "worker", "--workers", "1", "taskiq_app:broker"],
            cwd=HERE, env=environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        until_sync(
            lambda: b"Listening started" in log.read_bytes() or process.poll() is not None,
            within=120,
        )
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """`kill -9`, for the manager and its worker."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)


def settings(usercom: FakeUserCom, **more: Any) -> UserComConfig:
    return usercom.config(**{"timeout": TIMEOUT, **more})


def says(*, times: int = 3, then: Callable[[], Any] | None = None) -> ASGIApp:
    """Return an application whose every request records ``times`` events."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        n = int(scope["query_string"] or b"0")
        for step in range(times):
            await get_visitor(scope).event("said", n=n, step=step)
        if then is not None:
            await then()
        await send(start(status=204))
        await send(end())

    return app


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[Callable[..., Any]]:
    async with lifespan(app) as state:

        async def ask(n: int = 0, *, key: str | None = None, **scope: Any) -> float:
            began = time.perf_counter()
            headers = {"cookie": f"{COOKIE}={key}"} if key else {}
            await call(app, headers=headers, query=str(n), state=dict(state), **scope)
            return time.perf_counter() - began

        yield ask


def arrived(usercom: FakeUserCom) -> Counter[tuple[int, int]]:
    return Counter((each.data["n"], each.data["step"]) for each in list(usercom.store.events))


@pytest.mark.parametrize("channel", CHANNELS)
async def test_taskiq_outbox_commands_of_one_request_are_one_task_in_order(
    server: Redis, usercom: FakeUserCom, tmp_path: Path, channel: str
) -> None:
    key = usercom.new_user()
    config = settings(usercom, **CHANNELS[channel])
    app = UserComMiddleware(says(), config, outbox=make(config, server.url))
    with worker(server, usercom, tmp_path / "worker.log", channel):
        async with serving(app) as ask:
            for n in range(20):
                await ask(n, key=key)
        assert server.tasks == 20
        await until(lambda: len(usercom.store.events) == 60, 60)
        await until(lambda: server.unfinished == 0)
    events = list(usercom.store.events)
    for n in range(20):
        assert [each.data["step"] for each in events if each.data["n"] == n] == [0, 1, 2]
    created_at = [datetime.fromisoformat(each.data["occurred_at"]) for each in events]
    assert all(each.tzinfo is not None for each in created_at)
    assert REST_TOKEN not in repr(server.client.xrange(QUEUE))
    assert REST_TOKEN not in (tmp_path / "worker.log").read_text()


async def test_taskiq_outbox_killed_worker_of_two_loses_no_command(
    server: Redis, usercom: FakeUserCom, tmp_path: Path
) -> None:
    keys = [usercom.new_user() for _ in range(40)]
    usercom.faults.latency(0.01)
    config = settings(usercom)
    app = UserComMiddleware(says(times=1), config, outbox=make(config, server.url))
    with (
        worker(server, usercom, tmp_path / "one.log") as one,
        worker(server, usercom, tmp_path / "two.log"),
    ):
        async with serving(app) as ask:
            for n in range(400):
                await ask(n, key=keys[n % 40])
            await until(lambda: len(usercom.store.events) > 100, 60)
            kill(one)
            held = server.unfinished
            assert held > 0, (
                "no worker had anything at hand when one was killed: this test shows nothing"
            )
            # No new event is recorded, so the outbox itself must claim the killed worker's tasks.
            await until(lambda: len(arrived(usercom)) == 400, 120)
            await until(lambda: server.unfinished == 0, 60)
    twice = sum(count > 1 for count in arrived(usercom).values())
    logging.getLogger("usercom_asgi").info(
        "400 said, 400 delivered, %d of them twice; %d tasks", twice, server.tasks
    )
    assert twice <= held


async def test_taskiq_outbox_redis_outage_delays_no_request_and_loses_no_command(
    server: Redis, usercom: FakeUserCom, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = usercom.new_user()
    config = settings(usercom)
    app = UserComMiddleware(says(), config, outbox=make(config, server.url))
    async with serving(app) as ask:
        await ask(0, key=key)
        await until(lambda: server.tasks == 1)
        await anyio.to_thread.run_sync(server.stop)
        took = sorted([await ask(n, key=key) for n in range(1, 50)])
        assert (
            took[len(took) // 2] < 1
        )  # the median: this machine may be busy; a try to hand over takes up to 3 s
        await until(lambda: "the broker does not accept tasks" in caplog.text)
        assert server.url.removeprefix("redis://") not in caplog.text
        await anyio.to_thread.run_sync(server.start)
        await until(lambda: server.tasks == 50)
        assert "The broker accepts tasks again" in caplog.text
    with worker(server, usercom, tmp_path / "worker.log"):
        await until(lambda: len(arrived(usercom)) == 150, 60)


async def test_taskiq_outbox_without_redis_at_startup_is_failing_and_still_accepting(
    server: Redis, usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    config = settings(usercom)
    seen: list[Any] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        await says()(scope, receive, send)
        if scope["type"] == "http":
            seen.append(get_delivery(scope).readiness())

    app = UserComMiddleware(look, config, outbox=make(config, server.url))
    async with serving(app) as ask:
        await until(lambda: "the broker does not accept tasks" in caplog.text)
        await ask(1, key=usercom.new_user())
        await anyio.to_thread.run_sync(server.start)
        await until(lambda: server.tasks == 1)
    assert seen[0].is_accepting
    assert seen[0].state == "failing"
    assert "broker" in seen[0].reason


async def test_taskiq_outbox_commands_that_the_broker_never_accepted_are_dropped(
    server: Redis, usercom: FakeUserCom
) -> None:
    server.stop()
    config = settings(usercom, shutdown_timeout=0.2)
    lost: list[Outcome] = []
    app = UserComMiddleware(says(), config, outbox=make(config, server.url), on_dropped=lost.append)
    async with serving(app) as ask:
        await ask(1, key=usercom.new_user())
    assert [each.command.data["step"] for each in lost if isinstance(each.command, Event)] == [
        0,
        1,
        2,
    ]


@pytest.mark.parametrize("channel", CHANNELS)
async def test_taskiq_outbox_outage_longer_than_a_task_delivers_all_in_order_later(
    server: Redis, usercom: FakeUserCom, tmp_path: Path, channel: str
) -> None:
    keys = [usercom.new_user() for _ in range(5)]
    config = settings(usercom, **CHANNELS[channel])
    app = UserComMiddleware(says(), config, outbox=make(config, server.url))
    usercom.faults.status(503)
    with worker(server, usercom, tmp_path / "worker.log", channel):
        async with serving(app) as ask:
            for n in range(5):
                await ask(n, key=keys[n])
        await until(lambda: server.tasks >= 15, 60)  # each was handed back twice, on average
        assert usercom.store.events == []
        usercom.faults.clear()
        await until(lambda: len(arrived(usercom)) == 15, 60)
        await until(lambda: server.unfinished == 0)
    events = list(usercom.store.events)
    for n in range(5):
        assert [each.data["step"] for each in events if each.data["n"] == n] == [0, 1, 2]


async def test_taskiq_outbox_reset_is_sent_by_the_web_process(
    server: Redis, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    config = settings(usercom, reset_timeout=20)
    receipts: list[Any] = []

    async def logout(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        visitor = get_visitor(scope)
        receipts.append(await visitor.event("before"))
        receipts.append(await visitor.reset_auth())
        receipts.append(await visitor.event("after"))
        await send(start({"content-type": "text/html"}))
        await send(end(b"<html><body></body></html>"))

    app = UserComMiddleware(logout, config, outbox=make(config, server.url))
    async with lifespan(app) as state:
        answer = await call(app, headers={"cookie": f"{COOKIE}={key}"}, state=dict(state))
        new_key = receipts[1].key
        assert new_key is not None
        assert new_key != key
        assert any(new_key in each for each in answer.set_cookies(COOKIE))
        assert await receipts[2].delivered(20)
        await until(lambda: server.tasks == 1)
    assert [each.name for each in usercom.store.events] == ["after"]
    before = receipts[0]
    assert before.status is Status.ACCEPTED
    assert "broker" in before.reason
    began = time.monotonic()
    assert not await before.delivered(60)  # at once: this process cannot learn the outcome
    assert time.monotonic() - began < 20


async def test_taskiq_outbox_failed_or_cancelled_request_hands_over_its_commands(
    server: Redis, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    config = settings(usercom)

    async def fail() -> None:
        raise ZeroDivisionError

    failing = UserComMiddleware(says(then=fail), config, outbox=make(config, server.url))
    async with serving(failing) as ask:
        with pytest.raises(ZeroDivisionError):
            await ask(1, key=key)
        await until(lambda: server.tasks == 1)
    has_browser_commands = anyio.Event()

    async def hang() -> None:
        has_browser_commands.set()
        await anyio.sleep_forever()

    hanging = UserComMiddleware(says(then=hang), config, outbox=make(config, server.url))
    async with lifespan(hanging) as state:
        await call_until(
            has_browser_commands,
            hanging,
            headers={"cookie": f"{COOKIE}={key}"},
            query="2",
            state=dict(state),
        )
        await until(lambda: server.tasks == 2)


async def test_taskiq_outbox_awaited_receipt_or_client_command_is_handed_over_at_once(
    server: Redis, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    config = settings(usercom)

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        receipt = await get_visitor(scope).event("said")
        assert not await receipt.delivered(20)
        assert isinstance(receipt, PendingReceipt)
        assert receipt.is_forwarded
        assert server.tasks == 1
        await send(start(status=204))
        await send(end())

    app = UserComMiddleware(waits, config, outbox=make(config, server.url))
    async with serving(app) as ask:
        await ask(key=key)
    async with UserComClient(config, outbox=make(config, server.url)) as client:
        await client.send(Event("said"), key=key)
        await until(lambda: server.tasks == 2)


async def test_taskiq_outbox_websocket_command_is_handed_over_at_once(
    server: Redis, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    config = settings(usercom)
    is_event_sent = anyio.Event()

    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await get_visitor(scope).event("said")
            is_event_sent.set()
            await anyio.sleep_forever()

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        raise AssertionError

    app = UserComMiddleware(talk, config, outbox=make(config, server.url))
    async with lifespan(app) as state, anyio.create_task_group() as tasks:
        scope = {
            **http_scope(headers={"cookie": f"{COOKIE}={key}"}, state=dict(state)),
            "type": "websocket",
        }
        del scope["method"]
        tasks.start_soon(app, scope, receive, send)
        await is_event_sent.wait()
        await until(lambda: server.tasks == 1)
        tasks.cancel_scope.cancel()


async def test_taskiq_outbox_endless_response_hands_over_before_its_end(
    server: Redis, usercom: FakeUserCom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usercom_asgi.integrations.taskiq.store.MAX_GATHER_SECONDS", 0.1)
    config = settings(usercom)
    app = UserComMiddleware(says(then=anyio.sleep_forever), config, outbox=make(config, server.url))
    async with serving(app) as ask, anyio.create_task_group() as tasks:
        key = usercom.new_user()
        tasks.start_soon(lambda: ask(1, key=key))
        await until(lambda: server.tasks == 1)
        tasks.cancel_scope.cancel()


async def test_taskiq_outbox_command_past_give_up_after_is_dead_lettered(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    """In one process, by taskiq's own broker for that."""
    caplog.set_level(logging.WARNING)
    config = settings(usercom, give_up_after=1.0)
    dead: list[Outcome] = []
    outbox = TaskiqOutbox(InMemoryBroker(), config, task_deadline=0.3, on_dead=dead.append)
    app = UserComMiddleware(says(), config, outbox=outbox)
    key = usercom.new_user()
    usercom.faults.status(503)
    async with serving(app) as ask:
        await ask(1, key=key)
        await until(lambda: len(dead) == 3)
    assert "given up" in dead[0].reason
    assert "to the dead letters" in caplog.text


async def test_taskiq_outbox_task_cancelled_while_handing_back_is_dead_lettered(
    usercom: FakeUserCom,
) -> None:
    """By a time limit of the task's, or an end of the worker's that does not wait."""

    class Stuck(InMemoryBroker):
        """Takes one task, and is then busy for ever."""

        taken = 0

        async def kick(self, message: BrokerMessage) -> None:
            self.taken += 1
            if self.taken > 1:
                await anyio.sleep_forever()
            await super().kick(message)

    config = settings(usercom)
    dead: list[Outcome] = []
    broker = Stuck()
    app = UserComMiddleware(
        says(), config, outbox=TaskiqOutbox(broker, config, task_deadline=0.3, on_dead=dead.append)
    )
    key = usercom.new_user()
    usercom.faults.status(503)
    async with serving(app) as ask:
        await ask(1, key=key)
        await until(lambda: broker.taken == 2)
        for task in broker._running_tasks:
            task.cancel()
        await until(lambda: len(dead) == 3)
    assert {each.reason for each in dead} == {"cut off on its way back to the broker"}
    assert [each.command.data["step"] for each in dead if isinstance(each.command, Event)] == [
        0,
        1,
        2,
    ]


async def test_deliver_updates_handed_back_by_several_tasks_loses_none(
    usercom: FakeUserCom,
) -> None:
    config = settings(usercom, max_concurrency=1)
    delivered_outcomes: list[Outcome] = []
    outbox = TaskiqOutbox(
        InMemoryBroker(), config, task_deadline=0.3, on_delivered=delivered_outcomes.append
    )
    key = usercom.new_user()
    usercom.faults.status(503)
    async with UserComClient(config, outbox=outbox) as client:
        for n in range(6):
            await client.send(Update({f"plan_{n}": n}), key=key)
            await anyio.sleep(0.1)
        usercom.faults.clear()
        await until(
            lambda: (
                sum(
                    len(each.command.attributes)
                    for each in delivered_outcomes
                    if isinstance(each.command, Update)
                )
                >= 6
            )
        )
    assert {
        name
        for each in delivered_outcomes
        if isinstance(each.command, Update)
        for name in each.command.attributes
    } == {f"plan_{n}" for n in range(6)}


def test_taskiq_outbox_on_trio_raises_outbox_error(usercom: FakeUserCom) -> None:
    outbox = TaskiqOutbox(InMemoryBroker(), usercom.config())

    async def enter() -> None:
        async with UserComClient(usercom.config(), outbox=outbox):
            pass

    with pytest.raises((OutboxError, ExceptionGroup)) as caught:
        anyio.run(enter, backend="trio")
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, OutboxError)
    assert "asyncio only" in str(error)


def test_taskiq_outbox_claim_timeout_below_the_longest_delivery_is_refused(
    config: UserComConfig,
) -> None:
    least = TaskiqOutbox.claim_timeout(config)
    assert least == 2 * (60 + 3 * 10 + 3) * 1000
    with pytest.raises(ConfigurationError, match=f"{least} ms or more"):
        TaskiqOutbox(RedisStreamBroker("redis://127.0.0.1:1", idle_timeout=least - 1), config)
    TaskiqOutbox(RedisStreamBroker("redis://127.0.0.1:1", idle_timeout=least), config)
    TaskiqOutbox(RedisStreamBroker("redis://127.0.0.1:1"), config)  # ten minutes
    with pytest.raises(ConfigurationError, match="task_deadline"):
        TaskiqOutbox(InMemoryBroker(), config, task_deadline=0)
    with pytest.raises(ConfigurationError, match="must be made with a taskiq broker"):
        TaskiqOutbox("redis://", config)  # type: ignore[arg-type]


def test_taskiq_outbox_on_the_broker_of_another_workspace_is_refused(config: UserComConfig) -> None:
    """Both would register one task, and the second one's workers would send what the first one's web processes accepted."""
    broker = InMemoryBroker()
    TaskiqOutbox(broker, config)
    TaskiqOutbox(broker, config)  # twice for one workspace is one and the same
    with pytest.raises(ConfigurationError, match="another workspace"):
        TaskiqOutbox(broker, UserComConfig(app="other", api_key="XYZ789"))


async def test_taskiq_outbox_worker_that_is_switched_off_acknowledges_no_task(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    broker = InMemoryBroker()
    TaskiqOutbox(broker, usercom.config(enabled=False))
    broker.is_worker_process = True
    await broker.startup()
    assert "stay in the broker: usercom-asgi is switched off" in caplog.text
    task = broker.find_task(TASK)
    assert task is not None
    with anyio.move_on_after(0.2) as scope:
        await task.original_func([pack(make_envelope(1))])
    assert scope.cancelled_caught  # a task that returns is acknowledged
    await broker.shutdown()
