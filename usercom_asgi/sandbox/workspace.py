"""``Workspace``: settings, records and faults of a sandbox."""

from __future__ import annotations

from usercom_asgi.sandbox.agent import Pushes
from usercom_asgi.sandbox.faults import Faults
from usercom_asgi.sandbox.store import Store
from usercom_asgi.sandbox.vendor import REST_TOKEN


class Workspace:
    """Workspace of a local User.com. Its settings may be changed while it runs.

    `Sandbox` is one, with the application that serves it. What answers a call takes the
    workspace, so that it knows nothing of the application.

    `rest_creates_attributes`: whether writes of users by REST create the custom
    attributes that do not exist. The vendor's current pages describe that they must
    exist, and are ignored otherwise; older pages that they are created.

    `rest_last_page_has_next`: whether the last page of a list has a `next`, which
    answers 404. A client of the real API was changed because of such answers.
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
