"""At most one line of a kind a minute, with a count of those left out."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from usercom_asgi.delivery.log_throttle import LogThrottle


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    # Not in the module `time` itself, which the event loops of other threads read.
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("usercom_asgi.delivery.log_throttle.time", clock)
    return now


def test_log_within_the_minute_is_counted_for_the_next_line(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    throttle = LogThrottle()
    logged = [throttle.log(logging.WARNING, "loss", "Dropping %d", n) for n in range(4)]
    clock[0] += 61
    logged.append(throttle.log(logging.WARNING, "loss", "Dropping %d", 4))
    assert logged == [True, False, False, False, True]
    assert caplog.messages == ["Dropping 0", "Dropping 4 (and 3 more since the last such line)"]


def test_log_of_another_kind_is_not_held_back(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    throttle = LogThrottle()
    assert throttle.log(logging.WARNING, "loss", "Dropping")
    assert throttle.log(logging.ERROR, "key", "Rejected")
    assert [each.levelname for each in caplog.records] == ["WARNING", "ERROR"]
