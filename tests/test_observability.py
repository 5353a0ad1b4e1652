"""The programs of docs/observability.md."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.asgi_client import call, lifespan
from helpers.fake_usercom import FakeUserCom

from usercom_asgi import get_visitor

PAGE = (Path(__file__).parents[1] / "docs" / "observability.md").read_text()


def block_with(code: str) -> str:
    [block] = [each for each in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if code in each]
    return str(block)


async def test_prometheus_recipe_shows_the_counts_of_the_delivery(usercom: FakeUserCom) -> None:
    pytest.importorskip("prometheus_client")
    code = block_with("class DeliveryCollector")
    namespace: dict[str, Any] = {}
    exec(code.replace('app="acme"', f'base_url="{usercom.url}"'), namespace)
    app = namespace["app"]

    async def buy(request: Any) -> Any:
        await get_visitor(request).event("bought")
        return namespace["Response"]("ok")

    app.add_route("/buy", buy)
    async with lifespan(app) as state:
        await call(app, "/buy", headers={"cookie": "__ca__chat=abc123"}, state=state)
        got = await call(app, "/metrics", state=state)
    samples = dict(
        line.split(" ") for line in got.text.splitlines() if line and not line.startswith("#")
    )
    assert samples["usercom_accepted_total"] == "1.0"
    assert samples["usercom_accepting"] == "1.0"
    assert {"usercom_delivered_total", "usercom_waiting", "usercom_oldest_age"} <= set(samples)


def test_json_formatter_writes_the_event_and_its_attributes() -> None:
    namespace: dict[str, Any] = {}
    exec(block_with("class JsonFormatter"), namespace)
    record = logging.makeLogRecord(
        {"levelname": "INFO", "msg": "Delivered", "usercom_event": "command_delivered"}
    )
    assert json.loads(namespace["JsonFormatter"]().format(record)) == {
        "level": "INFO",
        "message": "Delivered",
        "usercom_event": "command_delivered",
    }


def test_instrument_block_switches_telemetry_on() -> None:
    pytest.importorskip("opentelemetry", reason="needs the extra otel")
    from usercom_asgi.core import telemetry
    from usercom_asgi.integrations.opentelemetry import uninstrument

    exec(block_with("instrument()"), {})
    assert telemetry.active is not None
    uninstrument()
    assert telemetry.active is None
