"""Log records that several rooms write, with their names and fields.

``docs/observability.md`` lists the names of all records, and their fields.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from .text import shown_path

if TYPE_CHECKING:
    from starlette.types import Scope

logger = logging.getLogger("usercom_asgi")

#: The ``extra`` of a record of an error of this library.
INTERNAL_ERROR: Final = {"usercom_event": "internal_error"}


def failed_hook(name: str) -> dict[str, str]:
    """Return the ``extra`` of a record of an error of the application's hook."""
    return {"usercom_event": "hook_failed", "usercom_hook": name}


def log_no_widget(reason: str, scope: Scope | None = None) -> None:
    """Log that a response gets no widget; with ``scope``, name the request."""
    if not logger.isEnabledFor(logging.DEBUG):
        return
    text, args = "Page gets no widget: %s", [reason]
    if scope is not None:
        text = "The response to %s %r carries no widget: %s"
        args = [scope["method"], shown_path(scope["path"]), reason]
    extra = {"usercom_event": "widget_left_out", "usercom_reason": reason}
    logger.debug(text, *args, extra=extra, stacklevel=2)


@lru_cache(64)
def warn_once(event: str, text: str) -> None:
    """Log a warning once in this process, if it would be the same at every request.

    ``event`` is its name; see docs/observability.md.
    """
    logger.warning("%s (logged once)", text, extra={"usercom_event": event})
