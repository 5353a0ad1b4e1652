"""The visitor's session in a capture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.commands import ResetAuth
from ..core.receipts import Receipt, Status, skip_receipt
from ..visitor.session import VisitorSession

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..core.commands import Command
    from ..core.envelope import Delivery, PendingReset
    from ..core.validation import Json
    from ..visitor.browser import BrowserCall
    from .captured import Captured


class RecordingSession(VisitorSession):
    """A session that also records what it leaves to the widget in the page."""

    captured: Captured
    _new_user: Mapping[str, Json] = {}

    @classmethod
    def convert(
        cls, session: VisitorSession, captured: Captured, delivery: Delivery | None = None
    ) -> None:
        """Make a recording session of one that a middleware has opened."""
        session.__class__ = cls
        if isinstance(session, cls):
            session.captured = captured
            session.delivery = delivery or session.delivery
            captured.add_session(session)

    def own_browser_calls(self) -> list[BrowserCall]:
        """Return the calls of this response for the page."""
        return self._browser.calls if self._browser is not None else []

    def skip(self, command: Command, reason: str) -> Receipt:
        """Record a command that is not sent, with the person that it is about."""
        receipt = skip_receipt(command, reason, self.request.path)
        self._record(command, receipt)
        return receipt

    def _start_reset(self, new_user: Mapping[str, Json], *, keep_calls: bool) -> Receipt:
        self._new_user = new_user
        return super()._start_reset(new_user, keep_calls=keep_calls)

    def _skip_reset(self, reason: str) -> PendingReset:
        reset = super()._skip_reset(reason)
        self._record(ResetAuth(self._new_user), reset.receipt, by_widget=True)
        return reset

    def _enqueue(self, command: Command) -> Receipt:
        receipt = super()._enqueue(command)
        if self.reset_delegated:
            self._record(command, receipt, by_widget=receipt.status is Status.SKIPPED)
        return receipt

    def _record(self, command: Command, receipt: Receipt, *, by_widget: bool = False) -> None:
        self.captured.add_command(
            command,
            receipt,
            key=self.key,
            identity=self.identity,
            url=self.request.page().url,
            by_widget=by_widget,
        )
