"""``Workspace``: settings, records and faults of a sandbox."""

from __future__ import annotations

from usercom_asgi.sandbox.agent import Pushes
from usercom_asgi.sandbox.faults import Faults
from usercom_asgi.sandbox.store import Store
from usercom_asgi.sandbox.vendor import REST_TOKEN


class Workspace:
    """Settings, records and faults of a local User.com, without its application.

    `Sandbox` is one, with the application, and describes the settings. Code that
    answers a call takes the workspace, so that it does not depend on the application.
    """

    def __init__(
        self,
        *,
        api_key: str = "ABC123",
        unified_identification: bool = False,
        authorize_by_email: bool = False,
        rest_token: str = REST_TOKEN,
        rest_creates_attributes: bool = False,
        rest_last_page_has_next: bool = False,
    ) -> None:
        self.api_key = api_key
        self.unified_identification = unified_identification
        self.authorize_by_email = authorize_by_email
        self.rest_token = rest_token
        self.rest_creates_attributes = rest_creates_attributes
        self.rest_last_page_has_next = rest_last_page_has_next
        self.store = Store()
        self.faults = Faults()
        self.pushes = Pushes()
