"""Short intervals for what the tests of the delivery wait for."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def quick_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for work and for expired leases ten times a second instead of once."""
    monkeypatch.setattr("usercom_asgi.delivery.sqlite.store.POLL_INTERVAL", 0.1)
    monkeypatch.setattr("usercom_asgi.delivery.sqlite.database.LEASE_GRACE", 0.6)


@pytest.fixture
def quick_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon on a file that another program has locked."""
    monkeypatch.setattr("usercom_asgi.delivery.sqlite.schema.BUSY_TIMEOUT", 0.3)
