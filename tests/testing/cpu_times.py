"""A plugin of pytest that prints the seconds of CPU and of the clock that each test takes.

Other processes share the machine, and lengthen a test's time by the clock alone.
"""

from __future__ import annotations

import time
from collections.abc import Generator

import pytest

_times: list[tuple[float, float, str]] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    cpu, clock = time.process_time(), time.perf_counter()
    try:
        return (yield)
    finally:
        took = time.process_time() - cpu, time.perf_counter() - clock
        _times.append((*took, item.nodeid))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for cpu, clock, name in _times:
        terminalreporter.write_line(f"took {cpu:.4f} {clock:.4f} {name}")
