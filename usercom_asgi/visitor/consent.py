"""May this visitor be tracked? Asked once a request, before anything else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..core.hooks import ask
from ..core.receipts import skip_receipt

if TYPE_CHECKING:
    from starlette.types import Scope

    from ..core.commands import Command
    from ..core.config import UserComConfig
    from ..core.envelope import Envelope, PendingReset
    from ..core.hooks import ConsentHook
    from ..core.receipts import Receipt

logger = logging.getLogger("usercom_asgi")


async def has_consent(hook: ConsentHook | None, scope: Scope, config: UserComConfig) -> bool:
    """Tell whether this visitor may be tracked; a hook that fails counts as a no, and is logged."""
    # Pairs may be lists (mangum's are), so none is compared with a tuple.
    if config.honour_gpc and any(
        name == b"sec-gpc" and value.strip() == b"1" for name, value in scope["headers"]
    ):
        return False
    if hook is None:
        return True
    try:
        return bool(await ask(hook, scope))
    except Exception:
        logger.exception("the consent hook failed: nothing is tracked")
        return False


class NoDelivery:
    """Takes everything, and sends nothing: the helpers return all the same."""

    def submit(self, envelope: Envelope) -> Receipt:
        """Skip it."""
        return self.skip(envelope.command, "the visitor has not consented")

    def skip(self, command: Command, reason: str) -> Receipt:
        """See :class:`~usercom_asgi.core.envelope.Delivery`."""
        return skip_receipt(command, reason)

    async def wait_for(self, receipt: Receipt, within: float) -> None:
        """Return at once: there is no outcome to wait for."""

    def remember(self, name: str, reset: PendingReset) -> None:
        """Forget it."""

    def recall(self, name: str) -> PendingReset | None:  # noqa: ARG002  the runtime's signature
        """There is nothing."""
        return None
