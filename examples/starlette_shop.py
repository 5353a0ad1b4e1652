"""The shop of `usercom-asgi demo` alone, with settings from the environment.

Its code is in `usercom_asgi/demo/shop.py`. Start `usercom-asgi sandbox`, then::

    uvicorn examples.starlette_shop:app
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from examples.settings import config_from_env, session_secret
from usercom_asgi.demo.shop import create_app

if TYPE_CHECKING:
    from starlette.applications import Starlette


def __getattr__(name: str) -> Starlette:
    """Create ``app`` when a server requests it, because it reads the environment."""
    if name == "app":
        globals()[name] = app = create_app(config_from_env(), session_secret())  # create it once
        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
