"""Spans and metrics of the delivery, by the API of OpenTelemetry.

Only this module imports opentelemetry, which the extra ``otel`` installs. It is loaded
by an explicit import alone. Spans and metrics hold no user key, id, address of a visitor,
name of an event or page, nor a value of a command.
"""

from __future__ import annotations

import logging
import time
import weakref
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..core import telemetry
from ..core.commands import Event, PageHit, ProductEvent, ResetAuth, Update
from ..core.exceptions import DeliveryError
from ..delivery.stats import Stats

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.metrics import Observation
    from opentelemetry.trace import Link, SpanKind, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError as error:
    raise ImportError(
        "instrument() needs opentelemetry-api: install the extra otel, e.g. pip install '.[otel]' in a clone"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from opentelemetry.metrics import CallbackOptions, MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from ..core.envelope import Envelope
    from ..core.telemetry import Counters, Gauges

__all__ = ["instrument", "uninstrument"]

logger = logging.getLogger("usercom_asgi")

_SCOPE = "usercom_asgi"
_KINDS = {
    Event: "event",
    ProductEvent: "product_event",
    PageHit: "page_hit",
    ResetAuth: "reset_auth",
    Update: "update",
}
#: Fields of Stats that are counters, and what each counts.
_COUNTERS = {
    "accepted": "Commands accepted from this process",
    "restored": "Commands loaded from the outbox",
    "rejected": "Commands dropped at the call",
    "skipped": "Commands with nothing to send",
    "delivered": "Commands that User.com confirmed",
    "retried": "Failed attempts that are repeated",
    "dropped": "Commands that were lost",
    "dead_lettered": "Commands that User.com rejected, or that became too old",
    "persisted": "Commands left in the outbox",
}
# Boundaries that the semantic conventions advise for http.client.request.duration.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_PROPAGATOR, _HEADER = TraceContextTextMapPropagator(), "traceparent"
# Instrumented HTTP clients leave out a call under this key. Their own span would hold
# ids from paths of the REST API, and they would send User.com our trace.
_SUPPRESS = getattr(context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", "suppress_http_instrumentation")


def instrument(
    *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> None:
    """Record spans and metrics of all deliveries of this process.

    Call it before the application starts. The providers default to the global ones. A
    second call replaces the first, and goes on with the counts and queues of the first.
    """
    tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
    meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
    telemetry.activate(_Telemetry(tracer, meter))


def uninstrument() -> None:
    """Record nothing from now on. A later :func:`instrument` begins with no counts."""
    telemetry.activate(None)
    _DELIVERIES.clear()


class _Telemetry:
    """Implements :class:`~usercom_asgi.core.telemetry.Telemetry`."""

    def __init__(self, tracer: trace.Tracer, meter: metrics.Meter) -> None:
        self._tracer = tracer
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of calls to User.com",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        for name, description in _COUNTERS.items():
            meter.create_observable_counter(
                f"usercom.commands.{name}",
                callbacks=[_observer(_DELIVERIES.count_of, name)],
                unit="{command}",
                description=description,
            )
        for name, field, description in (
            ("usercom.queue.size", "waiting", "Commands in memory, in flight included"),
            ("usercom.outbox.size", "persisted", "Commands in the outbox, if that is not memory"),
        ):
            meter.create_observable_up_down_counter(
                name,
                callbacks=[_observer(_DELIVERIES.sum_of, field)],
                unit="{command}",
                description=description,
            )
        meter.create_observable_gauge(
            "usercom.queue.oldest_age",
            callbacks=[_observer(_DELIVERIES.oldest, "oldest_age")],
            unit="s",
            description="Time since the oldest command in memory was created",
        )

    def trace_parent(self) -> str:
        with _quiet():
            carrier: dict[str, str] = {}
            _PROPAGATOR.inject(carrier)
            return carrier.get(_HEADER, "")
        return ""

    @contextmanager
    def delivery(self, envelope: Envelope, attempt: int) -> Generator[None]:
        kind = _KINDS.get(type(envelope.command), "command")
        with self._span(
            # A trace of its own: the request is over long before a late delivery.
            context.Context(),
            f"deliver {kind}",
            {"usercom.command": kind, "usercom.attempt": attempt},
            trace_parent=envelope.trace_parent,
        ) as failed:
            try:
                yield
            except BaseException as error:
                failed(_type_of(error))
                raise

    @contextmanager
    def call(self, origin: str, name: str, path: str) -> Generator[list[int]]:
        method, _, template = name.partition("?")[0].partition(" ")
        static = {"http.request.method": method, "url.template": template, **_server(origin)}
        statuses: list[int] = []
        began, failure = time.perf_counter(), ""
        with self._span(
            context.set_value(_SUPPRESS, value=True),
            f"{method} {template}",
            {**static, "url.full": origin + _shown(path, template)},
            kind=SpanKind.CLIENT,
            statuses=statuses,
        ) as failed:
            try:
                yield statuses
            except BaseException as error:
                failure = _type_of(error)
                raise
            finally:
                if statuses and statuses[0] >= 400:
                    failure = str(statuses[0])
                if failure:
                    failed(failure)
                with _quiet():
                    outcome: dict[str, str | int] = {"error.type": failure} if failure else {}
                    if statuses:
                        outcome["http.response.status_code"] = statuses[0]
                    seconds = time.perf_counter() - began
                    self._duration.record(seconds, {**static, **outcome})

    @contextmanager
    def _span(
        self,
        parent: context.Context,
        name: str,
        attributes: dict[str, str | int],
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        trace_parent: str = "",
        statuses: list[int] | None = None,
    ) -> Generator[Callable[[str], None]]:
        """Run the block in a span, which an error of its exporter does not reach.

        Without ``record_exception``: the text of an error of httpx may quote a header.
        """
        span: Span = trace.INVALID_SPAN
        failures: list[str] = []
        with _quiet():
            links = _links(trace_parent)
            span = self._tracer.start_span(
                name, parent, kind=kind, attributes=attributes, links=links
            )
        token = context.attach(trace.set_span_in_context(span, parent))
        try:
            yield failures.append
        finally:
            context.detach(token)
            with _quiet():
                if statuses:
                    span.set_attribute("http.response.status_code", statuses[0])
                if failures:
                    span.set_attribute("error.type", failures[0])
                    span.set_status(StatusCode.ERROR)
                span.end()

    def watch(self, origin: str, counters: Counters, gauges: Gauges) -> None:
        _DELIVERIES.add(origin, counters, gauges)

    def count(self, origin: str, name: str) -> None:
        _DELIVERIES.count(origin, name)


class _Deliveries:
    """The deliveries of this process, by the origin of their workspace.

    A collector reads them in a thread of its own.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        #: Counters of the deliveries that are gone, and of those of one request.
        self._past: dict[str, Stats] = {}
        self._live: list[tuple[str, Counters, weakref.ref[Gauges]]] = []

    def add(self, origin: str, counters: Counters, gauges: Gauges) -> None:
        with self._lock:
            self._past.setdefault(origin, Stats())
            self._live.append((origin, counters, weakref.ref(gauges)))

    def count(self, origin: str, name: str) -> None:
        with self._lock:
            past = self._past.setdefault(origin, Stats())
            setattr(past, name, getattr(past, name) + 1)

    def clear(self) -> None:
        with self._lock:
            self._past, self._live = {}, []

    def count_of(self, name: str) -> Iterable[tuple[str, int]]:
        with self._lock:
            self._fold()
            counts = {origin: int(getattr(past, name)) for origin, past in self._past.items()}
            for origin, counters, _ in self._live:
                counts[origin] += getattr(counters, name)
        return counts.items()

    def sum_of(self, name: str) -> Iterable[tuple[str, int]]:
        sums: dict[str, int] = {}
        for origin, gauges in self._gauges():
            sums[origin] = sums.get(origin, 0) + getattr(gauges, name)
        return sums.items()

    def oldest(self, name: str) -> Iterable[tuple[str, float]]:
        ages: dict[str, float] = {}
        for origin, gauges in self._gauges():
            try:
                ages[origin] = max(ages.get(origin, 0.0), getattr(gauges, name))
            except RuntimeError:  # the event loop's thread has changed a queue meanwhile
                continue
        return ages.items()

    def _gauges(self) -> Iterator[tuple[str, Gauges]]:
        with self._lock:
            live = [*self._live]
        for origin, _, reference in live:
            if (gauges := reference()) is not None:
                yield origin, gauges

    def _fold(self) -> None:
        """Add up the counters of deliveries that are gone, so that none are lost."""
        still: list[tuple[str, Counters, weakref.ref[Gauges]]] = []
        for each in self._live:
            origin, counters, reference = each
            if reference() is not None:
                still.append(each)
                continue
            past = self._past[origin]
            for name in _COUNTERS:
                setattr(past, name, getattr(past, name) + getattr(counters, name))
        self._live = still


#: Those of every call of :func:`instrument`, because a provider keeps the callbacks of
#: the first instrument of a name, and cannot remove them.
_DELIVERIES = _Deliveries()


def _observer(
    read: Callable[[str], Iterable[tuple[str, int | float]]], name: str
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, _server(origin)) for origin, value in read(name)]

    return observe


def _server(origin: str) -> dict[str, str | int]:
    parts = urlsplit(origin)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"server.address": parts.hostname or "", "server.port": port}


def _shown(path: str, template: str) -> str:
    """Return a path with the names of a template in place of ids, and its prefix.

    ``/api/public/users/7/`` with the template ``/users/:id/`` is
    ``/api/public/users/:id/``.
    """
    prefix, found, _ = path.partition(template.partition(":")[0])
    return prefix + template if found else template


def _links(trace_parent: str) -> list[Link]:
    # Into an empty context, because the current one has a span already.
    found = _PROPAGATOR.extract({_HEADER: trace_parent}, context.Context())
    span = trace.get_current_span(found).get_span_context()
    return [Link(span)] if span.is_valid else []


def _type_of(error: BaseException) -> str:
    """Return ``error.type``: a status, or the name of the class."""
    if isinstance(error, DeliveryError):
        if error.status is not None:
            return str(error.status)
        error = error.__cause__ or error
    kind = type(error)
    is_builtin = kind.__module__ == "builtins"
    return kind.__qualname__ if is_builtin else f"{kind.__module__}.{kind.__qualname__}"


@contextmanager
def _quiet() -> Generator[None]:
    """Log an error of OpenTelemetry or of its exporters, which must cost no command."""
    try:
        yield
    except Exception as error:  # noqa: BLE001
        logger.debug(
            "OpenTelemetry raised %s, continuing without",
            type(error).__name__,
            extra={"usercom_event": "telemetry_failed", "usercom_error": type(error).__name__},
        )
