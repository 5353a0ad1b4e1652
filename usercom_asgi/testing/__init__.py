"""Test kit: captures what an application would send to User.com.

Nothing leaves the process, and no server or lifespan is needed::

    def test_purchase_is_recorded():
        with capture(app) as captured:
            TestClient(app).post("/buy")
        captured.assert_event("purchase", product="cup")

The guide is ``docs/guides/testing.md``.
"""

from __future__ import annotations

from .capture import capture
from .captured import Captured
from .flush import flush
from .records import CapturedBrowserCommand, CapturedCommand, CapturedPage
from .sandbox import LiveSandbox
from .visitor import CapturedVisitor, make_visitor

__all__ = [
    "Captured",
    "CapturedBrowserCommand",
    "CapturedCommand",
    "CapturedPage",
    "CapturedVisitor",
    "LiveSandbox",
    "capture",
    "flush",
    "make_visitor",
]
