"""Names and fields of log records that several rooms write.

``docs/observability.md`` lists the names of all records, and their fields.
"""

from __future__ import annotations

import logging
from typing import Final

logger = logging.getLogger("usercom_asgi")

#: The ``extra`` of a record of an error of this library.
INTERNAL_ERROR: Final = {"usercom_event": "internal_error"}


def failed_hook(name: str) -> dict[str, str]:
    """Return the ``extra`` of a record of an error of the application's hook."""
    return {"usercom_event": "hook_failed", "usercom_hook": name}


def log_no_widget(reason: str, text: str = "Page gets no widget: %s", *args: object) -> None:
    """Log that a response gets no widget; the text ends with the reason."""
    extra = {"usercom_event": "widget_left_out", "usercom_reason": reason}
    logger.debug(text, *args, reason, extra=extra, stacklevel=2)
