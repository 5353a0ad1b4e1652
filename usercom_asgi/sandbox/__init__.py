"""Local stand-in for User.com, for development, demos and tests.

It imports nothing of the rest of this package, so that it checks requests
independently.
"""

from __future__ import annotations

from usercom_asgi.sandbox.app import Sandbox
from usercom_asgi.sandbox.faults import Faults
from usercom_asgi.sandbox.server import RunningSandbox, serve
from usercom_asgi.sandbox.store import Store

__all__ = ["Faults", "RunningSandbox", "Sandbox", "Store", "serve"]
