"""The benchmarks' own tools without the peers: counts and faults of the sink, and a row."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

pytest.importorskip("bench.sink", reason="the benchmarks are not in the source distribution")

from bench import faults, soak
from bench.processes import SinkControl, sink
from bench.report import DOCUMENT, TABLES, Report, replaced
from bench.rows import HEAD
from bench.sink import numbers_in


@pytest.fixture
def anyio_backend() -> str:
    """The programs are asyncio's."""
    return "asyncio"


@asynccontextmanager
async def running_sink(**plan: object) -> AsyncIterator[tuple[SinkControl, httpx.AsyncClient]]:
    async with (
        sink() as to,
        httpx.AsyncClient(base_url=to.url, trust_env=False, timeout=30) as client,
    ):
        await to.misbehave(**plan)
        yield to, client


@pytest.mark.parametrize(
    ("body", "numbers"),
    [
        ({"event": "said", "user_key": "k1", "data": json.dumps({"n": 7})}, [7]),
        (
            {
                "batch": [
                    {"properties": {"n": 1}},
                    {"properties": {"n": 2}},
                    {"properties": {"n": 2}},
                ]
            },
            [1, 2, 2],
        ),
        (
            {
                "data": [
                    {
                        "e": "ue",
                        "ue_pr": json.dumps({"data": {"schema": "iglu:x", "data": {"n": 3}}}),
                    }
                ]
            },
            [3],
        ),
        ({"n": "7", "data": "{not JSON", "other": True}, []),
        ({"n": True}, []),
        ({"n": -1}, []),
    ],
    ids=["ours", "segment and posthog", "snowplow", "none", "a bool", "below zero"],
)
def test_numbers_in_a_request_body_returns_the_event_numbers(
    body: object, numbers: list[int]
) -> None:
    assert list(numbers_in(json.dumps(body).encode())) == numbers


def test_numbers_in_a_sentry_envelope_returns_the_event_number() -> None:
    lines = [
        {"event_id": "x"},
        {"type": "event", "length": 20},
        {"message": "said", "extra": {"n": 5}},
    ]
    assert list(numbers_in(b"\n".join(json.dumps(line).encode() for line in lines))) == [5]


async def test_sink_requests_are_counted_by_event_number() -> None:
    async with running_sink() as (to, client):
        await client.post("/api/event/", json={"data": '{"n": 1}'})
        await client.post(
            "/batch/", content=gzip.compress(b'{"n": 2}'), headers={"content-encoding": "gzip"}
        )
        await client.post("/batch/", json={"n": 2})
        answer = await client.post("/api/v2/user-chatping/", json={"userKey": "abc"})
        came = await to.all()
    assert answer.json() == {"user": {"key": "abc"}}
    assert (came["requests"], came["refused"], came["read"], came["done"]) == (
        4,
        0,
        {"1": 1, "2": 2},
        {"1": 1, "2": 2},
    )


async def test_sink_with_status_and_times_refuses_that_many_requests() -> None:
    async with running_sink(status=429, retry_after="2", times=2) as (to, client):
        answers = [await client.post("/", json={"n": n}) for n in range(3)]
        came = await to.all()
    assert [each.status_code for each in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "2"
    assert (came["refused"], came["read"]) == (2, {"2": 1})


@pytest.mark.slow
async def test_sink_with_status_and_seconds_refuses_for_that_time() -> None:
    began = time.perf_counter()
    async with running_sink(status=503, seconds=3) as (_, client):
        assert (await client.post("/")).status_code == 503
        async with asyncio.timeout(30):
            while (await client.post("/")).status_code == 503:
                await asyncio.sleep(0.1)
    assert time.perf_counter() - began > 3


async def test_sink_with_drop_closes_the_connection_without_a_response() -> None:
    async with running_sink(drop=True, times=1) as (to, client):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/", json={"n": 1})
        await client.post("/", json={"n": 1})
        came = await to.all()
    assert (came["read"], came["done"]) == ({"1": 2}, {"1": 1})


async def test_sink_with_latency_and_drip_responds_slowly() -> None:
    async with running_sink(latency=0.2, drip=0.002) as (_, client):
        began = time.perf_counter()
        assert (await client.post("/", json={})).json() == {"status": 1}
        assert time.perf_counter() - began > 0.3


@pytest.mark.slow
async def test_sink_with_down_refuses_connections_for_that_time() -> None:
    async with running_sink() as (to, client):
        await client.post("/", json={"n": 1})
        await to.misbehave(down=3)
        with pytest.raises(httpx.TransportError):
            await client.post("/", json={"n": 2})
        async with asyncio.timeout(30):
            while not (await to.all())["done"].keys() >= {"3"}:
                with suppress(httpx.TransportError):
                    await client.post("/", json={"n": 3})
        assert (await to.all())["done"] == {"1": 1, "3": 1}


@pytest.mark.slow
@pytest.mark.parametrize("channel", faults.OURS)
async def test_faults_run_of_usercom_with_503s_returns_a_row_without_loss(channel: str) -> None:
    row = await faults.run(faults.OURS[channel], faults.FAULTS["503 three times"])
    assert (row.delivered, row.lost, row.twice) == (faults.COUNT, 0, 0)
    assert row.requests > faults.COUNT
    assert row.request
    assert row.lag
    assert "250 delivered" in row.note or "260 delivered" in row.note
    assert row.arrived
    assert len(row.cells()) == len(HEAD)


def memory(python: int) -> soak.Memory:
    made = object.__new__(soak.Memory)
    made.python = made.process = python
    return made


@pytest.mark.parametrize(
    ("samples", "flat"),
    [
        ({5: 20_000_000, 10: 21_000_000}, True),
        ({5: 20_000_000, 10: 23_000_000}, False),
        ({5: 100_000_000, 10: 104_000_000}, True),
        ({3: 20_000_000}, False),
    ],
)
def test_is_flat_by_memory_samples_detects_growth(samples: dict[int, int], flat: bool) -> None:
    assert soak.is_flat({tenth: memory(size) for tenth, size in samples.items()}) is flat


def test_replaced_changes_one_table_and_keeps_the_text_around_it() -> None:
    text = "Before.\n\n<!-- bench: calls -->\n\n| old |\n\n<!-- end -->\n\nAfter.\n"
    assert replaced(text, "calls", "| new |") == (
        "Before.\n\n<!-- bench: calls -->\n\n| new |\n\n<!-- end -->\n\nAfter.\n"
    )


@pytest.mark.parametrize("text", ["", "<!-- bench: calls -->\n<!-- end -->\n" * 2])
def test_replaced_table_without_one_place_raises(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[02] places for the table 'calls'"):
        replaced(text, "calls", "| new |")


def test_report_of_every_table_finds_its_place_in_the_documentation(tmp_path: Path) -> None:
    document = tmp_path / "measurements.md"
    document.write_text(DOCUMENT.read_text())
    for name in TABLES:
        Report(document).add(name, name, ["", "column"], [["row", f"value of {name}"]])
    written = document.read_text()
    assert all(f"| row | value of {name} |" in written for name in TABLES)
    assert re.findall(r"<!-- bench: (\S+) -->", written) == list(TABLES)
