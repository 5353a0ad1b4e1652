"""``Workspace``: settings, records and faults of a sandbox."""

from __future__ import annotations

from usercom_asgi.sandbox.faults import Faults
from usercom_asgi.sandbox.store import Store


class Workspace:
    """Workspace of a local User.com. Its settings may be changed while it runs."""

    def __init__(
        self,
        *,
        api_key: str = "ABC123",
        unified_identification: bool = False,
        authorize_by_email: bool = False,
    ) -> None:
        self.api_key = api_key
        self.unified_identification = unified_identification
        self.authorize_by_email = authorize_by_email
        self.store = Store()
        self.faults = Faults()
