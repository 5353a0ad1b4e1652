"""A local stand-in for User.com, for development, demos and tests.

It knows nothing of the rest of this package: it is an independent judge of what arrives.
"""

from __future__ import annotations

from usercom_asgi.sandbox.app import Sandbox
from usercom_asgi.sandbox.faults import Faults
from usercom_asgi.sandbox.server import RunningSandbox, serve
from usercom_asgi.sandbox.store import Store

__all__ = ["Faults", "RunningSandbox", "Sandbox", "Store", "serve"]
