"""Consent to tracking, checked once a request before anything else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..core.event_loops import current_loop
from ..core.hooks import call_hook, warns_of_session
from ..core.log import failed_hook
from ..core.receipts import skip_receipt

if TYPE_CHECKING:
    from starlette.types import Scope

    from ..core.commands import Command
    from ..core.config import UserComConfig
    from ..core.envelope import Envelope, PendingReset
    from ..core.hooks import ConsentHook
    from ..core.receipts import Receipt


logger = logging.getLogger("usercom_asgi")

NO_CONSENT = "the visitor has not consented"


async def has_consent(hook: ConsentHook | None, scope: Scope, config: UserComConfig) -> bool:
    """Return whether this visitor may be tracked; False if the hook fails, which is logged."""
    # A pair may be a list (mangum), which never equals a tuple.
    if config.honour_gpc and any(
        name == b"sec-gpc" and value.strip() == b"1" for name, value in scope["headers"]
    ):
        return False
    if hook is None:
        return True
    try:
        return bool(await call_hook(hook, scope))
    except Exception as error:
        text = "The consent hook failed, tracking nothing for this request"
        if not warns_of_session(error, text):
            logger.exception(text, extra=failed_hook("consent"))
        return False


class NoDelivery:
    """A delivery that skips every command, so that the visitor's methods still return."""

    def __init__(self, reason: str = NO_CONSENT, path: str = "") -> None:
        self._reason = reason
        self._path = path
        self.loop = current_loop()

    def submit(self, envelope: Envelope) -> Receipt:
        """Skip the command."""
        return self.skip(envelope.command, self._reason, self._path)

    def skip(self, command: Command, reason: str, path: str = "") -> Receipt:
        """See :class:`~usercom_asgi.core.envelope.Delivery`."""
        return skip_receipt(command, reason, path)

    async def wait_for(self, receipt: Receipt, within: float) -> None:
        """Return at once: there is no outcome to wait for."""

    def remember(self, name: str, reset: PendingReset) -> None:
        """Do nothing."""

    def recall(self, name: str) -> PendingReset | None:  # noqa: ARG002  the protocol's signature
        """Return None."""
        return None
