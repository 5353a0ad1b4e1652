"""Spans and metrics, by the SDK of OpenTelemetry with exporters in memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from helpers.apps import app_with
from helpers.asgi_client import call, lifespan
from helpers.fake_sender import FakeSender, make_envelope, running
from helpers.fake_usercom import CHANNELS, FakeUserCom
from helpers.waiting import until
from starlette.types import ASGIApp, Receive, Scope, Send

pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from usercom_asgi import SqliteOutbox, UserComClient, UserComMiddleware
from usercom_asgi.core import telemetry
from usercom_asgi.core.exceptions import RejectedError, UnavailableError
from usercom_asgi.core.serialization import from_text, pack, to_text, unpack
from usercom_asgi.integrations.opentelemetry import instrument, uninstrument

#: What a shop knows of its visitor, and no span or metric may.
PERSONAL = ("user42", "someone@example.com", "bought-boots", "secret-page", "boots-in-red")


class Recorded:
    """What the SDK has recorded."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    @property
    def spans(self) -> list[ReadableSpan]:
        return [each for each in self.exporter.get_finished_spans() if each.name != "GET /"]

    @property
    def request(self) -> ReadableSpan:
        """The span of the one request."""
        [span] = [each for each in self.exporter.get_finished_spans() if each.name == "GET /"]
        return span

    def named(self, name: str) -> list[ReadableSpan]:
        return [each for each in self.spans if each.name == name]

    def metrics(self) -> dict[str, Any]:
        """The values of this moment by name; of each, those of one workspace."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        found: dict[str, Any] = {}
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = list(metric.data.data_points)
                    found[metric.name] = getattr(points[0], "value", points)
        return found

    def text(self) -> str:
        """All that leaves the process."""
        spans = [span.to_json() for span in self.exporter.get_finished_spans()]
        data = self.reader.get_metrics_data()
        return "".join([*spans, data.to_json() if data else ""])

    def trace(self, app: ASGIApp) -> ASGIApp:
        """Run each request in a span, as an instrumentation of the server does."""
        tracer = self.tracers.get_tracer("server")

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await app(scope, receive, send)
                return
            with tracer.start_as_current_span("GET /", kind=SpanKind.SERVER):
                await app(scope, receive, send)

        return traced


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    recorded = Recorded()
    instrument(tracer_provider=recorded.tracers, meter_provider=recorded.meters)
    yield recorded
    uninstrument()
    recorded.meters.shutdown()
    recorded.tracers.shutdown()


async def buy(visitor: Any) -> None:
    visitor.identify(user_id="user42", email="someone@example.com")
    await visitor.event("bought-boots", article="boots-in-red")


def links_of(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(each.context.trace_id, each.context.span_id) for each in span.links]


def ids_of(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


@pytest.mark.parametrize("has_lifespan", [True, False], ids=["lifespan", "inline"])
async def test_delivery_span_is_a_trace_of_its_own_linked_to_the_request(
    usercom: FakeUserCom, recorded: Recorded, has_lifespan: bool
) -> None:
    middleware = UserComMiddleware(app_with(buy), usercom.config())
    app = recorded.trace(middleware)
    headers = {"cookie": f"__ca__chat={usercom.new_user()}"}
    if has_lifespan:
        async with lifespan(app) as state:
            await call(app, headers=headers, state=state)
    else:
        await call(app, headers=headers)
    [delivery] = recorded.named("deliver event")
    assert delivery.parent is None
    assert links_of(delivery) == [ids_of(recorded.request)]
    assert delivery.attributes == {"usercom.command": "event", "usercom.attempt": 1}
    assert delivery.status.status_code is StatusCode.UNSET
    [sent] = recorded.named("POST /api/event/")
    assert sent.kind is SpanKind.CLIENT
    assert sent.parent is not None
    assert sent.parent.span_id == ids_of(delivery)[1]
    port = int(usercom.url.rpartition(":")[2])
    assert sent.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.full": f"{usercom.url}/api/event/",
        "url.template": "/api/event/",
    }


@pytest.mark.parametrize("channel", CHANNELS)
async def test_spans_and_metrics_hold_nothing_personal(
    usercom: FakeUserCom, recorded: Recorded, channel: str
) -> None:
    app = recorded.trace(UserComMiddleware(app_with(buy), usercom.config(**CHANNELS[channel])))
    key = usercom.new_user()
    async with lifespan(app) as state:
        await call(app, "/secret-page", headers={"cookie": f"__ca__chat={key}"}, state=state)
    assert recorded.named("deliver event")
    assert recorded.metrics()["usercom.commands.delivered"] == 1
    text = recorded.text()
    assert "url.template" in text
    for personal in (*PERSONAL, key, "ABC123", *CHANNELS[channel].values()):
        assert personal not in text


async def test_url_of_a_rest_call_names_its_ids_and_does_not_hold_them(
    usercom: FakeUserCom, recorded: Recorded
) -> None:
    async with UserComClient(usercom.config(**CHANNELS["rest"])) as client:
        await client.visitor(user_id="user42").event("x")
    urls = {str((each.attributes or {}).get("url.full")) for each in recorded.spans}
    assert f"{usercom.url}/api/public/users-by-id/:custom_id/events/" in urls
    assert not any("user42" in each for each in urls)


async def test_span_of_a_failed_call_has_the_status_as_its_error(
    usercom: FakeUserCom, recorded: Recorded
) -> None:
    usercom.faults.status(400)
    async with UserComClient(usercom.config()) as client:
        await client.visitor(key="abc123").event("x")
    for name in ("deliver event", "POST /api/event/"):
        [span] = recorded.named(name)
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "400"
        assert span.events == ()
    [point] = recorded.metrics()["http.client.request.duration"]
    assert point.attributes["error.type"] == "400"
    assert recorded.metrics()["usercom.commands.dead_lettered"] == 1


async def test_span_of_a_call_without_a_response_has_the_class_of_the_error(
    usercom: FakeUserCom, recorded: Recorded
) -> None:
    config = usercom.config(base_url="http://127.0.0.1:1", shutdown_timeout=0.2)
    async with UserComClient(config) as client:
        await client.visitor(key="abc123").event("x")
        await until(lambda: client.stats.retried)
    first, *_ = recorded.named("POST /api/event/")
    assert str((first.attributes or {})["error.type"]).endswith(".ConnectError")
    assert "http.response.status_code" not in (first.attributes or {})


async def test_each_attempt_is_a_span_with_its_number(recorded: Recorded) -> None:
    post = FakeSender(UnavailableError("no", status=503), UnavailableError("no", status=503))
    async with running(post) as service:
        service.submit(make_envelope(1))
        await until(lambda: service.stats.delivered)
    attempts = [(each.attributes or {})["usercom.attempt"] for each in recorded.spans]
    assert attempts == [1, 2, 3]


async def test_metrics_are_the_stats(recorded: Recorded) -> None:
    post = FakeSender(
        UnavailableError("no", status=503), RejectedError("no", status=400), holding=True
    )
    async with running(post, max_queue_size=3) as service:
        for n in range(4):
            service.submit(make_envelope(n, f"lane{n}"))
        await until(lambda: post.now == 3)
        before = recorded.metrics()
        post.release()
        await until(lambda: not service.waiting)
        stats = service.stats
    after = recorded.metrics()
    assert before["usercom.queue.size"] == 3
    assert before["usercom.queue.oldest_age"] >= 0
    assert before["usercom.outbox.size"] == 0
    for name in (
        "accepted", "restored", "rejected", "skipped", "delivered", "retried", "dropped",
        "dead_lettered", "persisted",
    ):  # fmt: skip
        assert after[f"usercom.commands.{name}"] == getattr(stats, name)
    assert (stats.accepted, stats.rejected, stats.retried, stats.dead_lettered) == (3, 1, 1, 1)


async def test_counters_do_not_fall_when_a_delivery_is_gone(recorded: Recorded) -> None:
    for total in (1, 2):
        async with running(FakeSender()) as service:
            service.submit(make_envelope(1))
        del service
        assert recorded.metrics()["usercom.commands.delivered"] == total


async def test_second_instrument_with_the_same_provider_counts_on(recorded: Recorded) -> None:
    for total in (1, 2):
        async with running(FakeSender()) as service:
            service.submit(make_envelope(1))
            await until(lambda: service.stats.delivered)
            assert recorded.metrics()["usercom.commands.delivered"] == total
        instrument(tracer_provider=recorded.tracers, meter_provider=recorded.meters)


async def test_uninstrument_ends_the_metrics_of_a_running_delivery(recorded: Recorded) -> None:
    async with running(FakeSender()) as service:
        service.submit(make_envelope(1))
        await until(lambda: service.stats.delivered)
        uninstrument()
        assert set(recorded.metrics()) == set()


async def test_inline_delivery_is_counted(usercom: FakeUserCom, recorded: Recorded) -> None:
    middleware = UserComMiddleware(app_with(buy), usercom.config())
    await call(middleware, headers={"cookie": f"__ca__chat={usercom.new_user()}"})
    found = recorded.metrics()
    assert (found["usercom.commands.accepted"], found["usercom.commands.delivered"]) == (1, 1)


async def test_command_in_a_file_keeps_its_link(recorded: Recorded, tmp_path: Path) -> None:
    tracer = recorded.tracers.get_tracer("server")
    down = FakeSender(*[UnavailableError("no")] * 100)
    async with running(down, tmp_path / "a.db", shutdown_timeout=0.1) as service:
        with tracer.start_as_current_span("GET /"):
            receipt = service.submit(make_envelope(1))
        await receipt.stored()
        await until(lambda: service.stats.retried)
    up = FakeSender()
    async with running(up, SqliteOutbox(tmp_path / "a.db", lease=1)) as service:
        await until(lambda: service.stats.delivered)
    assert links_of(recorded.spans[-1]) == [ids_of(recorded.request)]


def test_envelope_of_an_older_version_has_no_link(recorded: Recorded) -> None:
    with recorded.tracers.get_tracer("server").start_as_current_span("GET /"):
        envelope = anyio.run(make)
    packed = pack(envelope)
    assert packed.pop("traceparent") == envelope.trace_parent != ""
    assert unpack(packed).trace_parent == ""
    assert from_text(to_text(envelope)).trace_parent == envelope.trace_parent


async def make() -> Any:
    return make_envelope(1)


@pytest.mark.parametrize("stored", ["", "garbage", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
async def test_malformed_trace_context_gives_no_link(recorded: Recorded, stored: str) -> None:
    envelope = unpack({**pack(make_envelope(1)), "traceparent": stored})
    async with running(FakeSender()) as service:
        service.submit(envelope)
    [span] = recorded.spans
    assert links_of(span) == []


async def test_error_of_a_span_processor_costs_no_command() -> None:
    class Broken(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            raise ValueError("broken")

        def on_end(self, span: Any) -> None:
            raise ValueError("broken")

    recorded = Recorded()
    recorded.tracers.add_span_processor(Broken())
    instrument(tracer_provider=recorded.tracers, meter_provider=recorded.meters)
    try:
        async with running(FakeSender()) as service:
            receipt = service.submit(make_envelope(1))
            assert await receipt.delivered(30)
    finally:
        uninstrument()


async def test_instrumentation_that_is_off_records_nothing(recorded: Recorded) -> None:
    uninstrument()
    with recorded.tracers.get_tracer("server").start_as_current_span("GET /"):
        envelope = make_envelope(1)
    assert (telemetry.active, envelope.trace_parent) == (None, "")
    async with running(FakeSender()) as service:
        service.submit(envelope)
    assert recorded.spans == []


def test_package_does_not_import_opentelemetry_by_itself() -> None:
    code = (
        "import sys, usercom_asgi, usercom_asgi.client, usercom_asgi.api.client\n"
        "assert 'opentelemetry' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_opentelemetry_without_the_extra_raises_with_the_install_command() -> None:
    code = "import sys\nsys.modules['opentelemetry'] = None\nimport usercom_asgi.integrations.opentelemetry\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: instrument() needs opentelemetry-api: "
        "install the extra otel, e.g. pip install '.[otel]' in a clone"
    )
