"""Outbox over any broker that taskiq supports."""

from __future__ import annotations

from .outbox import TaskiqOutbox

__all__ = ["TaskiqOutbox"]
