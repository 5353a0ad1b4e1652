"""User.com's documented REST API, version 2, over the profiles of the sandbox.

Paths, shapes and their sources are in `docs/usercom.md`, 5.
"""

from __future__ import annotations

from usercom_asgi.sandbox.rest.resource import answer
from usercom_asgi.sandbox.rest.routes import PATHS

__all__ = ["PATHS", "answer"]
